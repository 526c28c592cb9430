// Brings the half that holds the streams into being: on a thread of its own, or beside the caller.
import { Worker } from "node:worker_threads";
import { AppError } from "../core/app-error.js";
import { threadProgram } from "../process/thread-program.js";
import type { FromStreams, Port, StreamOptions, ToStreams } from "./messages.js";
import { startStreamHost } from "./stream-host.js";

export interface Streams extends Port<ToStreams, FromStreams> {
  /** Called once if the thread ends before `stop`. */
  onFailure(take: (error: AppError) => void): void;
  /** Whether it keeps the process alive. */
  keepAlive(yes: boolean): void;
  /** Ends the thread; what it still holds is cut. */
  stop(): Promise<void>;
}

/** Beside the caller, on the same event loop. */
export function startStreamsHere(options: StreamOptions): Streams {
  const [ours, theirs] = line<ToStreams, FromStreams>();
  startStreamHost({ ...options, stallLimitMs: 0 }, theirs);
  return { ...ours, onFailure: () => {}, keepAlive: () => {}, stop: async () => {} };
}

/** On a thread of its own. */
export function startStreamThread(options: StreamOptions, program = PROGRAM): Streams {
  const worker = new Worker(threadProgram(program), { workerData: options, name: "postern-streams" });
  worker.unref();
  let stopped = false;
  let failed = (_: AppError) => {};
  const fail = (why: string, cause?: unknown) => {
    if (stopped) return;
    stopped = true;
    const message = `The thread that speaks with the server broke (${why}); start the executor again.`;
    failed(new AppError("internal", "INTERNAL", message, { cause }));
  };
  worker.on("error", (error: Error) => fail(error.message, error));
  worker.on("exit", (code) => fail(`exit code ${code}`));
  return {
    post: (message, transfer) => worker.postMessage(message, transfer),
    listen: (take) => void worker.on("message", take),
    onFailure: (take) => {
      failed = take;
    },
    keepAlive: (yes) => (yes ? worker.ref() : worker.unref()),
    async stop() {
      stopped = true;
      await worker.terminate();
    },
  };
}

const PROGRAM = new URL(`./stream-thread${import.meta.url.endsWith(".ts") ? ".ts" : ".js"}`, import.meta.url);

/** A line within one thread: messages arrive in order, after what the sender is doing now. */
function line<A, B>(): [Port<A, B>, Port<B, A>] {
  const ends = [createEnd<B>(), createEnd<A>()] as const;
  return [
    { post: (message) => ends[1].arrive(message), listen: ends[0].listen },
    { post: (message) => ends[0].arrive(message), listen: ends[1].listen },
  ];
}

function createEnd<In>() {
  let take: ((message: In) => void) | undefined;
  const early: In[] = [];
  return {
    arrive: (message: In) => queueMicrotask(() => (take ? take(message) : void early.push(message))),
    listen(taker: (message: In) => void) {
      take = taker;
      for (const message of early.splice(0)) take(message);
    },
  };
}
