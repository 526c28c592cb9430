// One program of the development stack as a child process: started until it says it is ready, stopped until it is gone.
//
// P1  The child leads a process group of its own: Ctrl-C in our terminal is ours to answer, in our order.
// P2  Its standard input is a pipe we hold open: it ends when we do, however we end (process/parent-pipe.ts).
// P3  After `stop` neither the child nor anything left in its group is alive.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type FileHandle, open } from "node:fs/promises";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { AppError } from "../core/app-error.js";
import { posternCommand } from "./child-program.js";

export interface StackProcess {
  name: string;
  pid: number;
  /** The ready line it printed. */
  ready: Record<string, unknown>;
  logFile: string;
  /** Resolves, with a few words, when it ends for whatever reason. */
  ended: Promise<string>;
  /** Asks it to end, then insists. Calling it again is harmless. */
  stop(): Promise<void>;
}

export interface StackProcessOptions {
  /** What people call it, for example "executor 1". */
  name: string;
  /** Which program: the arguments of `postern`. */
  args: string[];
  /** Its whole environment. */
  env: Record<string, string>;
  /** Where its standard error goes, appended. */
  logFile: string;
  /** Gives up starting. */
  signal?: AbortSignal;
}

const READY_WITHIN_MS = 60_000;
const STOP_WITHIN_MS = 10_000;

/** Starts a program and waits for its ready line; when it ends before, says why from its log. */
export async function startStackProcess(options: StackProcessOptions): Promise<StackProcess> {
  const { name, env, logFile, signal } = options;
  signal?.throwIfAborted();
  const log = await open(logFile, "a", 0o600);
  const logStart = (await log.stat()).size;
  const { command, args } = posternCommand(...options.args);
  const child = spawn(command, args, { env, detached: true, stdio: ["pipe", "pipe", log.fd] });
  const ended = endOf(child);
  await log.close();
  child.stdin!.on("error", () => {}); // the child closed its end first; `ended` tells
  const stop = stopOnce(child, ended);

  const timeout = new AbortController();
  try {
    const outcome = await Promise.race([
      readyLine(child).then((ready) => ({ kind: "ready" as const, ready })),
      ended.then((how) => ({ kind: "ended" as const, how })),
      delay(READY_WITHIN_MS, { kind: "late" as const }, { signal: timeout.signal }),
      aborted(signal, timeout.signal),
    ]);
    if (outcome.kind === "ready") return { name, pid: child.pid!, ready: outcome.ready, logFile, ended, stop };
    if (outcome.kind === "aborted") throw signal!.reason;
    const what = outcome.kind === "late" ? "was not ready in time" : `did not start (it ${outcome.how})`;
    throw new AppError(
      "unavailable",
      "NOT_STARTED",
      `The ${name} ${what}: ${await lastWords(logFile, logStart)} Its log is ${logFile}.`,
    );
  } catch (error) {
    await stop();
    throw error;
  } finally {
    timeout.abort();
  }
}

function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(`failed: ${error.message}`));
    child.once("exit", (code, killedBy) => resolve(`ended with ${killedBy ?? `exit code ${code}`}`));
  });
}

/** The first line of standard output that is a ready line; what follows is read and dropped, so the pipe never fills. */
function readyLine(child: ChildProcess): Promise<Record<string, unknown>> {
  return new Promise((resolve) => {
    createInterface({ input: child.stdout! }).on("line", (line) => {
      const said = parseObject(line);
      if (said?.ready === true) resolve(said);
    });
  });
}

async function aborted(signal: AbortSignal | undefined, until: AbortSignal): Promise<{ kind: "aborted" }> {
  if (!signal) return new Promise(() => {});
  if (!signal.aborted) await once(signal, "abort", { signal: until }).catch(() => new Promise(() => {}));
  return { kind: "aborted" };
}

function stopOnce(child: ChildProcess, ended: Promise<string>): () => Promise<void> {
  let stopping: Promise<void> | undefined;
  const stop = async () => {
    if (child.pid === undefined) return; // it never ran
    child.kill("SIGTERM");
    const finished = new AbortController();
    const late = await Promise.race([
      ended.then(() => false),
      delay(STOP_WITHIN_MS, true, { signal: finished.signal }).catch(() => false),
    ]);
    finished.abort();
    if (late) child.kill("SIGKILL");
    await ended;
    child.stdin?.destroy();
    child.stdout?.destroy();
    killGroup(child.pid);
  };
  return () => (stopping ??= stop());
}

/** Ends what a program left behind in its process group (P3). */
function killGroup(leader: number): void {
  try {
    process.kill(-leader, "SIGKILL");
  } catch (error) {
    // ESRCH: nobody is left, as it should be. EPERM: macOS says this of a group of zombies.
    if (!["ESRCH", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}

/** Why the program ended, in its own words: its last plain line, else the last error of its log. */
async function lastWords(logFile: string, start: number): Promise<string> {
  const lines = (await readFrom(logFile, start)).trimEnd().split("\n").filter(Boolean);
  const plain = lines.filter((line) => parseObject(line) === undefined);
  const words = plain.findLast((line) => /error/i.test(line)) ?? plain.at(-1) ?? lastLoggedError(lines);
  return words ? sentence(words.trim().replace(/^error: /, "")) : "it said nothing.";
}

/** Errors and worse have level 50 and up. */
function lastLoggedError(lines: string[]): string | undefined {
  const entry = lines.map(parseObject).findLast((one) => typeof one?.level === "number" && one.level >= 50);
  const error = entry?.err as { message?: unknown } | undefined;
  return [entry?.msg, error?.message].filter((part) => typeof part === "string" && part !== "").join(": ") || undefined;
}

const sentence = (text: string) => (/[.!?]$/.test(text) ? text : `${text}.`);

async function readFrom(path: string, start: number): Promise<string> {
  const file: FileHandle = await open(path, "r");
  try {
    const { size } = await file.stat();
    const buffer = Buffer.alloc(Math.min(size - start, 64 * 1024));
    await file.read(buffer, 0, buffer.length, size - buffer.length);
    return buffer.toString("utf8");
  } finally {
    await file.close();
  }
}

function parseObject(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined; // not a JSON line
  }
}
