// The user's command as a child of ours, in a process group of its own.
//
// C1  Its environment holds what is named here and nothing of ours: no token, no other setting.
// C2  `stop` ends the group: SIGTERM first, SIGKILL for what is left; nothing of the group outlives it.
import { type ChildProcess, spawn } from "node:child_process";

export interface RunningCommand {
  /** What it ended with, in words; undefined while it runs. */
  readonly ending: string | undefined;
  /** The end of what it wrote to standard error, on one line; empty when nothing. */
  lastWords(): string;
  signal(name: NodeJS.Signals): void;
  /** C2. Resolves when the group is gone. */
  stop(): Promise<void>;
}

export interface CommandOptions {
  /** For the shell. */
  command: string;
  env: NodeJS.ProcessEnv;
  cwd: string;
  /** Gets what the command writes, both outputs alike. */
  onOutput(text: string): void;
  /** The command itself has ended; others of its group may go on. */
  onEnd(): void;
}

const TERM_GRACE_MS = 1_000;
const KILL_GRACE_MS = 2_000;
const LOOK_AGAIN_MS = 20;
const KEPT_CHARACTERS = 4_000;
const SHOWN_CHARACTERS = 300;

/** Starts the command through the shell. */
export function startCommand({ command, env, cwd, onOutput, onEnd }: CommandOptions): RunningCommand {
  const child = spawn(command, { shell: true, detached: true, cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  let ending: string | undefined;
  let errors = "";
  const keep = (text: string) => {
    errors = (errors + text).slice(-KEPT_CHARACTERS);
  };
  child.stdout.setEncoding("utf8").on("data", onOutput);
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    keep(text);
    onOutput(text);
  });
  const ended = (how: string) => {
    ending ??= how;
    onEnd();
  };
  child.once("error", (error) => ended(`could not be started (${error.message})`));
  child.once("exit", (code, signal) => ended(signal ? `was ended by ${signal}` : `ended with status ${code}`));

  async function stop(): Promise<void> {
    for (const [name, graceMs] of [
      ["SIGTERM", TERM_GRACE_MS],
      ["SIGKILL", KILL_GRACE_MS],
    ] as const) {
      if (!signalGroup(child, name)) return;
      const deadline = performance.now() + graceMs;
      while (performance.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
        if (!signalGroup(child, 0)) return;
      }
    }
  }

  return {
    get ending() {
      return ending;
    },
    lastWords: () => lastLine(errors),
    signal: (name) => void signalGroup(child, name),
    stop,
  };
}

/** False when nobody is left in the group. */
function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals | 0): boolean {
  if (pid === undefined) return false;
  try {
    return process.kill(-pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}

function lastLine(text: string): string {
  const line = text.trim().split("\n").at(-1) ?? "";
  return line.length > SHOWN_CHARACTERS ? `${line.slice(0, SHOWN_CHARACTERS)}…` : line;
}
