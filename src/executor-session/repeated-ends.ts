// When a stream ends the same way time and again, attaching once more only keeps the lease from somebody who could go on.
//
// E1  Only what a server answers counts, never what a network or an outage does: those pass, and cost no attempt.
// E2  A server that answers what was sent last (a batch, or Complete) with the same error three times in a row, for at
//     least one lease, will go on doing so.
// E3  Superseded many times in a row, each time soon: another process has this executor's id and token. Whoever reaches
//     the limit first gives way, and the other goes on undisturbed.
import { AppError } from "../core/app-error.js";

export interface StreamEnd {
  /** From Welcome on, in milliseconds. */
  upForMs: number;
  cause: unknown;
  /** What was sent on the stream and never acknowledged, in words that differ when something else was; empty for nothing. */
  owed: string;
}

const SAME_ENDS = 3;
const SUPERSESSIONS = 8;
/** A stream that was up for so long was not fought over. */
const STABLE_MS = 10_000;

/** Looks at the end of each stream that broke; returns the error to end with, once it is time. */
export function repeatedEnds(deps: { executorId: string; leaseMs: number; elapsed: () => number }) {
  const { executorId, leaseMs, elapsed } = deps;
  let superseded = 0;
  let same: { key: string; count: number; since: number } | undefined;

  /** E3 */
  function supersededTooOften(cause: unknown, upForMs: number): AppError | undefined {
    if (!(cause instanceof AppError && cause.reason === "STREAM_SUPERSEDED")) superseded = 0;
    else superseded = upForMs >= STABLE_MS ? 1 : superseded + 1;
    if (superseded < SUPERSESSIONS) return undefined;
    const message = `${superseded} times in a row another stream of executor "${executorId}" took the place of this one: another process runs under the same id with the same token. Give each process an id of its own.`;
    return new AppError("conflict", "STREAM_SUPERSEDED", message, { cause });
  }

  /** E2; a stream that never got so far says nothing about it. */
  function answeredTooOften(cause: unknown, owed: string): AppError | undefined {
    if (owed === "") return undefined;
    if (!isAnswer(cause)) {
      same = undefined;
      return undefined;
    }
    const key = `${owed} ${cause.code} ${cause.reason}`;
    if (same?.key !== key) same = { key, count: 0, since: elapsed() };
    same.count++;
    return same.count >= SAME_ENDS && elapsed() - same.since >= leaseMs ? cause : undefined;
  }

  return ({ cause, upForMs, owed }: StreamEnd): AppError | undefined =>
    supersededTooOften(cause, upForMs) ?? answeredTooOften(cause, owed);
}

/** E1; a database without room is an outage too. */
const isAnswer = (cause: unknown): cause is AppError =>
  cause instanceof AppError &&
  (cause.code === "exhausted" || cause.code === "internal") &&
  cause.reason !== "STORAGE_FULL";
