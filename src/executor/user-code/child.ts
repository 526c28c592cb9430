// One process that runs one user function: started, fed with batches, and ended or killed.
//
// U1  It gets no environment, no token, no file but its own program: pipes are all that joins it to the executor.
// U2  It leads its own process group, and the whole group is killed when the run stops, a batch takes too long, or the
//     executor is done with it.
// U3  What it sends is checked for shape here, and for types where it is stored (values.ts).
import { type ChildProcess, spawn } from "node:child_process";
import { chown, mkdir, rm } from "node:fs/promises";
import type { Readable, Writable } from "node:stream";
import type { Schema, UserFunction } from "../../core/plan.js";
import { throwIfStopped } from "../run/failure.js";
import { encodeFrame, readFrames, readLines } from "./frames.js";
import { type ChildError, errorOf, type OutputRows, rowsOf } from "./reply.js";
import type { ChildCommand, Sandbox } from "./sandbox.js";
import type { Cell } from "./values.js";

/** Rows for the function, as columns. */
export interface InputBatch {
  rows: number;
  columns: Cell[][];
}

/** User code failed, or its process did; user-function.ts turns it into a failure. */
export class UserCodeFault extends Error {
  constructor(readonly fault: ChildError | { kind: "died"; message: string }) {
    super(fault.message);
  }
}

export interface ChildSettings {
  command: ChildCommand;
  userFunction: UserFunction;
  input: Schema;
  output: Schema;
  /** Longest time for one batch. */
  batchMs: number;
  memoryBytes: number;
  /** Working directory, made for this child alone and removed with it. */
  directory: string;
  onLine(stream: "output" | "error", line: string): void;
}

export interface UserCodeChild {
  /** Calls the function with each row of the batch. */
  call(batch: InputBatch): AsyncIterable<OutputRows>;
  /** Waits until the child has said everything and ended. */
  close(): Promise<void>;
  /** Kills it without waiting for anything it may be doing; harmless when it has ended. */
  kill(): Promise<void>;
}

/** Beyond the child's own time limit: it gets the chance to tell which row took so long. */
const GRACE_MS = 2_000;
const START_MS = 20_000;
const CLOSE_MS = 5_000;

/** Starts the process and loads the code; rejects with UserCodeFault when the code cannot be loaded. */
export async function startChild(
  deps: { sandbox: Sandbox; signal: AbortSignal },
  settings: ChildSettings,
): Promise<UserCodeChild> {
  throwIfStopped(deps.signal);
  await mkdir(settings.directory, { recursive: true, mode: 0o700 });
  if (deps.sandbox.user) await chown(settings.directory, deps.sandbox.user.uid, deps.sandbox.user.gid);
  const [program, ...args] = deps.sandbox.wrap(settings.command);
  const process = spawn(program!, args, {
    env: {},
    cwd: settings.directory,
    detached: true, // a process group of its own (U2)
    stdio: ["pipe", "pipe", "pipe", "pipe"],
  });
  const child = new Child(process, settings, deps.signal);
  try {
    await child.load();
    return child;
  } catch (error) {
    await child.kill();
    throw error;
  }
}

class Child implements UserCodeChild {
  readonly #process: ChildProcess;
  readonly #settings: ChildSettings;
  readonly #signal: AbortSignal;
  readonly #frames: AsyncGenerator<unknown, undefined>;
  readonly #closed: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  readonly #lines: Promise<unknown>;
  #overdue = false;
  #exited = false;

