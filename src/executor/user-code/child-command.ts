// The command lines that start the children, without the host's layers around them.
import { readdirSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import type { ChildCommand, ResourceLimits } from "./sandbox.js";

/** The children's programs lie beside this file, in the sources as in a build. */
const beside = (name: string) => fileURLToPath(new URL(`./${name}`, import.meta.url));

/** What a child of one language is made of: files and directories, by the beginning of the name. */
const programs = (names: RegExp) =>
  readdirSync(beside("."))
    .filter((name) => names.test(name))
    .map((name) => (statSync(beside(name)).isDirectory() ? beside(`${name}/`) : beside(name)));

/** Node renamed the flag when the permission model left its experimental stage. */
const PERMISSION_FLAG = process.allowedNodeEnvironmentFlags.has("--permission")
  ? "--permission"
  : "--experimental-permission";

/** For both languages: nothing either writes is larger, and a child has a handful of pipes. */
const LIMITS: ResourceLimits = { processes: 64, openFiles: 128, fileBytes: 64 * 1024 * 1024 };

/** Node that can read its own program and the packages it is made of, and neither write nor start anything. */
export function javascriptCommand(): ChildCommand {
  const readable = [...programs(/^(javascript|quickjs)/), ...packageDirectories()];
  const command = [
    process.execPath,
    "--no-warnings",
    PERMISSION_FLAG,
    ...readable.map((path) => `--allow-fs-read=${path}`),
    "--max-old-space-size=512",
    beside("javascript/child.mjs"),
  ];
  return { command, readable: [process.execPath, ...readable], limits: LIMITS };
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

/** The interpreter itself takes some of it. */
const LEAST_PYTHON_BYTES = 64 * 1024 * 1024;

/** An interpreter, and the directories its libraries and packages are in. */
export interface PythonInterpreter {
  executable: string;
  prefixes: string[];
}

/**
 * Python with the interpreter's own packages, and without the user's site directory, environment or compiled files. It
 * gives up what user code has no use for before it runs anything else (python_confine.py).
 */
export function pythonCommand({ executable, prefixes }: PythonInterpreter, memoryBytes: number): ChildCommand {
  const bytes = String(Math.max(memoryBytes, LEAST_PYTHON_BYTES));
  const confined = [executable, "-I", "-B", "-u", "-X", "utf8", beside("python_confine.py"), bytes];
  return {
    command: [...confined, beside("python/postern_child.py")],
    probe: confined,
    readable: [...prefixes, executable, ...programs(/^(python|pytexera)/)],
    limits: LIMITS,
  };
}
