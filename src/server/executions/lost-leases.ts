// What the server does when an executor fell silent, gave up, or never took an assignment up. The decision is
// core/lease.ts; when a lease is lost is repositories/lease-watch.ts; the lock is SKIP LOCKED, so any number of replicas
// may look at once.
import { afterLostLease, longestWatchPause } from "../../core/lease.js";
import type { Logger } from "../../process/log.js";
import type { Database, Queryable } from "../database/database.js";
import type { Hints } from "../notifications.js";
import { type CacheKey, letCacheGo, loseReservations } from "../repositories/cache-reservations.js";
import { type Fence, lockHeldExecution, moveExecution, type StreamFence } from "../repositories/execution-leases.js";
import type { ExecutionRow, FailureRecord } from "../repositories/executions.js";
import { lockLostExecutions, lockUnattached, noteLeaseWatch } from "../repositories/lease-watch.js";
import { logStateChange } from "./execution-log.js";

export interface LostLeaseDeps {
  db: Database;
  hints: Hints;
  now: () => Date;
}

/** What decides when a lease is lost, in milliseconds. */
export interface LeaseTimes {
  leaseMs: number;
  attachWithinMs: number;
  /** How often this replica looks. */
  everyMs: number;
}

const BATCH = 50;

/** Looks after leases once: notes that somebody does, and takes back the executions that are lost; returns how many. */
export async function expireLeases(deps: LostLeaseDeps & LeaseTimes, log: Logger): Promise<number> {
  const times = { leaseMs: deps.leaseMs, attachWithinMs: deps.attachWithinMs, pauseMs: longestWatchPause(deps) };
  await noteLeaseWatch(deps.db, times);
  let taken = 0;
  for (let found = BATCH; found === BATCH; ) {
    const moved = await deps.db.transaction(async (tx) => {
      const lost = await lockLostExecutions(tx, { ...times, limit: BATCH });
      found = lost.length;
      const taken: TakenBack[] = [];
      for (const one of lost) taken.push(...(await takeBack(tx, one, deps.now())));
      return taken;
    });
    for (const { row, freed } of moved) {
      log.warn({ executionId: row.id, state: row.state, attempt: row.attempt }, "an execution lost its executor");
      tell(deps.hints, { row, freed });
    }
    taken += moved.length;
  }
  return taken;
}

/** Takes an execution back at once, if the fence still holds. */
export async function giveUpLease(deps: LostLeaseDeps, fence: StreamFence): Promise<void> {
  const moved = await deps.db.transaction(async (tx) => {
    const held = await lockHeldExecution(tx, fence);
    return held ? takeBack(tx, held, deps.now()) : [];
  });
  for (const one of moved) tell(deps.hints, one);
}

/**
 * Puts an assignment that no executor has taken up back into the queue at once, if the fence still holds; one that an
 * executor attached to stays with it. `why` is for the log.
 */
export async function returnAssignment(deps: LostLeaseDeps, fence: Fence, why: string): Promise<void> {
  const moved = await deps.db.transaction(async (tx) => {
    const assigned = await lockUnattached(tx, fence);
    return assigned ? takeBack(tx, assigned, deps.now(), why) : [];
  });
  for (const one of moved) tell(deps.hints, one);
}

/** An execution as it is then, and the keys of the cache that others may compute now. */
interface TakenBack {
  row: ExecutionRow;
  freed: CacheKey[];
}

function tell(hints: Hints, { row, freed }: TakenBack): void {
  hints.cacheChanged(freed);
  hints.executionChanged(row.id);
  hints.executorConcerned(row.id);
  if (row.state === "QUEUED") hints.executionQueued(row.projectId, row.computingUnitId);
}

async function takeBack(tx: Queryable, held: ExecutionRow, now: Date, why?: string): Promise<TakenBack[]> {
  const after = afterLostLease({ ...held, attached: held.executorId !== "" });
  const failure: FailureRecord | null =
    after.to === "FAILED" ? { reason: "LOST", operatorId: "", message: after.comment, detail: "" } : null;
  const row = await moveExecution(tx, {
    executionId: held.id,
    to: after.to,
    attempt: after.to === "QUEUED" ? after.attempt : held.attempt,
    failure,
  });
  if (!row) return [];
  await logStateChange(tx, {
    executionId: row.id,
    number: row.lastEventNumber,
    attempt: row.attempt,
    state: row.state,
    failure,
    comment: why ?? after.comment,
    now,
  });
  return [{ row, freed: await (row.state === "QUEUED" ? loseReservations : letCacheGo)(tx, row.id) }];
}
