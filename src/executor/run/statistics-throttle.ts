// High-rate figures on their way to a slow reader: of each operator only the latest is kept, and it leaves at most once
// per interval. Pure: the caller brings the clock.

export interface Throttle<T> {
  /** A newer figure for `key`. */
  put(key: string, value: T): void;
  /** The figures due at `nowMs`, each at most once per interval; they leave the throttle if `take` says so. */
  drain(nowMs: number, take: (value: T) => boolean): void;
  /** The figure of one key that waits, due or not. */
  drainKey(key: string, take: (value: T) => boolean): void;
  /** Every figure that waits, due or not. */
  drainAll(take: (value: T) => boolean): void;
  /** Figures replaced by a newer one before they left. */
  replaced(): number;
  /** Figures that have not left. */
  waiting(): number;
}

export function latestWins<T>(intervalMs: number): Throttle<T> {
  const waiting = new Map<string, T>();
  const sentAt = new Map<string, number>();
  let replaced = 0;
  return {
    put(key, value) {
      if (waiting.has(key)) replaced++;
      waiting.set(key, value);
    },
    drain(nowMs, take) {
      for (const [key, value] of waiting) {
        if (nowMs - (sentAt.get(key) ?? Number.NEGATIVE_INFINITY) < intervalMs) continue;
        if (!take(value)) return;
        waiting.delete(key);
        sentAt.set(key, nowMs);
      }
    },
    drainKey(key, take) {
      const value = waiting.get(key);
      if (value !== undefined && take(value)) waiting.delete(key);
    },
    drainAll(take) {
      for (const [key, value] of waiting) if (take(value)) waiting.delete(key);
    },
    replaced: () => replaced,
    waiting: () => waiting.size,
  };
}
