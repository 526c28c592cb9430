// A started process as one user function: settings first, then requests, each answered by replies until it is done.
//
// P1  What it sends is checked for form here (reply-frame.ts), and for types where it is stored (output-chunks.ts).
// P2  A request that is not answered in time ends the process and all that came from it. While the run is paused, no time
//     passes. Each reply with rows is a beginning anew; how many there may be is limited (run/user-function.ts).
// P3  Pipes end with the process. What got out of sight on a host without namespaces may hold them open: once the process
//     is gone, a pipe that stays silent is shut.
import type { Readable, Writable } from "node:stream";
import type { Schema, UserFunction } from "../../core/plan.js";
import { throwIfStopped } from "../run/failure.js";
import type { Batch } from "./batch-encoder.js";
import { jsonFrame, REQUEST, shortFrame } from "./column-frames.js";
import { FrameTooLarge, readBodies } from "./frame-reader.js";
import { readLines } from "./lines.js";
import { createPatience, type Patience } from "./patience.js";
import { type ChildError, type OutputRows, type Reply, readReply } from "./reply-frame.js";
import type { StartedChild } from "./started-child.js";

/** User code failed, or its process did; run/user-function.ts turns it into a failure. */
export class UserCodeFault extends Error {
  constructor(readonly fault: ChildError | { kind: "died" | "processes" | "cpu"; message: string }) {
    super(fault.message);
  }
}

export interface FunctionSettings {
  userFunction: UserFunction;
  inputs: Schema[];
  outputs: Schema[];
  /** Longest time for one batch; calls over whole tables, and sources, have ten times as long between two replies. */
  batchMs: number;
  memoryBytes: number;
  onLine(stream: "output" | "error", line: string): void;
}

/** Something the child is asked to do; answered in order. */
export type Request =
  | { kind: "rows"; port: number; frame: Uint8Array; batch: Batch }
  | { kind: "end-of-port"; port: number }
  | { kind: "finish" };

export interface FunctionProcess {
  /** Sends a request; resolves when the pipe took it. */
  send(request: Request): Promise<void>;
  /** The replies to the oldest request that was not answered, until it is done. */
  replies(request: Request): AsyncIterable<OutputRows>;
  pause(): void;
  resume(): void;
  peakMemoryBytes(): number;
  /** Waits until the child has said everything and ended. */
  close(): Promise<void>;
  /** Kills it without waiting for anything it may be doing; harmless when it has ended. */
  kill(): Promise<void>;
}

/** Beyond the child's own time limit: it gets the chance to tell which row took so long. */
const GRACE_MS = 2_000;
const START_MS = 20_000;
const CLOSE_MS = 5_000;
/** P3 */
const SILENCE_MS = 2_000;
/** Of a call over much at once, against one over a batch. */
const LONG_CALL = 10;

/** Loads the code into a started child; rejects with UserCodeFault when it cannot be loaded, and then the child is gone. */
export async function loadFunction(
  started: StartedChild,
  settings: FunctionSettings,
  signal: AbortSignal,
): Promise<FunctionProcess> {
  const child = new Child(started, settings, signal);
  try {
    await child.load();
    return child;
  } catch (error) {
    await child.kill();
    throw error;
  }
}

class Child implements FunctionProcess {
  readonly #started: StartedChild;
  readonly #settings: FunctionSettings;
  readonly #signal: AbortSignal;
  readonly #bodies: AsyncGenerator<Uint8Array<ArrayBuffer>, undefined>;
  readonly #lines: Promise<unknown>;
  readonly #patience: Patience;
  readonly #answerMs: number;
  #isGone = false;
  #isReading = false;
  #shutting: NodeJS.Timeout | undefined;

