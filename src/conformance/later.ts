// Timers that all end with their owner.

export interface Later {
  after(ms: number, work: () => void): void;
  /** Nothing that was put off is done any more. */
  clear(): void;
}

export function createLater(): Later {
  const timers = new Set<NodeJS.Timeout>();
  return {
    after(ms, work) {
      const timer = setTimeout(() => {
        timers.delete(timer);
        work();
      }, ms);
      timers.add(timer);
    },
    clear() {
      for (const timer of timers) clearTimeout(timer);
      timers.clear();
    },
  };
}
