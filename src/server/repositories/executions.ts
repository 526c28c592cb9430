// Executions as such: made, found, listed, deleted. execution-leases.ts and execution-reports.ts change their state.
import type { CacheUse } from "../../core/cache-use.js";
import type { ExecutionState } from "../../core/execution-state.js";
import { isDatabase, type Queryable } from "../database/database.js";
import { createSharedReads, oncePerDatabase } from "../database/shared-reads.js";
import { visibleTo } from "./access.js";

export interface FailureRecord {
  reason: string;
  operatorId: string;
  message: string;
  detail: string;
}

export interface ExecutionRow {
  id: string;
  projectId: string;
  workflowId: string;
  workflowVersion: number;
  computingUnitId: string;
  name: string;
  state: ExecutionState;
  attempt: number;
  maxAttempts: number;
  epoch: bigint;
  queued: boolean;
  /** True when its results may stand for other runs: cache entries, and figures for the cost model. */
  trusted: boolean;
  createdBy: string;
  createdAt: Date;
  startedAt: Date | null;
  endedAt: Date | null;
  failure: FailureRecord | null;
  logUri: string;
  statisticsUri: string;
  planDigest: string;
  lastEventNumber: bigint;
  lastSequence: bigint;
  /** Number of Attach streams so far. */
  attachment: bigint;
  executorId: string;
  leaseExpiresAt: Date | null;
  cancelRequested: boolean;
  manifestDigest: string | null;
  cache: CacheUse;
}

export interface NewExecution {
  id: string;
  projectId: string;
  workflowId: string;
  workflowVersion: number;
  computingUnitId: string;
  name: string;
  state: ExecutionState;
  maxAttempts: number;
  queued: boolean;
  trusted: boolean;
  createdBy: string;
  planDigest: string;
  cache: CacheUse;
  /** Log positions its first events take. */
  lastEventNumber: number;
  /** Proto3 JSON of its PhysicalPlan. */
  plan: unknown;
  /** Milliseconds until it is lost unless somebody takes it up; null while it waits in the queue, and after its end. */
  leaseMs: number | null;
}

/** Stores a new execution and its plan: first attempt, first epoch. One that is COMPLETED has started and ended now. */
export async function insertExecution(db: Queryable, execution: NewExecution): Promise<ExecutionRow> {
  const [row] = await db.query<ExecutionRow>(
    `with made as (
     insert into execution (id, project_id, workflow_id, workflow_version, computing_unit_id, name, state, attempt,
                            max_attempts, epoch, queued, trusted, created_by, plan_digest, last_event_number, lease_expires_at,
                            cache, started_at, ended_at)
     values (:id, :projectId, :workflowId, :workflowVersion, :computingUnitId, :name, :state, 1,
             :maxAttempts, 1, :queued, :trusted, :createdBy, :planDigest, :lastEventNumber,
             now() + cast(:leaseMs as double precision) * interval '1 millisecond', cast(:cache as jsonb),
             case when :state = 'COMPLETED' then now() end, case when :state = 'COMPLETED' then now() end)
     returning *),
     planned as (insert into execution_plan (execution_id, plan) values (:id, cast(:plan as jsonb)))
     select * from made`,
    { ...execution, plan: JSON.stringify(execution.plan) },
  );
  return row!;
}

/** The plan's proto3 JSON, as stored when the execution was prepared. */
export async function executionPlan(db: Queryable, executionId: string): Promise<unknown> {
  const [row] = await db.query<{ plan: unknown }>("select plan from execution_plan where execution_id = :executionId", {
    executionId,
  });
  return row?.plan;
}

/** One execution. Outside a transaction, those who ask at the same time share a statement and the row. */
export function executionById(db: Queryable, id: string): Promise<ExecutionRow | undefined> {
  return isDatabase(db) ? sharedExecutions(db)(id.toLowerCase()) : ownExecution(db, id);
}

async function ownExecution(tx: Queryable, id: string): Promise<ExecutionRow | undefined> {
  const [row] = await tx.query<ExecutionRow>("select * from execution where id = :id", { id });
  return row;
}

const sharedExecutions = oncePerDatabase((db) =>
  createSharedReads<string, ExecutionRow>({
    read: (ids) => db.query("select * from execution where id = any(cast(:ids as uuid[]))", { ids }),
    keyOf: ({ id }) => id,
  }),
);

/** Newest first, before `beforeId` (ids sort by time). Only of workflows the subject may read. */
export async function visibleExecutions(
  db: Queryable,
  page: {
    projectId: string;
    subject: string;
    /** Null for all. */
    workflowId: string | null;
    /** Null for all. */
    states: ExecutionState[] | null;
    /** Null for the first page. */
    beforeId: string | null;
    limit: number;
  },
): Promise<ExecutionRow[]> {
  return db.query<ExecutionRow>(
    `select e.* from execution e
       join workflow w on w.project_id = e.project_id and w.id = e.workflow_id and ${visibleTo("WORKFLOW", "w")}
      where e.project_id = :projectId
        and (cast(:workflowId as text) is null or e.workflow_id = :workflowId)
        and (cast(:states as text[]) is null or e.state = any(:states))
        and (cast(:beforeId as uuid) is null or e.id < :beforeId)
      order by e.id desc limit :limit`,
    page,
  );
}

/** The newest execution of a workflow, on one computing unit if named. */
export async function latestExecution(
  db: Queryable,
  of: { projectId: string; workflowId: string; computingUnitId: string | null },
): Promise<ExecutionRow | undefined> {
  const [row] = await db.query<ExecutionRow>(
    `select * from execution
      where project_id = :projectId and workflow_id = :workflowId
        and (cast(:computingUnitId as text) is null or computing_unit_id = :computingUnitId)
      order by id desc limit 1`,
    of,
  );
  return row;
}

/** The newest trusted execution of a workflow that ended well. */
export async function latestSuccessfulExecution(
  db: Queryable,
  of: { projectId: string; workflowId: string },
): Promise<ExecutionRow | undefined> {
  const [row] = await db.query<ExecutionRow>(
    `select * from execution
      where project_id = :projectId and workflow_id = :workflowId and state = 'COMPLETED' and trusted
      order by id desc limit 1`,
    of,
  );
  return row;
}

/** Locks executions to delete, so that none of them changes state meanwhile. */
export async function lockExecutions(db: Queryable, ids: string[]): Promise<ExecutionRow[]> {
  return db.query<ExecutionRow>("select * from execution where id = any(:ids) order by id for update", { ids });
}

/** Removes executions with everything that hangs on them; events have no foreign key that would do it. */
export async function deleteExecutions(db: Queryable, ids: string[]): Promise<void> {
  await db.query("delete from execution_event where execution_id = any(cast(:ids as uuid[]))", { ids });
  await db.query("delete from execution where id = any(:ids)", { ids });
}
