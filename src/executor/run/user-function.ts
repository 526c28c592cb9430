// Runs one user function: the rows of every input port go through it, one port after the other, and what it gives goes
// into the sinks of its output ports.
//
// F1  Three things happen at the same time: rows are read and gathered, the child works, and what it gave is put away.
//     Two requests at most wait for an answer, so a few thousand rows at most are in this process.
// F2  Batches are small at first, and as large as the function can do in a moment: the first rows are out soon, and a slow
//     function shows that it goes on.
// F3  When the run is to stop, nothing new is asked of the child; what it was asked it may end until it is killed.
import type { DuckDBDataChunk } from "@duckdb/node-api";
import type { PhysicalOperator, UserFunction } from "../../core/plan.js";
import { BatchEncoder } from "../user-code/batch-encoder.js";
import { type FunctionProcess, loadFunction, type Request, UserCodeFault } from "../user-code/function-process.js";
import type { UserCodeHost } from "../user-code/host.js";
import { outputChunks, UnreadableReply, WrongValue } from "../user-code/output-chunks.js";
import type { OutputRows } from "../user-code/reply-frame.js";
import { queryFailure, RunStopped, throwIfStopped } from "./failure.js";
import { createRequestQueue, type RequestQueue } from "./request-queue.js";
import type { RowSink, RowSource } from "./row-stream.js";
import { type CallPlace, faultOf, tooMuch, wrongValue } from "./user-function-failure.js";

export interface UserFunctionDeps {
  host: Pick<UserCodeHost, "start" | "batchMs" | "memoryBytes">;
  /** Nothing new is begun. */
  stop: AbortSignal;
  /** The function's process is killed. */
  kill: AbortSignal;
  /** Waits between batches while the run is paused; rejects with RunStopped when it is stopped. */
  rest(): Promise<void>;
  /** Hears of pauses, also those within a batch; returns how to end that. */
  onPause(handlers: { pause(): void; resume(): void }): () => void;
  onLine(stream: "output" | "error", line: string): void;
  /** Totals so far. */
  onRows(counts: {
    inputRows: bigint;
    outputRows: bigint;
    inputRowsByPort: bigint[];
    outputRowsByPort: bigint[];
    outputBytes: bigint;
    peakMemoryBytes: bigint;
  }): void;
  /** What the function may give in all; without, a number that only a mistake reaches. */
  limits?: OutputLimits;
}

export interface OutputLimits {
  rows: bigint;
  bytes: bigint;
}
const LIMITS: OutputLimits = { rows: 1_000_000_000n, bytes: 256n * 1024n ** 3n };

export interface UserFunctionCall {
  operator: PhysicalOperator;
  userFunction: UserFunction;
  /** By input port. */
  inputs: RowSource[];
  /** By output port. */
  outputs: RowSink[];
}

export interface UserFunctionCounts {
  /** By port. */
  inputRows: bigint[];
  outputRows: bigint[];
  peakMemoryBytes: bigint;
}

const FIRST_ROWS = 16;
const MOST_ROWS = 16_384;
const MOST_BYTES = 1 << 20;
/** A batch is to take about so long. */
const BATCH_MS = 200;

/** Rows that were read wait so long for others, when the child has nothing to do. */
const LINGER_MS = 10;

/** Whether something takes longer than rows that were read may wait. */
async function isLate(next: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(true), LINGER_MS);
  });
  try {
    return await Promise.race([late, next.then(() => false)]);
  } finally {
    clearTimeout(timer);
  }
}

