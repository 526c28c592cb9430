// How a run is steered from outside: stopped, killed, and halted for a while.
//
// C1  A cancelled run begins nothing new and interrupts its queries at once; user code may end its batch within the grace
//     and is killed after it. A killed run does not wait.
// C2  A paused run rests where nothing is half done: between steps, and between batches of user code. It is PAUSED when
//     all of its work rests, and says so then; it goes on after it has said that it is RUNNING.
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
  /** The run ends: nothing is told afterwards. Resolves when what was to tell has been told. */
  finish(): Promise<void>;
}

export function createRunControl(deps: { report: Pick<Report, "executionState">; cancelGraceMs: number }): RunControl {
  const { report, cancelGraceMs } = deps;
  const stop = new AbortController();
  const kill = new AbortController();
  const resting = new Set<() => void>();
  let lanes = 0;
  let waiting = 0;
  let paused = false;
  let pausedTold = false;
  let finished = false;
  let grace: NodeJS.Timeout | undefined;
  let telling: Promise<void> = Promise.resolve();

  /** A report is refused once the session is over; then the run stops for that reason. */
  const tell = (state: ExecutionState, then = () => {}) => {
    telling = telling.then(() => report.executionState(state)).then(then, () => {});
  };

  function tellWhenAllRest(): void {
    if (!paused || pausedTold || lanes === 0 || resting.size + waiting < lanes || stop.signal.aborted) return;
    pausedTold = true;
    tell(ExecutionState.EXECUTION_STATE_PAUSED);
  }

  function killNow(): void {
    clearTimeout(grace);
    stop.abort();
    kill.abort();
  }

  return {
    stop: stop.signal,
    kill: kill.signal,
    killNow,
    cancel() {
      if (stop.signal.aborted) return;
      stop.abort();
      grace = setTimeout(killNow, cancelGraceMs);
    },
    pauseRun() {
      if (finished || stop.signal.aborted) return "the execution is about to end";
      paused = true;
      tellWhenAllRest();
      return "";
    },
    resumeRun() {
      if (!paused || finished) return "";
      paused = false;
      pausedTold = false;
      tell(ExecutionState.EXECUTION_STATE_RUNNING, () => {
        for (const wake of resting) wake();
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
    async rest(signal) {
      throwIfStopped(signal);
      while (paused) {
        await new Promise<void>((resolve, reject) => {
          const over = () => {
            signal.removeEventListener("abort", over);
            resting.delete(over);
            if (signal.aborted) reject(new RunStopped());
            else resolve();
          };
          resting.add(over);
          signal.addEventListener("abort", over, { once: true });
          tellWhenAllRest();
        });
      }
    },
    async finish() {
      finished = true;
      clearTimeout(grace);
      await telling;
    },
  };
}
