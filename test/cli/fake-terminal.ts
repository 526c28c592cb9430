import { Readable } from "node:stream";
import { runCli } from "../../src/cli/program.js";
import type { Terminal } from "../../src/cli/terminal.js";

export interface FakeTerminal extends Terminal {
  /** What was written to standard output so far. */
  stdout(): string;
  /** What was written to standard error so far. */
  stderr(): string;
  pressCtrlC(): void;
}

/** A terminal whose outputs are kept; without `columns` it is a pipe. */
export function fakeTerminal(options: { env?: NodeJS.ProcessEnv; cwd?: string; input?: string } = {}): FakeTerminal {
  const written = { out: "", err: "" };
  const interrupts = new Set<() => void>();
  return {
    out: { write: (text) => (written.out += text) },
    err: { write: (text) => (written.err += text) },
    input: Readable.from([options.input ?? ""]),
    env: options.env ?? {},
    cwd: options.cwd ?? "/nowhere",
    onInterrupt(callback) {
      interrupts.add(callback);
      return () => void interrupts.delete(callback);
    },
    stdout: () => written.out,
    stderr: () => written.err,
    pressCtrlC() {
      for (const callback of interrupts) callback();
    },
  };
}

/** Runs a command line and returns what a script would see. */
export async function cli(args: string[], terminal: FakeTerminal = fakeTerminal()) {
  const code = await runCli(args, terminal);
  return { code, out: terminal.stdout(), err: terminal.stderr() };
}
