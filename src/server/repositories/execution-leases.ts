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

/** Who speaks on one stream: the newest stream of the lease's holder. */
export interface StreamFence extends Fence {
  /** Number of the stream among those of its execution. */
  attachment: bigint;
}

/**
 * Takes the oldest queued execution of a computing unit for an executor, under a new epoch, leaving out those in
 * `except`. Takes one log position.
 */
export async function claimQueuedExecution(
  db: Queryable,
  claim: { projectId: string; computingUnitId: string; attachWithinMs: number; except: string[] },
): Promise<ExecutionRow | undefined> {
  const [row] = await db.query<ExecutionRow>(
    `update execution
        set state = 'PREPARED', epoch = epoch + 1, executor_id = '', last_sequence = 0,
            lease_expires_at = now() + cast(:attachWithinMs as double precision) * interval '1 millisecond',
            last_event_number = last_event_number + 1
      where id = (select id from execution
                   where project_id = :projectId and computing_unit_id = :computingUnitId and state = 'QUEUED'
                     and id <> all(cast(:except as uuid[]))
                   order by id limit 1 for update skip locked)
        and state = 'QUEUED'
     returning *`,
    claim,
  );
  return row;
}

/**
 * Gives an executor the lease: free, its own already, or run out. Taking over from another raises the epoch; a further
 * stream of the same executor raises the attachment alone, and leaves the older stream without a right to write. Undefined
 * when the fence, the state or the plan's digest forbids it, another live executor holds it, or somebody else has the
 * row locked: it does not wait for them. Whoever has taken over may come back with the token it took over with: the one
 * that carries the new epoch may not have reached it.
 */
export async function attachExecutor(
  db: Queryable,
  attach: Fence & { planDigest: string; executorId: string; leaseMs: number },
): Promise<ExecutionRow | undefined> {
  const [row] = await db.query<ExecutionRow>(
    `update execution
        set epoch = epoch + case when executor_id in ('', :executorId) then 0 else 1 end,
            executor_id = :executorId, attachment = attachment + 1,
            lease_expires_at = now() + cast(:leaseMs as double precision) * interval '1 millisecond'
      where id = (select id from execution where id = :executionId for no key update skip locked)
        and attempt = :attempt and state = any(:live)
        and (epoch = :epoch or (epoch = :epoch + 1 and executor_id = :executorId))
        and plan_digest = :planDigest and (executor_id in ('', :executorId) or lease_expires_at < now())
     returning *`,
    { ...attach, live: LIVE_STATES },
  );
  return row;
}

/** True while the lease of another executor than this one lasts. */
export async function isHeldByAnother(db: Queryable, executionId: string, executorId: string): Promise<boolean> {
  const [row] = await db.query<{ held: boolean }>(
    `select executor_id not in ('', :executorId) and coalesce(lease_expires_at >= now(), false) as held
       from execution where id = :executionId`,
    { executionId, executorId },
  );
  return row?.held ?? false;
}

/** Those of the computing units that have a queued execution now. */
export async function unitsWithQueue(
  db: Queryable,
  units: { projectId: string; computingUnitId: string }[],
): Promise<{ projectId: string; computingUnitId: string }[]> {
  return db.query(
    `select u.project_id, u.computing_unit_id
       from unnest(cast(:projects as text[]), cast(:units as text[])) as u (project_id, computing_unit_id)
      where exists (select from execution e
                     where e.project_id = u.project_id and e.computing_unit_id = u.computing_unit_id
                       and e.state = 'QUEUED')`,
    { projects: units.map((unit) => unit.projectId), units: units.map((unit) => unit.computingUnitId) },
  );
}

/** One execution, locked, if the fence still holds and it is live. */
export async function lockHeldExecution(db: Queryable, fence: StreamFence): Promise<ExecutionRow | undefined> {
  const [row] = await db.query<ExecutionRow>(
    `select * from execution
      where id = :executionId and attempt = :attempt and epoch = :epoch and attachment = :attachment
        and state = any(:live) for no key update`,
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
      where id = :executionId and state = any(:live) and (cast(:epoch as bigint) is null or epoch = :epoch)
        for no key update`,
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