  constructor(process: ChildProcess, settings: ChildSettings, signal: AbortSignal) {
    this.#process = process;
    this.#settings = settings;
    this.#signal = signal;
    this.#closed = new Promise((resolve) => {
      process.once("exit", () => {
        this.#exited = true;
      });
      process.once("close", (code, killedBy) => resolve({ code, signal: killedBy }));
      process.once("error", (error) => {
        settings.onLine("error", `the process could not be started: ${error.message}`);
        resolve({ code: null, signal: null });
      });
    });
    // A child that has died does not read: whoever waits for its reply learns why.
    process.stdin!.on("error", () => {});
    this.#frames = readFrames(process.stdio[3] as Readable);
    this.#lines = Promise.allSettled([
      readLines(process.stdout!, (line) => settings.onLine("output", line)),
      readLines(process.stderr!, (line) => settings.onLine("error", line)),
    ]);
    signal.addEventListener("abort", this.#stop, { once: true });
  }

  #stop = () => this.#killGroup();

  async load(): Promise<void> {
    const { userFunction, input, output, batchMs, memoryBytes } = this.#settings;
    const settings = {
      code: userFunction.code,
      entryPoint: userFunction.entryPoint,
      retain: userFunction.retainInputColumns,
      input,
      output,
      batchMs,
      memoryBytes,
    };
    await this.#within(START_MS + batchMs, async () => {
      this.#send(settings);
      await this.#reply();
    });
  }

  async *call(batch: InputBatch): AsyncIterable<OutputRows> {
    const deadline = Date.now() + this.#settings.batchMs + GRACE_MS;
    await this.#within(deadline - Date.now(), () => this.#send(batch));
    for (;;) {
      const frame = await this.#within(deadline - Date.now(), () => this.#reply());
      const reply = rowsOf(frame, { inputRows: batch.rows, columns: this.#settings.output.length });
      if (!reply)
        throw new UserCodeFault({ kind: "died", message: "The function's process sent something unreadable." });
      if (reply.rows > 0) yield reply;
      if (reply.done) return;
    }
  }

  /** Writes one frame and waits until the pipe took it. */
  async #send(message: unknown): Promise<void> {
    const stdin = this.#process.stdin as Writable;
    if (stdin.write(encodeFrame(message)) || stdin.destroyed) return;
    await new Promise<void>((resolve) => {
      stdin.once("drain", resolve);
      stdin.once("close", resolve);
    });
  }

  async #reply(): Promise<unknown> {
    const frame = await this.#frames.next();
    if (frame.done) throw await this.#death();
    const error = errorOf(frame.value);
    if (error) throw new UserCodeFault(error);
    return frame.value;
  }

  /** Does something the child must take part in; kills it when that takes too long. */
  async #within<T>(ms: number, work: () => T | Promise<T>): Promise<T> {
    const timer = setTimeout(() => {
      this.#overdue = true;
      this.#killGroup();
    }, ms);
    try {
      return await work();
    } finally {
      clearTimeout(timer);
      throwIfStopped(this.#signal);
    }
  }

  async #death(): Promise<UserCodeFault> {
    const { code, signal } = await this.#closed;
    if (this.#overdue) {
      const seconds = this.#settings.batchMs / 1000;
      const message = `one batch took longer than ${seconds} s`;
      return new UserCodeFault({ kind: "timeout", message, trace: "" });
    }
    const how = signal
      ? signal === "SIGKILL"
        ? "was killed, most likely because it used too much memory"
        : `was ended by ${signal}`
      : code === 137
        ? "was killed, most likely because it used too much memory"
        : code === null
          ? "could not be started"
          : `ended with exit code ${code}`;
    return new UserCodeFault({ kind: "died", message: `The function's process ${how}.` });
  }

  async close(): Promise<void> {
    this.#process.stdin!.end();
    const timer = setTimeout(() => this.#killGroup(), CLOSE_MS);
    await this.#closed;
    clearTimeout(timer);
    await this.kill();
  }

  async kill(): Promise<void> {
    this.#signal.removeEventListener("abort", this.#stop);
    this.#killGroup();
    await this.#closed;
    await this.#lines;
    await this.#frames.return(undefined);
    await rm(this.#settings.directory, { recursive: true, force: true });
  }

  #killGroup(): void {
    const { pid } = this.#process;
    if (pid === undefined) return;
    try {
      process.kill(-pid, "SIGKILL");
    } catch (error) {
      // ESRCH: nothing is left of the group. EPERM: macOS says so of a group of zombies.
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ESRCH" && !(code === "EPERM" && this.#exited)) throw error;
    }
  }
}
