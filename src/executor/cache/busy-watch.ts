// Waits for ports that other executions compute: one WatchKeys call for all of them, opened again whenever it breaks.
//
// W1  A port is answered once, and watched until then. The server tells how things stand whenever it is asked again, so
//     nothing is lost with a call that broke, or was replaced because there is more to wait for.
// W2  A server that cannot be asked is asked again, with pauses. One that will not answer (it does not know the call, or
//     refuses it for good), or of which nothing is heard for PATIENCE_MS though it is asked again and again, ends the
//     waiting: the ports are the run's own to compute.
// W3  A lease that is lost, and a token that has run out, are the stream's to tell: they count as W2's first kind.
import { setTimeout as delay } from "node:timers/promises";
import { AppError } from "../../core/app-error.js";
import { createBackoff } from "../../process/backoff.js";
import type { CacheCalls } from "./cache-calls.js";
import { type PortAnswer, portAnswer } from "./port-answer.js";

export interface BusyWatchDeps {
  calls: Pick<CacheCalls, "watch">;
  executionId: string;
  take(globalPortId: string, answer: PortAnswer): void;
  /** The waiting ends for good (W2). */
  onRefused(error: AppError): void;
  elapsed: () => number;
}

const BACKOFF = { firstMs: 20, maxMs: 1_000 };
/** A call that lasted this long, or that told something, has worked. */
const WORKS_MS = 2_000;
const PATIENCE_MS = 60_000;
const REFUSALS = new Set(["invalid", "forbidden", "not-found", "precondition", "conflict"]);
const FOR_THE_STREAM = new Set(["STALE_LEASE", "ILLEGAL_TRANSITION"]);
const isRefusal = (error: unknown): error is AppError =>
  error instanceof AppError && REFUSALS.has(error.code) && !FOR_THE_STREAM.has(error.reason);

export class BusyWatch {
  readonly #deps: BusyWatchDeps;
  readonly #ports = new Set<string>();
  readonly #stop = new AbortController();
  #call = new AbortController();
  #running: Promise<void> | undefined;

  constructor(deps: BusyWatchDeps) {
    this.#deps = deps;
  }

  /** Watches these as well. */
  add(globalPortIds: readonly string[]): void {
    const fresh = globalPortIds.filter((id) => !this.#ports.has(id));
    if (fresh.length === 0 || this.#stop.signal.aborted) return;
    for (const id of fresh) this.#ports.add(id);
    this.#call.abort();
    this.#running ??= this.#watch();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#call.abort();
    await this.#running;
  }

  /** Ends once every port is answered; `add` begins anew after that. */
  async #watch(): Promise<void> {
    const { executionId, elapsed, calls } = this.#deps;
    const backoff = createBackoff(BACKOFF);
    let workedAt = elapsed();
    while (this.#ports.size > 0 && !this.#stop.signal.aborted) {
      this.#call = new AbortController();
      const { signal } = this.#call;
      const openedAt = elapsed();
      let failure: AppError | undefined;
      try {
        for await (const port of calls.watch({ executionId, globalPortIds: [...this.#ports] }, signal)) {
          workedAt = elapsed();
          const answer = portAnswer(port);
          if (answer.kind !== "busy" && this.#ports.delete(port.globalPortId))
            this.#deps.take(port.globalPortId, answer);
        }
      } catch (error) {
        if (error instanceof AppError) failure = error;
      }
      // Replaced by `add`, it is opened again at once.
      if (signal.aborted || this.#ports.size === 0) continue;
      const now = elapsed();
      if (now - openedAt >= WORKS_MS) workedAt = now;
      if (isRefusal(failure) || (failure && now - workedAt > PATIENCE_MS)) this.#giveUp(failure);
      else await delay(backoff.nextDelayMs(now - openedAt), undefined, { signal }).catch(() => {});
    }
    // In one go with the look at what is left: nothing can be added in between and stay unwatched.
    this.#running = undefined;
  }

  #giveUp(error: AppError): void {
    const ports = [...this.#ports];
    this.#ports.clear();
    this.#deps.onRefused(error);
    for (const id of ports) this.#deps.take(id, { kind: "compute", reason: error.message });
  }
}
