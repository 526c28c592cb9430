// How long a process may take to answer. A pause stops the clock.

export interface Patience {
  /** The clock starts anew. */
  begin(ms: number): void;
  /** It was in time. */
  end(): void;
  pause(): void;
  resume(): void;
  /** Whether the time ran out; stays true. */
  isOver(): boolean;
}

/** Calls `onOver` once when the time runs out. */
export function createPatience(onOver: () => void): Patience {
  let timer: NodeJS.Timeout | undefined;
  /** Milliseconds left while paused, or when the clock was set. */
  let leftMs: number | undefined;
  let since = 0;
  let isPaused = false;
  let isOver = false;
  const run = () => {
    since = performance.now();
    timer = setTimeout(() => {
      isOver = true;
      onOver();
    }, leftMs);
  };
  return {
    begin(ms) {
      clearTimeout(timer);
      leftMs = ms;
      if (!isPaused) run();
    },
    end() {
      clearTimeout(timer);
      leftMs = undefined;
    },
    pause() {
      if (isPaused) return;
      isPaused = true;
      if (leftMs === undefined) return;
      clearTimeout(timer);
      leftMs = Math.max(0, leftMs - (performance.now() - since));
    },
    resume() {
      if (!isPaused) return;
      isPaused = false;
      if (leftMs !== undefined) run();
    },
    isOver: () => isOver,
  };
}
