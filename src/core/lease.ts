// When an executor counts as lost, and what becomes of the execution it held.
import type { ExecutionState } from "./execution-state.js";

export interface HeldExecution {
  state: ExecutionState;
  /** True when the server hands it out, so that it can hand it out again. */
  queued: boolean;
  /** True when an executor said Hello in this attempt. */
  attached: boolean;
  attempt: number;
  maxAttempts: number;
  cancelRequested: boolean;
}

export type AfterLoss =
  | { to: "QUEUED"; attempt: number; comment: string }
  | { to: "KILLED"; comment: string }
  | { to: "FAILED"; comment: string };

/**
 * How long nobody may have looked after leases before the watch counts as broken: less than an executor can be kept from
 * its heartbeats without losing its lease, and more than a few looks, so that one slow look breaks nothing.
 */
export const longestWatchPause = ({ everyMs, leaseMs }: { everyMs: number; leaseMs: number }): number =>
  Math.max(3 * everyMs, leaseMs / 3);

/**
 * An assignment nobody took up costs no attempt; a lost one costs one, and the last ends the execution. An execution
 * that was prepared for a caller's own executor cannot be handed to another, so it ends.
 */
export function afterLostLease(held: HeldExecution): AfterLoss {
  if (held.cancelRequested) return { to: "KILLED", comment: "cancelled; its executor fell silent" };
  if (!held.attached) {
    return held.queued
      ? { to: "QUEUED", attempt: held.attempt, comment: "assignment was not taken up, queued again" }
      : { to: "FAILED", comment: "No executor attached before the execution token ran out." };
  }
  if (held.queued && held.attempt < held.maxAttempts) {
    return { to: "QUEUED", attempt: held.attempt + 1, comment: `attempt ${held.attempt} lost its executor, next try` };
  }
  return {
    to: "FAILED",
    comment: `The executor fell silent in attempt ${held.attempt} of ${held.maxAttempts}; run it again once an executor is healthy.`,
  };
}