/** Rejects with RunFailure, or RunStopped. */
export async function runUserFunction(deps: UserFunctionDeps, call: UserFunctionCall): Promise<UserFunctionCounts> {
  const { host, stop, kill } = deps;
  const { operatorId } = call.operator;
  throwIfStopped(stop);
  const started = await host.start(call.userFunction.language, operatorId);
  let child: FunctionProcess | undefined;
  let forget: (() => void) | undefined;
  try {
    child = await loadFunction(
      started,
      {
        userFunction: call.userFunction,
        inputs: call.inputs.map(({ schema }) => schema),
        outputs: call.outputs.map(({ schema }) => schema),
        batchMs: host.batchMs,
        memoryBytes: host.memoryBytes,
        onLine: deps.onLine,
      },
      kill,
    );
    forget = deps.onPause(child);
    const run = new FunctionRun(deps, call, child);
    await run.toTheEnd();
    await child.close();
    return run.counts();
  } catch (error) {
    if (stop.aborted) throw new RunStopped();
    if (error instanceof UserCodeFault) throw faultOf(error, { operatorId, call: call.userFunction.call });
    throw queryFailure(error, { operatorIds: [operatorId] });
  } finally {
    forget?.();
    await child?.kill();
  }
}

class FunctionRun {
  readonly #deps: UserFunctionDeps;
  readonly #call: UserFunctionCall;
  readonly #child: FunctionProcess;
  readonly #inputRows: bigint[];
  readonly #outputRows: bigint[];
  #outputBytes = 0n;
  /** F2 */
  #batchRows = FIRST_ROWS;

  constructor(deps: UserFunctionDeps, call: UserFunctionCall, child: FunctionProcess) {
    this.#deps = deps;
    this.#call = call;
    this.#child = child;
    this.#inputRows = call.inputs.map(() => 0n);
    this.#outputRows = call.outputs.map(() => 0n);
  }

