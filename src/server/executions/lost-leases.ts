// What the server does when an executor fell silent or gave up: the decision is core/lease.ts, the lock is SKIP LOCKED,
// so any number of replicas may look at once.
import { afterLostLease } from "../../core/lease.js";
import type { Logger } from "../../process/log.js";
import type { Database, Queryable } from "../database/database.js";
import type { Hints } from "../notifications.js";
import { type Fence, lockHeldExecution, lockLostExecutions, moveExecution } from "../repositories/execution-leases.js";
import type { ExecutionRow, FailureRecord } from "../repositories/executions.js";
import { logStateChange } from "./execution-log.js";

export interface LostLeaseDeps {
  db: Database;
  hints: Hints;
  now: () => Date;
}

const BATCH = 50;

/** Takes back the executions whose lease has run out; returns how many. */
export async function expireLeases(deps: LostLeaseDeps, log: Logger): Promise<number> {
  const moved = await deps.db.transaction(async (tx) => {
    const rows: ExecutionRow[] = [];
    for (const lost of await lockLostExecutions(tx, BATCH)) rows.push(...(await takeBack(tx, lost, deps.now())));
    return rows;
  });
  for (const row of moved) {
    log.warn({ executionId: row.id, state: row.state, attempt: row.attempt }, "an execution lost its executor");
    tell(deps.hints, row);
  }
  return moved.length;
}

/** Takes an execution back at once, if the fence still holds. */
export async function giveUpLease(deps: LostLeaseDeps, fence: Fence): Promise<void> {
  const moved = await deps.db.transaction(async (tx) => {
    const held = await lockHeldExecution(tx, fence);
    return held ? takeBack(tx, held, deps.now()) : [];
  });
  for (const row of moved) tell(deps.hints, row);
}

function tell(hints: Hints, row: ExecutionRow): void {
  hints.executionChanged(row.id);
  if (row.state === "QUEUED") hints.executionQueued(row.projectId, row.computingUnitId);
}

async function takeBack(tx: Queryable, held: ExecutionRow, now: Date): Promise<ExecutionRow[]> {
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
    comment: after.comment,
    now,
  });
  return [row];
}
