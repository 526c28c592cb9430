// The states of an execution and the legal moves between them: the one table. SQL takes its allowed source states from
// `sourcesOf`, so no statement can make a move that is not here.
//
// E1  Terminal states absorb: nothing leads out of COMPLETED, FAILED or KILLED.
// E2  Work that somebody lost goes back to QUEUED (next attempt) or ends FAILED; there is no state LOST.
// E3  A request is answered by a report, which may cross it on the way: what was RUNNING when it was asked to pause, or
//     PAUSED when it was asked to go on, may say that it stays so (a refusal), or that it has ended meanwhile. Only who
//     said PAUSED does not end well without having gone on.

export const EXECUTION_STATES = [
  "QUEUED",
  "PREPARED",
  "RUNNING",
  "PAUSING",
  "PAUSED",
  "RESUMING",
  "COMPLETING",
  "COMPLETED",
  "FAILED",
  "KILLED",
] as const;
export type ExecutionState = (typeof EXECUTION_STATES)[number];

export const TERMINAL_STATES = ["COMPLETED", "FAILED", "KILLED"] as const satisfies readonly ExecutionState[];
export type TerminalState = (typeof TERMINAL_STATES)[number];

const MOVES: Record<ExecutionState, readonly ExecutionState[]> = {
  QUEUED: ["PREPARED", "FAILED", "KILLED"],
  PREPARED: ["RUNNING", "COMPLETING", "QUEUED", "COMPLETED", "FAILED", "KILLED"],
  RUNNING: ["PAUSING", "COMPLETING", "QUEUED", "COMPLETED", "FAILED", "KILLED"],
  PAUSING: ["PAUSED", "RUNNING", "COMPLETING", "QUEUED", "COMPLETED", "FAILED", "KILLED"],
  PAUSED: ["RESUMING", "QUEUED", "FAILED", "KILLED"],
  RESUMING: ["RUNNING", "PAUSED", "COMPLETING", "QUEUED", "COMPLETED", "FAILED", "KILLED"],
  COMPLETING: ["QUEUED", "COMPLETED", "FAILED", "KILLED"],
  COMPLETED: [],
  FAILED: [],
  KILLED: [],
};

export const isTerminal = (state: ExecutionState): state is TerminalState => MOVES[state].length === 0;

export const mayMove = (from: ExecutionState, to: ExecutionState): boolean => MOVES[from].includes(to);

/** States from which `to` may be entered; what a conditional UPDATE allows in its WHERE clause. */
export const sourcesOf = (to: ExecutionState): ExecutionState[] => EXECUTION_STATES.filter((from) => mayMove(from, to));

/** States in which an executor may report. */
export const LIVE_STATES: ExecutionState[] = EXECUTION_STATES.filter((s) => s !== "QUEUED" && !isTerminal(s));

/** States of a region or an operator. */
export const RUN_STATES = [
  "READY",
  "RUNNING",
  "PAUSED",
  "COMPLETED",
  "FAILED",
  "KILLED",
  "COMPLETED_FROM_CACHE",
] as const;
export type RunState = (typeof RUN_STATES)[number];
