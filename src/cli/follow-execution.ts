// Follows an execution's log to its end across lost connections: every reconnect asks for what comes after the last
// number seen, so nothing is skipped or shown twice.
import type { WatchExecutionResponse } from "../contract/postern/v1/execution.js";
import { AppError } from "../core/app-error.js";

export interface FollowDeps {
  /** One WatchExecution call. */
  watch(after: bigint | undefined): AsyncIterable<WatchExecutionResponse>;
  /** True once the execution is known to be over. */
  isOver(): boolean;
  /** Number of the last item seen. */
  lastNumber(): bigint | undefined;
  /** Told when the connection is lost; the next try comes after the delay. */
  onLost(error: AppError | undefined, tries: number): void;
  delay(ms: number): Promise<void>;
  signal: AbortSignal;
}

/** Tries in a row without a single item before it gives up: about two minutes. */
const MOST_TRIES = 30;
const LONGEST_PAUSE_MS = 5_000;

/** Every item, once, in order, until the execution is over. */
export async function* followExecution(deps: FollowDeps): AsyncGenerator<WatchExecutionResponse, void, undefined> {
  for (let tries = 0; ; tries++) {
    deps.signal.throwIfAborted();
    let lost: AppError | undefined;
    try {
      for await (const item of deps.watch(deps.lastNumber())) {
        tries = 0;
        yield item;
      }
      if (deps.isOver()) return;
    } catch (error) {
      deps.signal.throwIfAborted();
      if (deps.isOver()) return; // the end has been seen; how the stream closed after it does not matter
      if (!(error instanceof AppError) || !isTransient(error) || tries >= MOST_TRIES) throw error;
      lost = error;
    }
    deps.onLost(lost, tries + 1);
    await deps.delay(Math.min(LONGEST_PAUSE_MS, 200 * 2 ** Math.min(tries, 10)));
  }
}

const isTransient = ({ code }: AppError) => code === "unavailable" || code === "deadline" || code === "cancelled";
