// A process of the run that is wanted: started until it is ready, killed, frozen and thawed at will, and started again
// when it ends without being asked, as whatever keeps processes alive in production does.
//
// P1  Only processes started here are signalled, by their pid; a group is swept only while its leader was ours.
// P2  After `close` neither the process nor anything in its group is alive, frozen or not.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { PARENT_PIPE_VARIABLE } from "../../src/process/parent-pipe.js";

export interface KeptProcess {
  name: string;
  readonly pid: number | undefined;
  /** True from its ready line until it ends. */
  readonly ready: boolean;
  /** How often it ended without being asked. */
  readonly unasked: number;
  /** Resolves once it is ready; rejects when it is not in time. */
  untilReady(withinMs?: number): Promise<void>;
  /** Sends a signal and does not start it again before `start`; resolves when it is gone. */
  end(signal: "SIGKILL" | "SIGTERM"): Promise<void>;
  start(): void;
  freeze(): void;
  thaw(): void;
  close(): Promise<void>;
}

interface Options {
  name: string;
  command: string[];
  /** Beside PATH and the like. */
  env: Record<string, string>;
  logFile: string;
  say: (line: string) => void;
}

const AGAIN_MS = 200;
const END_WITHIN_MS = 30_000;

export function keepProcess({ name, command, env, logFile, say }: Options): KeptProcess {
  let child: ChildProcess | undefined;
  let ended: Promise<void> = Promise.resolve();
  let wanted = false;
  /** The child that was told to end. */
  let told: ChildProcess | undefined;
  let ready = false;
  let everReady = false;
  let unasked = 0;
  let again: NodeJS.Timeout | undefined;
  const waiting: (() => void)[] = [];

  function start(): void {
    wanted = true;
    clearTimeout(again);
    if (child) return;
    const log = openSync(logFile, "a");
    const [program, ...args] = command;
    const started = spawn(program!, args, { env: environment(env), detached: true, stdio: ["pipe", "pipe", log] });
    closeSync(log);
    child = started;
    everReady = false;
    started.stdin!.on("error", () => {}); // it has ended, which `exit` tells
    createInterface({ input: started.stdout! }).on("line", (line) => {
      if (!line.includes('"ready":true') || child !== started) return;
      ready = true;
      everReady = true;
      for (const resolve of waiting.splice(0)) resolve();
    });
    ended = new Promise((resolve) => {
      started.once("error", (error) => gone(started, error.message, resolve));
      started.once("exit", (code, signal) => gone(started, signal ?? `exit code ${code}`, resolve));
    });
  }

  function gone(which: ChildProcess, how: string, resolve: () => void): void {
    if (which.pid !== undefined) signalGroup(which.pid, "SIGKILL");
    which.stdin?.destroy();
    which.stdout?.destroy();
    child = undefined;
    ready = false;
    if (wanted) {
      // One that never came up may have found no database; that is no failing of its own.
      if (everReady && told !== which) {
        unasked++;
        say(`${name} ended without being asked: ${how}`);
      }
      again = setTimeout(start, AGAIN_MS);
    }
    resolve();
  }

  async function end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    wanted = false;
    clearTimeout(again);
    const { pid } = child ?? {};
    if (pid === undefined) return;
    told = child;
    signalProcess(pid, signal);
    const late = new AbortController();
    await Promise.race([ended, delay(END_WITHIN_MS, undefined, { signal: late.signal }).catch(() => {})]);
    late.abort();
    if (child?.pid !== pid) return;
    say(`${name} did not end within ${END_WITHIN_MS} ms of ${signal}`);
    signalProcess(pid, "SIGKILL");
    await ended;
  }

  // For runs that end without `close`, as with Ctrl-C: the frozen would stay for ever.
  const endHastily = () => {
    if (child?.pid !== undefined) signalGroup(child.pid, "SIGKILL");
  };
  process.once("exit", endHastily);

  return {
    name,
    get pid() {
      return child?.pid;
    },
    get ready() {
      return ready;
    },
    get unasked() {
      return unasked;
    },
    start,
    end,
    freeze: () => child?.pid !== undefined && signalProcess(child.pid, "SIGSTOP"),
    thaw: () => child?.pid !== undefined && signalProcess(child.pid, "SIGCONT"),
    async untilReady(withinMs = 30_000) {
      if (ready) return;
      const late = new AbortController();
      const known = await Promise.race([
        new Promise<true>((resolve) => waiting.push(() => resolve(true))),
        delay(withinMs, false, { signal: late.signal }).catch(() => true),
      ]);
      late.abort();
      if (!known) throw new Error(`${name} was not ready within ${withinMs} ms; its log is ${logFile}.`);
    },
    async close() {
      await end("SIGKILL");
      process.off("exit", endHastily);
    },
  };
}

/** What any program needs, and nothing of the caller's settings. */
function environment(more: Record<string, string>): Record<string, string> {
  const path = process.env.PATH ?? "/usr/local/bin:/usr/bin:/bin";
  const tmp = process.env.TMPDIR;
  return {
    PATH: path,
    ...(tmp ? { TMPDIR: tmp } : {}),
    LANG: "C.UTF-8",
    TZ: "UTC",
    [PARENT_PIPE_VARIABLE]: "1",
    ...more,
  };
}

/** Signals one process that may have gone. */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}

function signalGroup(leader: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-leader, signal);
  } catch (error) {
    // ESRCH: nobody is left. EPERM: macOS says this of a group of zombies.
    if (!["ESRCH", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}
