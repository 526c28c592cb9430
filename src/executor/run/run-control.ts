// How a run is steered from outside: stopped, killed, and halted for a while.
//
// C1  A cancelled run begins nothing new and interrupts its queries at once; user code may end its batch within the grace
//     and is killed after it. A killed run does not wait.
// C2  A paused run stops at once: user code is halted where it is (`onPause`), streams are not read on, and a query at
//     work is given up, to be begun anew (`restartable`; docs/decisions/0014). It is PAUSED when all of its work rests,
//     and says so then; it goes on after it has said that it is RUNNING.
// C3  What rests still hears that it must stop.
// C4  Work that waits for other work, here or in another execution, rests meanwhile.
import { ExecutionState } from "../../contract/postern/v1/execution.js";
import { RunStopped, throwIfStopped } from "./failure.js";
import type { Report } from "./report.js";

/** Two steps of ending work. */
export interface StopSignals {
  /** Nothing new begins, and queries are interrupted. */
  stop: AbortSignal;
  /** User code is killed. Aborts with `stop` or after it. */
  kill: AbortSignal;
}

/** Halts something where it is, and lets it go on. */
export interface PauseHandlers {
  pause(): void;
  resume(): void;
}

export interface RunControl extends StopSignals {
  /** Stops in order; user code that goes on for longer than the grace is killed. */
  cancel(): void;
  /** Stops at once. */
  killNow(): void;
  /** Returns why not, or "". */
  pauseRun(): string;
  /** Returns why not, or "". */
  resumeRun(): string;
  /** Does work that rests when the run is paused. */
  lane<T>(work: () => Promise<T>): Promise<T>;
  /** Waits within a lane for something else to happen (C4). Rejects with RunStopped once `stop` has aborted. */
  wait(what: Promise<void>, stop: AbortSignal): Promise<void>;
  /** A place to rest: waits while the run is paused. Rejects with RunStopped once `stop` has aborted. */
  rest(stop: AbortSignal): Promise<void>;
  /** Does work within a lane that is halted as a whole by `onPause`, so that the lane rests while the run is paused. */
  halting<T>(work: () => Promise<T>): Promise<T>;
  /** As `rest`, within `halting`. */
  hold(stop: AbortSignal): Promise<void>;
  /** Calls the handlers with every pause and what ends it, now if the run is paused; returns how to end that. */
  onPause(handlers: PauseHandlers): () => void;
  /**
   * Does work that gives up when its signal aborts, and rejects with RunStopped then. Given up for a pause, it is done
   * again from the beginning afterwards.
   */
  restartable<T>(work: (signal: AbortSignal) => Promise<T>, stop: AbortSignal): Promise<T>;
  /** As `restartable`, within `halting`. */
  restartableHeld<T>(work: (signal: AbortSignal) => Promise<T>, stop: AbortSignal): Promise<T>;
  isPaused(): boolean;
  /** Milliseconds the run has been paused in all. */
  pausedMs(): number;
  /** The run ends: nothing is told afterwards. Resolves when what was to tell has been told. */
  finish(): Promise<void>;
}

export interface RunControlDeps {
  report: Pick<Report, "executionState">;
  cancelGraceMs: number;
  /** Milliseconds of a clock that only goes forward. */
  elapsed: () => number;
}

