// Who may speak for an execution: claims, leases, and taking them back. Each is one conditional UPDATE whose WHERE clause
// holds the fence (attempt, epoch) and the states it may come from.
import { type ExecutionState, LIVE_STATES, sourcesOf } from "../../core/execution-state.js";
import type { Queryable } from "../database/database.js";
import type { ExecutionRow, FailureRecord } from "./executions.js";

/** Who speaks for an execution: the fence of every write. */
export interface Fence {
  executionId: string;
  attempt: number;
  epoch: bigint;
}

/** Takes the oldest queued execution of a computing unit for an executor, under a new epoch. Takes one log position. */
export async function claimQueuedExecution(
  db: Queryable,
  claim: { projectId: string; computingUnitId: string; attachWithinMs: number },
): Promise<ExecutionRow | undefined> {
  const [row] = await db.query<ExecutionRow>(
    `update execution
        set state = 'PREPARED', epoch = epoch + 1, executor_id = '', last_sequence = 0,
            lease_expires_at = now() + cast(:attachWithinMs as double precision) * interval '1 millisecond',
            last_event_number = last_event_number + 1
      where id = (select id from execution
                   where project_id = :projectId and computing_unit_id = :computingUnitId and state = 'QUEUED'
                   order by id limit 1 for update skip locked)
        and state = 'QUEUED'
     returning *`,
    claim,
  );
  return row;
}

/**
 * Gives an executor the lease: free, its own already, or run out. Taking over from another raises the epoch. Undefined
 * when the fence, the state or the plan's digest forbids it, or another live executor holds it.
 */
export async function attachExecutor(
  db: Queryable,
  attach: Fence & { planDigest: string; executorId: string; leaseMs: number },
): Promise<ExecutionRow | undefined> {
  const [row] = await db.query<ExecutionRow>(
    `update execution
        set epoch = epoch + case when executor_id in ('', :executorId) then 0 else 1 end,
            executor_id = :executorId,
            lease_expires_at = now() + cast(:leaseMs as double precision) * interval '1 millisecond'
      where id = :executionId and attempt = :attempt and epoch = :epoch and state = any(:live)
        and plan_digest = :planDigest and (executor_id in ('', :executorId) or lease_expires_at < now())
     returning *`,
    { ...attach, live: LIVE_STATES },
  );
  return row;
}

/** Extends the lease; undefined when the fence or the state forbids it. */
export async function extendLease(
  db: Queryable,
  lease: Fence & { leaseMs: number },
): Promise<{ state: ExecutionState } | undefined> {
  const [row] = await db.query<{ state: ExecutionState }>(
    `update execution
        set lease_expires_at = now() + cast(:leaseMs as double precision) * interval '1 millisecond'
      where id = :executionId and attempt = :attempt and epoch = :epoch and state = any(:live)
     returning state`,
    { ...lease, live: LIVE_STATES },
  );
  return row;
}

/** Executions whose lease has run out, locked; other replicas skip them. */
export async function lockLostExecutions(db: Queryable, limit: number): Promise<ExecutionRow[]> {
  return db.query<ExecutionRow>(
    `select * from execution
      where lease_expires_at < now() and state = any(:live)
      order by lease_expires_at limit :limit for update skip locked`,
    { limit, live: LIVE_STATES },
  );
}

/** One execution, locked, if the fence still holds and it is live. */
export async function lockHeldExecution(db: Queryable, fence: Fence): Promise<ExecutionRow | undefined> {
  const [row] = await db.query<ExecutionRow>(
    `select * from execution
      where id = :executionId and attempt = :attempt and epoch = :epoch and state = any(:live) for update`,
    { ...fence, live: LIVE_STATES },
  );
  return row;
}

/** One execution, locked, if it has not ended and, for an executor, its epoch is in force. */
export async function lockReportable(
  db: Queryable,
  executionId: string,
  epoch: bigint | null,
): Promise<ExecutionRow | undefined> {
  const [row] = await db.query<ExecutionRow>(
    `select * from execution
      where id = :executionId and state = any(:live) and (cast(:epoch as bigint) is null or epoch = :epoch) for update`,
    { executionId, epoch, live: LIVE_STATES },
  );
  return row;
}

/** Moves an execution on the server's own authority, one log position; undefined when the state forbids it. */
export async function moveExecution(
  db: Queryable,
  move: { executionId: string; to: ExecutionState; attempt: number; failure: FailureRecord | null },
): Promise<ExecutionRow | undefined> {
  const [row] = await db.query<ExecutionRow>(
    `update execution
        set state = :to, attempt = :attempt, epoch = epoch + 1, executor_id = '', lease_expires_at = null,
            last_sequence = 0, failure = cast(:failure as jsonb),
            ended_at = case when :to = 'QUEUED' then null else now() end,
            last_event_number = last_event_number + 1
      where id = :executionId and state = any(:sources)
     returning *`,
    { ...move, failure: move.failure && JSON.stringify(move.failure), sources: sourcesOf(move.to) },
  );
  return row;
}
