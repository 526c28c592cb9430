// What holds inside the sandbox, found out by trying from there what user code would try.
import { spawn } from "node:child_process";
import type { ChildCommand } from "./sandbox.js";

/** In a process namespace of its own this shell is number 1. Each line prints the name of a layer when what it tries does not work. Tools that are missing prove nothing. */
const TRIES = `
PATH=/usr/bin:/bin:/usr/local/bin
if command -v unshare >/dev/null; then unshare --user true 2>/dev/null || echo no-nested-namespaces; fi
{ read -r self _ </proc/self/stat && [ "$self" = "$$" ] && [ "$$" = 1 ] && echo private-proc; } 2>/dev/null
[ -e /proc ] && [ ! -e /proc/self ] && [ "$$" = 1 ] && echo no-proc
[ "$(ulimit -c)" = 0 ] && [ "$(ulimit -n)" -le 1024 ] && echo resource-limits
if [ "$(prlimit --nproc --noheadings --output SOFT 2>/dev/null)" -le 1024 ] 2>/dev/null; then
  prlimit --nproc=1:1 sh -c 'x=$(true)' 2>/dev/null || echo process-limit
fi
:`;

/** The names of layers that are in force for every child, and of those its language adds. */
export async function observeLayers(deps: {
  wrap(child: ChildCommand): string[];
  /** Undefined: only what the languages give up by themselves is looked at. */
  shell?: string;
  commands: ChildCommand[];
}): Promise<string[]> {
  const { wrap, shell, commands } = deps;
  const tried = commands.map(({ probe, ...child }) => (probe ? outputOf(wrap({ ...child, command: probe })) : ""));
  if (shell && commands[0]) tried.unshift(outputOf(wrap({ ...commands[0], command: [shell, "-c", TRIES] })));
  return (await Promise.all(tried)).flatMap((output) => (output ?? "").split("\n").filter((name) => name !== ""));
}

const LONGEST_MS = 10_000;
const MOST_BYTES = 64 * 1024;

/** What a program prints with an empty environment and no input; undefined when it does not end well. */
export function outputOf([program, ...args]: string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(program!, args, {
      env: {},
      cwd: "/",
      stdio: ["ignore", "pipe", "ignore"],
      timeout: LONGEST_MS,
      killSignal: "SIGKILL",
    });
    let output = "";
    child.stdout!.on("data", (part: Buffer) => {
      if (output.length < MOST_BYTES) output += part.toString();
    });
    child.once("error", () => resolve(undefined));
    child.once("close", (code) => resolve(code === 0 ? output : undefined));
  });
}
