// At most so many at once; the others wait their turn, in order.

export type Gate = <T>(work: () => Promise<T>, signal?: AbortSignal) => Promise<T>;

/** A gate that lets `width` pass side by side. Whoever's signal aborts while waiting leaves the queue. */
export function createGate(width: number): Gate {
  let inside = 0;
  const waiting: (() => void)[] = [];

  function enter(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (inside < width) {
      inside++;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const admit = (): void => {
        signal?.removeEventListener("abort", leave);
        resolve();
      };
      const leave = (): void => {
        waiting.splice(waiting.indexOf(admit), 1);
        reject(signal?.reason);
      };
      waiting.push(admit);
      signal?.addEventListener("abort", leave, { once: true });
    });
  }

  return async (work, signal) => {
    await enter(signal);
    try {
      return await work();
    } finally {
      // The place goes straight to the next in line, so nobody slips in between.
      const next = waiting.shift();
      if (next) next();
      else inside--;
    }
  };
}
