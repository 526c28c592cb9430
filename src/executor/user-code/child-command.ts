// The command lines that start the children, without the host's layers around them.
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import type { ChildCommand } from "./sandbox.js";

/** The children's programs lie beside this file, in the sources as in a build. */
const beside = (name: string) => fileURLToPath(new URL(`./${name}`, import.meta.url));

/** Node renamed the flag when the permission model left its experimental stage. */
const PERMISSION_FLAG = process.allowedNodeEnvironmentFlags.has("--permission")
  ? "--permission"
  : "--experimental-permission";

/** Node that can read its own program and the packages it is made of, and neither write nor start anything. */
export function javascriptCommand(): ChildCommand {
  const child = beside("javascript-child.mjs");
  const readable = [child, beside("quickjs-driver.js"), ...packageDirectories()];
  const command = [
    process.execPath,
    "--no-warnings",
    PERMISSION_FLAG,
    ...readable.map((path) => `--allow-fs-read=${path}`),
    "--max-old-space-size=512",
    child,
  ];
  return { command, readable: [process.execPath, ...readable] };
}

/** The packages of QuickJS, wherever the package manager put them. */
function packageDirectories(): string[] {
  const main = createRequire(import.meta.url).resolve("quickjs-emscripten");
  const inner = createRequire(main);
  const variants = ["debug-asyncify", "debug-sync", "release-asyncify", "release-sync"];
  const entries = [
    inner.resolve("quickjs-emscripten-core"),
    ...variants.map((variant) => inner.resolve(`@jitl/quickjs-wasmfile-${variant}`)),
  ];
  const core = createRequire(entries[0]!);
  return [main, ...entries, core.resolve("@jitl/quickjs-ffi-types")].map((entry) => `${packageRoot(entry)}/`);
}

/** The directory of a package, from a file below its `dist`. */
function packageRoot(entry: string): string {
  const at = entry.lastIndexOf("/dist/");
  return at < 0 ? dirname(entry) : entry.slice(0, at);
}

/** Python without the user's site directory, installed packages, environment or compiled files. */
export const pythonCommand = (python: { executable: string; prefixes: string[] }): ChildCommand => ({
  command: [python.executable, "-I", "-S", "-B", "-u", "-X", "utf8", beside("python_child.py")],
  readable: [...python.prefixes, python.executable, beside("python_child.py")],
});