export function createRunControl({ report, cancelGraceMs, elapsed }: RunControlDeps): RunControl {
  const stop = new AbortController();
  const kill = new AbortController();
  const resting = new Set<() => void>();
  const handlers = new Set<PauseHandlers>();
  let lanes = 0;
  let waiting = 0;
  let halting = 0;
  /** Since when the run is paused, by `elapsed`. */
  let pausedAt: number | undefined;
  let pausedBeforeMs = 0;
  let pausedTold = false;
  let finished = false;
  let grace: NodeJS.Timeout | undefined;
  let telling: Promise<void> = Promise.resolve();

  /** A report is refused once the session is over; then the run stops for that reason. */
  const tell = (state: ExecutionState, then = () => {}) => {
    telling = telling.then(() => report.executionState(state)).then(then, () => {});
  };

  const isPaused = () => pausedAt !== undefined;

  function tellWhenAllRest(): void {
    if (!isPaused() || pausedTold || lanes === 0 || stop.signal.aborted) return;
    if (resting.size + waiting + halting < lanes) return;
    pausedTold = true;
    tell(ExecutionState.EXECUTION_STATE_PAUSED);
  }

  function killNow(): void {
    clearTimeout(grace);
    stop.abort();
    kill.abort();
  }

  /** Resolves when the run goes on. */
  const goesOn = (signal: AbortSignal, sleepers: Set<() => void>): Promise<void> =>
    new Promise<void>((resolve, reject) => {
      const over = () => {
        signal.removeEventListener("abort", over);
        sleepers.delete(over);
        if (signal.aborted) reject(new RunStopped());
        else resolve();
      };
      sleepers.add(over);
      signal.addEventListener("abort", over, { once: true });
    });
  const held = new Set<() => void>();

  async function rest(signal: AbortSignal): Promise<void> {
    throwIfStopped(signal);
    while (isPaused()) {
      const going = goesOn(signal, resting);
      tellWhenAllRest();
      await going;
    }
  }

  function onPause(one: PauseHandlers): () => void {
    handlers.add(one);
    if (isPaused()) one.pause();
    return () => void handlers.delete(one);
  }

  async function hold(signal: AbortSignal): Promise<void> {
    throwIfStopped(signal);
    while (isPaused()) await goesOn(signal, held);
  }

  const restartingAfter =
    (wait: (signal: AbortSignal) => Promise<void>): RunControl["restartable"] =>
    async (work, signal) => {
      for (;;) {
        await wait(signal);
        const halt = new AbortController();
        const forget = onPause({ pause: () => halt.abort(), resume: () => {} });
        try {
          return await work(AbortSignal.any([signal, halt.signal]));
        } catch (error) {
          if (!(error instanceof RunStopped) || signal.aborted || !halt.signal.aborted) throw error;
        } finally {
          forget();
        }
      }
    };

  return {
    stop: stop.signal,
    kill: kill.signal,
    killNow,
    cancel() {
      if (stop.signal.aborted) return;
      if (isPaused()) return killNow(); // what is halted ends nothing
      stop.abort();
      grace = setTimeout(killNow, cancelGraceMs);
    },
    pauseRun() {
      if (finished || stop.signal.aborted) return "the execution is about to end";
      if (isPaused()) return "";
      pausedAt = elapsed();
      for (const one of handlers) one.pause();
      tellWhenAllRest();
      return "";
    },
    resumeRun() {
      if (pausedAt === undefined || finished) return "";
      pausedBeforeMs += elapsed() - pausedAt;
      pausedAt = undefined;
      pausedTold = false;
      tell(ExecutionState.EXECUTION_STATE_RUNNING, () => {
        if (isPaused()) return; // again, before this was told
        for (const one of handlers) one.resume();
        for (const wake of [...resting, ...held]) wake();
      });
      return "";
    },
    async lane(work) {
      lanes++;
      try {
        return await work();
      } finally {
        lanes--;
        tellWhenAllRest();
      }
    },
    async wait(what, signal) {
      throwIfStopped(signal);
      waiting++;
      tellWhenAllRest();
      try {
        await new Promise<void>((resolve, reject) => {
          const stopped = () => reject(new RunStopped());
          signal.addEventListener("abort", stopped, { once: true });
          what.then(resolve, reject).finally(() => signal.removeEventListener("abort", stopped));
        });
      } finally {
        waiting--;
      }
    },
    rest,
    async halting(work) {
      halting++;
      tellWhenAllRest();
      try {
        return await work();
      } finally {
        halting--;
      }
    },
    hold,
    onPause,
    restartable: restartingAfter(rest),
    restartableHeld: restartingAfter(hold),
    isPaused,
    pausedMs: () => pausedBeforeMs + (pausedAt === undefined ? 0 : elapsed() - pausedAt),
    async finish() {
      finished = true;
      clearTimeout(grace);
      await telling;
    },
  };
}