  constructor(started: StartedChild, settings: FunctionSettings, signal: AbortSignal) {
    this.#started = started;
    this.#settings = settings;
    this.#signal = signal;
    const { call } = settings.userFunction;
    this.#answerMs = settings.batchMs * (call === "table" || call === "source" ? LONG_CALL : 1) + GRACE_MS;
    this.#patience = createPatience(() => started.tree.kill());
    this.#bodies = readBodies(started.process.stdio[3] as Readable);
    this.#lines = Promise.allSettled([
      readLines(started.process.stdout!, (line) => settings.onLine("output", line)),
      readLines(started.process.stderr!, (line) => settings.onLine("error", line)),
    ]);
    const gone = () => {
      this.#isGone = true;
      this.#shutSilentPipe();
    };
    started.gone.then(gone, gone);
    signal.addEventListener("abort", this.#stop, { once: true });
    if (signal.aborted) this.#stop();
  }

  #stop = () => this.#started.tree.kill();

  async load(): Promise<void> {
    const { userFunction, inputs, outputs, batchMs, memoryBytes } = this.#settings;
    const { code, entryPoint, call, retainInputColumns } = userFunction;
    const settings = { code, entryPoint, call, retain: retainInputColumns, inputs, outputs, batchMs, memoryBytes };
    this.#patience.begin(START_MS + batchMs);
    await this.#write(jsonFrame(REQUEST.settings, settings));
    const reply = await this.#reply(undefined);
    this.#patience.end();
    if (reply.kind !== "ready") throw unreadable();
  }

  send(request: Request): Promise<void> {
    switch (request.kind) {
      case "rows":
        return this.#write(request.frame);
      case "end-of-port":
        return this.#write(shortFrame(REQUEST.endOfPort, request.port));
      case "finish":
        return this.#write(shortFrame(REQUEST.finish));
    }
  }

  async *replies(request: Request): AsyncIterable<OutputRows> {
    const batch = request.kind === "rows" ? request.batch : undefined;
    this.#patience.begin(this.#answerMs);
    try {
      for (;;) {
        const reply = await this.#reply(batch);
        if (reply.kind === "done") return;
        if (reply.kind !== "rows") throw unreadable();
        // While others make room for the rows, the child is not waited for.
        this.#patience.end();
        yield reply.rows;
        this.#patience.begin(this.#answerMs);
      }
    } finally {
      this.#patience.end();
    }
  }

  /** Writes one frame and waits until the pipe took it. */
  async #write(frame: Uint8Array): Promise<void> {
    const stdin = this.#started.process.stdin as Writable;
    if (stdin.destroyed || stdin.write(frame)) return;
    await new Promise<void>((resolve) => {
      const taken = () => {
        stdin.off("drain", taken);
        stdin.off("close", taken);
        resolve();
      };
      stdin.once("drain", taken);
      stdin.once("close", taken);
    });
  }

  async #reply(batch: Batch | undefined): Promise<Reply> {
    const next = await this.#nextBody();
    throwIfStopped(this.#signal);
    if (next.done) throw await this.#death();
    const reply = readReply(next.value, { outputs: this.#settings.outputs, batch });
    if (reply === undefined) throw unreadable();
    if (reply.kind === "error") throw new UserCodeFault(reply.error);
    return reply;
  }

  async #nextBody(): Promise<IteratorResult<Uint8Array<ArrayBuffer>, undefined>> {
    this.#isReading = true;
    this.#shutSilentPipe();
    try {
      return await this.#bodies.next();
    } catch (error) {
      if (error instanceof FrameTooLarge) throw new UserCodeFault({ kind: "died", message: error.message });
      if (this.#isGone) return { done: true, value: undefined };
      throw error;
    } finally {
      this.#isReading = false;
      clearTimeout(this.#shutting);
    }
  }

  /** P3 */
  #shutSilentPipe(): void {
    if (!this.#isGone || !this.#isReading) return;
    this.#shutting = setTimeout(() => this.#started.process.stdio[3]?.destroy(), SILENCE_MS);
  }

  async #death(): Promise<UserCodeFault> {
    const { tree, ended } = this.#started;
    const { code, signal } = await ended;
    if (this.#patience.isOver()) {
      const message = `one batch took longer than ${this.#settings.batchMs / 1000} s`;
      return new UserCodeFault({ kind: "timeout", message, trace: "" });
    }
    if (tree.ended?.limit === "memory")
      return new UserCodeFault({ kind: "memory", message: "it and what it started took too much memory", trace: "" });
    if (tree.ended) return new UserCodeFault({ kind: tree.ended.limit as "processes" | "cpu", message: "" });
    const killed = signal === "SIGKILL" || code === 137;
    const how = killed
      ? "was killed, most likely because it used too much memory"
      : signal
        ? `was ended by ${signal}`
        : `ended with exit code ${code}`;
    return new UserCodeFault({ kind: "died", message: `The function's process ${how}.` });
  }

  pause(): void {
    this.#patience.pause();
    this.#started.tree.pause();
  }

  resume(): void {
    this.#started.tree.resume();
    this.#patience.resume();
  }

  peakMemoryBytes(): number {
    return this.#started.tree.peakMemoryBytes();
  }

  async close(): Promise<void> {
    this.#started.process.stdin!.end();
    const timer = setTimeout(() => this.#started.tree.kill(), CLOSE_MS);
    await this.#started.ended;
    clearTimeout(timer);
    await this.kill();
  }

  async kill(): Promise<void> {
    this.#signal.removeEventListener("abort", this.#stop);
    this.#patience.end();
    this.#started.tree.kill();
    await this.#started.gone;
    // P3
    const shut = setTimeout(() => {
      for (const pipe of this.#started.process.stdio) pipe?.destroy();
    }, SILENCE_MS);
    await this.#lines;
    await this.#bodies.return(undefined).catch(() => {}); // of a pipe that was shut
    clearTimeout(shut);
  }
}

const unreadable = () =>
  new UserCodeFault({ kind: "died", message: "The function's process sent something unreadable." });
