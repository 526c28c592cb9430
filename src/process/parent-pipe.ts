// A child that must not outlive its parent: the parent holds the other end of its standard input, which closes however
// the parent ends, kill -9 included.
import type { Socket } from "node:net";

/** Set to "1" by a parent that keeps the child's standard input open for as long as it lives. */
export const PARENT_PIPE_VARIABLE = "POSTERN_PARENT_PIPE";

/** How long an orderly end may take once the parent is gone, in milliseconds. */
const GRACE_MS = 10_000;

/** Ends this process in order (as SIGTERM does) once its parent is gone; does nothing unless the parent asked for it. */
export function exitWhenParentDies(env: NodeJS.ProcessEnv = process.env): void {
  if (env[PARENT_PIPE_VARIABLE] !== "1") return;
  let leaving = false;
  const leave = () => {
    if (leaving) return;
    leaving = true;
    setTimeout(() => process.exit(1), GRACE_MS).unref();
    process.kill(process.pid, "SIGTERM");
  };
  const pipe = process.stdin as unknown as Socket;
  for (const event of ["end", "close", "error"]) pipe.once(event, leave);
  pipe.resume();
  pipe.unref(); // watching the parent is no reason to stay
}
