// The cache as a run sees it: what to reuse, what to compute for others too, what to wait for.
//
// C1  It never fails a run. A server without the service, one that refuses, or none that answers within PATIENCE_MS:
//     the run computes for itself what it would have asked about, and the log says so in one line.
// C2  A reservation is given back before anything is asked again, so an answer is never about one on its way back.
import { setTimeout as delay } from "node:timers/promises";
import { AppError } from "../../core/app-error.js";
import { createBackoff } from "../../process/backoff.js";
import type { Logger } from "../../process/log.js";
import { BusyWatch } from "./busy-watch.js";
import { type CacheCallsDeps, createCacheCalls, foundNobody } from "./cache-calls.js";
import { type PortAnswer, portAnswer } from "./port-answer.js";

export interface PortCache {
  /**
   * Asks about ports, one answer for each. `brokenUris`: objects of earlier hits that are gone or damaged. Rejects only
   * once `signal` has aborted.
   */
  lookUp(
    globalPortIds: readonly string[],
    options: { brokenUris: string[]; signal: AbortSignal },
  ): Promise<Map<string, PortAnswer>>;
  /** Waits for BUSY ports as well; `take` hears of each once. */
  watch(globalPortIds: readonly string[], take: (globalPortId: string, answer: PortAnswer) => void): void;
  /** Gives reservations back. */
  release(reservations: bigint[]): void;
  /** Ends every call. */
  close(): Promise<void>;
}

export interface PortCacheDeps extends CacheCallsDeps {
  executionId: string;
  /** Milliseconds of a clock that only goes forward. */
  elapsed: () => number;
  log: Logger;
}

/** How long to look for a server that answers. */
const PATIENCE_MS = 5_000;
const LAST_WORDS_MS = 500;
const BACKOFF = { firstMs: 50, maxMs: 1_000 };

/** For an execution that uses no cache. */
export const noCache = (reason: string): PortCache => ({
  lookUp: async (ports) => new Map(ports.map((id) => [id, { kind: "compute", reason }])),
  watch: () => {},
  release: () => {},
  close: async () => {},
});

export function createPortCache(deps: PortCacheDeps): PortCache {
  const { executionId, elapsed, log } = deps;
  const calls = createCacheCalls(deps);
  const closed = new AbortController();
  let without: PortCache | undefined;
  let releasing: Promise<void> = Promise.resolve();
  let take: (globalPortId: string, answer: PortAnswer) => void = () => {};

  /** C1 */
  function goWithout(error: AppError): PortCache {
    if (!without) log.info({ err: error }, `the run goes on without the cache: ${error.message}`);
    without ??= noCache(`The cache could not be asked: ${error.message}`);
    return without;
  }
  const watch = new BusyWatch({
    calls,
    executionId,
    elapsed,
    take: (id, answer) => take(id, answer),
    onRefused: goWithout,
  });

  /** Calls until somebody answers, within PATIENCE_MS. */
  async function patiently<Reply>(call: (deadlineMs: number) => Promise<Reply>, signal: AbortSignal): Promise<Reply> {
    const backoff = createBackoff(BACKOFF);
    const startedAt = elapsed();
    for (;;) {
      try {
        return await call(PATIENCE_MS);
      } catch (error) {
        const pause = backoff.nextDelayMs(0);
        const isLate = elapsed() - startedAt + pause > PATIENCE_MS;
        // A token that has just run out is replaced in the stream.
        const isWorthAnother = foundNobody(error) || (error instanceof AppError && error.code === "unauthenticated");
        if (isLate || !isWorthAnother || signal.aborted) throw error;
        await delay(pause, undefined, { signal });
      }
    }
  }

  return {
    async lookUp(globalPortIds, { brokenUris, signal }) {
      if (without) return without.lookUp(globalPortIds, { brokenUris, signal });
      await releasing;
      const request = { executionId, globalPortIds: [...globalPortIds], brokenUris };
      try {
        const found = await patiently((deadlineMs) => calls.lookUp(request, { deadlineMs, signal }), signal);
        const answers = new Map(found.map((port) => [port.globalPortId, portAnswer(port)]));
        const unsaid: PortAnswer = { kind: "compute", reason: "The server said nothing of it." };
        return new Map(globalPortIds.map((id) => [id, answers.get(id) ?? unsaid]));
      } catch (error) {
        if (signal.aborted || !(error instanceof AppError)) throw error;
        return goWithout(error).lookUp(globalPortIds, { brokenUris, signal });
      }
    },
    watch(globalPortIds, taker) {
      take = taker;
      watch.add(globalPortIds);
    },
    release(reservations) {
      if (without || reservations.length === 0) return;
      const { signal } = closed;
      releasing = releasing
        .then(() => patiently((deadlineMs) => calls.release(executionId, reservations, { deadlineMs, signal }), signal))
        // Those that stay are let go with the end of the execution.
        .catch((error: unknown) => {
          if (!signal.aborted) log.info({ err: error }, "reservations could not be given back before the end");
        });
    },
    async close() {
      // What was let go for others is worth a moment to say so.
      const moment = setTimeout(() => closed.abort(), LAST_WORDS_MS);
      await releasing;
      clearTimeout(moment);
      closed.abort();
      await watch.stop();
      calls.close();
    },
  };
}