  counts(): UserFunctionCounts {
    const peakMemoryBytes = BigInt(this.#child.peakMemoryBytes());
    return { inputRows: this.#inputRows, outputRows: this.#outputRows, peakMemoryBytes };
  }

  /** Both sides run until the last reply is put away; the first failure of one ends the other. */
  async toTheEnd(): Promise<void> {
    const failed = new AbortController();
    const queue = createRequestQueue<Asked>();
    let failure: { error: unknown } | undefined;
    const guarded = (work: Promise<void>) =>
      work.catch(async (error: unknown) => {
        failure ??= { error };
        queue.end();
        if (error instanceof RunStopped) return; // F3
        failed.abort();
        // Else the other side might wait for a child that waits for this one.
        await this.#child.kill();
      });
    const signal = AbortSignal.any([this.#deps.stop, failed.signal]);
    signal.addEventListener("abort", () => queue.end(), { once: true });
    await Promise.all([guarded(this.#ask(queue, signal)), guarded(this.#putAway(queue))]);
    if (failure) throw failure.error;
  }

  /** Reads all inputs and sends them; the queue holds what waits for an answer. */
  async #ask(queue: RequestQueue<Asked>, signal: AbortSignal): Promise<void> {
    const { inputs } = this.#call;
    for (const [port, source] of inputs.entries()) {
      await this.#askAbout(port, source, queue, signal);
      await this.#send({ kind: "end-of-port", port }, 0n, queue, signal);
    }
    if (inputs.length === 0) await this.#send({ kind: "end-of-port", port: 0 }, 0n, queue, signal);
    await this.#send({ kind: "finish" }, 0n, queue, signal);
    queue.end();
  }

  async #askAbout(port: number, source: RowSource, queue: RequestQueue<Asked>, signal: AbortSignal): Promise<void> {
    const encoder = new BatchEncoder(source.schema);
    let firstRow = 1n;
    let rowBytes = 1;
    const sendRows = async () => {
      const { frame, batch } = encoder.take(port);
      rowBytes = frame.length / batch.rows;
      await this.#send({ kind: "rows", port, frame, batch }, firstRow, queue, signal);
      firstRow += BigInt(batch.rows);
    };
    const chunks = source.chunks(signal)[Symbol.asyncIterator]();
    try {
      const read = () => {
        const next = chunks.next();
        // Its failure is met where it is waited for; unless sending fails before.
        next.catch(() => {});
        return next;
      };
      for (let next = read(); ; ) {
        if (encoder.rows > 0 && (await isLate(next))) {
          if (queue.waiting() === 0) await sendRows();
          continue;
        }
        const { done, value: chunk } = await next;
        if (done) break;
        next = read();
        const rows = chunk.rowCount;
        for (let from = 0; from < rows; ) {
          const most = Math.min(this.#batchRows, Math.ceil(MOST_BYTES / rowBytes));
          const to = Math.min(rows, from + Math.max(1, most - encoder.rows));
          encoder.add(chunk, from, to);
          from = to;
          if (encoder.rows >= most || encoder.bytes >= MOST_BYTES) await sendRows();
        }
      }
    } finally {
      await chunks.return?.();
    }
    if (encoder.rows > 0) await sendRows();
  }

  async #send(request: Request, firstRow: bigint, queue: RequestQueue<Asked>, signal: AbortSignal): Promise<void> {
    await this.#deps.rest();
    await queue.room();
    throwIfStopped(signal);
    queue.add({ request, firstRow });
    await this.#child.send(request);
  }

  async #putAway(queue: RequestQueue<Asked>): Promise<void> {
    for (let asked = await queue.oldest(); asked !== undefined; asked = await queue.oldest()) {
      const { request } = asked;
      const startedAt = performance.now();
      const place: CallPlace = {
        operatorId: this.#call.operator.operatorId,
        call: this.#call.userFunction.call,
        ports: this.#call.inputs.length,
        schema: request.kind === "rows" ? this.#call.inputs[request.port]!.schema : [],
        ...asked,
      };
      try {
        for await (const rows of this.#child.replies(request)) await this.#store(rows, place);
      } catch (error) {
        throw error instanceof UserCodeFault ? faultOf(error, place) : error;
      }
      if (request.kind === "rows") {
        this.#inputRows[request.port]! += BigInt(request.batch.rows);
        this.#pace(request.batch.rows, performance.now() - startedAt);
      }
      this.#tell();
      queue.answered();
    }
  }

  /** Puts rows of one reply into their sink. */
  async #store(rows: OutputRows, place: CallPlace): Promise<void> {
    const sink = this.#call.outputs[rows.port]!;
    const batch = place.request.kind === "rows" ? place.request.batch : undefined;
    this.#outputBytes += BigInt(rows.bytes);
    const total = this.#outputRows[rows.port]! + BigInt(rows.rows);
    const limits = this.#deps.limits ?? LIMITS;
    if (total > limits.rows || this.#outputBytes > limits.bytes) throw tooMuch(place, limits, total > limits.rows);
    try {
      for (const chunk of outputChunks(rows, sink.schema, batch)) await this.#append(sink, chunk);
    } catch (error) {
      if (error instanceof UnreadableReply)
        throw new UserCodeFault({ kind: "died", message: "The function's process sent something unreadable." });
      if (error instanceof WrongValue) throw wrongValue(error, rows, place, this.#outputRows[rows.port]!);
      throw error;
    }
    this.#outputRows[rows.port] = total;
    if (place.request.kind !== "rows") this.#tell();
  }

  async #append(sink: RowSink, chunk: DuckDBDataChunk): Promise<void> {
    await this.#deps.rest();
    await sink.append(chunk);
  }

  #pace(rows: number, tookMs: number): void {
    const fitting = Math.floor((rows * BATCH_MS) / Math.max(1, tookMs));
    this.#batchRows = Math.max(1, Math.min(MOST_ROWS, fitting, this.#batchRows * 4));
  }

  #tell(): void {
    const sum = (counts: bigint[]) => counts.reduce((total, count) => total + count, 0n);
    this.#deps.onRows({
      inputRows: sum(this.#inputRows),
      outputRows: sum(this.#outputRows),
      inputRowsByPort: [...this.#inputRows],
      outputRowsByPort: [...this.#outputRows],
      outputBytes: this.#outputBytes,
      peakMemoryBytes: BigInt(this.#child.peakMemoryBytes()),
    });
  }
}

/** A request that waits for its answer; `firstRow` is the number of its first row within its port, from 1. */
interface Asked {
  request: Request;
  firstRow: bigint;
}
