// How `dev` starts the other programs: the same Node, the same command line, another process. Works from the sources
// (a loader in execArgv) and from dist alike.
import { basename, extname, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { PARENT_PIPE_VARIABLE } from "../process/parent-pipe.js";

/** Command and arguments that run `postern <args>` the way this process was run. */
export function posternCommand(...args: string[]): { command: string; args: string[] } {
  const entry = fileURLToPath(new URL(`../cli/main${extname(import.meta.url)}`, import.meta.url));
  // A debugger's port can be listened on once only.
  const execArgv = process.execArgv.filter((argument) => !argument.startsWith("--inspect"));
  return { command: process.execPath, args: [...execArgv, entry, ...args] };
}

/** The caller's settings for user code, which say what a machine has and not how the stack is put together. */
const OF_USER_CODE = ["POSTERN_PYTHON", "POSTERN_SANDBOX", "POSTERN_SPARE_CHILDREN"];

/** What an executor of the stack takes over from the caller. */
export const userCodeEnvironment = (): Record<string, string> => callersOwn(OF_USER_CODE);

const callersOwn = (names: string[]): Record<string, string> =>
  Object.fromEntries(
    names.flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value] as const];
    }),
  );

/** What any program needs to run, and nothing of the caller's settings or secrets. */
export function bareEnvironment(): Record<string, string> {
  return { ...callersOwn(["PATH", "TMPDIR"]), LANG: "C.UTF-8", TZ: "UTC", [PARENT_PIPE_VARIABLE]: "1" };
}

/** How a person types `postern` the way this process was run, for hints. */
export function commandText(entry = process.argv[1] ?? ""): string {
  if (basename(entry) === "postern") return "postern";
  const path = relative(process.cwd(), entry);
  const shown = path.startsWith("..") ? entry : path;
  return entry.endsWith(".ts") ? `npx tsx ${shown}` : shown;
}
