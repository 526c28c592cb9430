// What the command line talks to: two outputs, one input, an environment, and a person who may press Ctrl-C.
import type { Readable } from "node:stream";

export interface Output {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
  rows?: number;
}

export interface Terminal {
  /** Results. */
  out: Output;
  /** Progress, notes and errors. */
  err: Output;
  input: Readable;
  env: NodeJS.ProcessEnv;
  /** Directory that relative paths start from. */
  cwd: string;
  /** Calls back at each Ctrl-C (or SIGTERM, SIGHUP) until the returned function is called. */
  onInterrupt(callback: () => void): () => void;
}

const INTERRUPTS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** The terminal of this process. */
export function processTerminal(): Terminal {
  return {
    out: process.stdout,
    err: process.stderr,
    input: process.stdin,
    env: process.env,
    cwd: process.cwd(),
    onInterrupt(callback) {
      for (const name of INTERRUPTS) process.on(name, callback);
      return () => {
        for (const name of INTERRUPTS) process.off(name, callback);
      };
    },
  };
}

/** A signal that aborts at the first Ctrl-C; `release` gives Ctrl-C back. */
export function interruptSignal(terminal: Terminal): { signal: AbortSignal; release: () => void } {
  const controller = new AbortController();
  const release = terminal.onInterrupt(() => controller.abort(new Interrupted()));
  return { signal: controller.signal, release };
}

/** Somebody pressed Ctrl-C; `message`, if any, tells what that means for the work. */
export class Interrupted extends Error {
  override name = "Interrupted";
}
