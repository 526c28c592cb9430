// A latch between those who make work and the one loop that does it: a wake that comes between two waits is not lost.

export interface WakeUp {
  /** Lets the present or the next `wait` return. */
  wake(): void;
  /** Resolves at a wake, one that came since the last wait, after `backstopMs` if given, or when the signal aborts. */
  wait(backstopMs?: number, signal?: AbortSignal): Promise<void>;
}

export function createWakeUp(): WakeUp {
  let woken = false;
  let resume: (() => void) | undefined;
  return {
    wake() {
      woken = true;
      resume?.();
    },
    async wait(backstopMs, signal) {
      if (!woken && !signal?.aborted) {
        await new Promise<void>((resolve) => {
          const timer = backstopMs === undefined ? undefined : setTimeout(done, backstopMs);
          function done(): void {
            clearTimeout(timer);
            signal?.removeEventListener("abort", done);
            resume = undefined;
            resolve();
          }
          resume = done;
          signal?.addEventListener("abort", done);
        });
      }
      woken = false;
    },
  };
}
