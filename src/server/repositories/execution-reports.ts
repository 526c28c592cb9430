// What is reported of an execution: events, states, its end. Each change of state is one conditional UPDATE whose WHERE
// clause holds the fence and the states it may come from; it takes the row lock, and what follows in its transaction is
// fenced by it.
import { type ExecutionState, sourcesOf, type TerminalState } from "../../core/execution-state.js";
import type { Queryable } from "../database/database.js";
import type { Fence } from "./execution-leases.js";
import type { ExecutionRow, FailureRecord } from "./executions.js";

/**
 * The head of the transaction that stores events `from`..`to` of an attempt: advances the sequence, takes as many log
 * positions, extends the lease and makes the state move the events report, if any. Undefined when the fence, the
 * state, or the sequence forbids it.
 */
export async function advanceSequence(
  db: Queryable,
  step: Fence & {
    from: bigint;
    to: bigint;
    state: ExecutionState | null;
    started: boolean;
    sources: ExecutionState[];
    leaseMs: number;
  },
): Promise<{ lastEventNumber: bigint } | undefined> {
  const [row] = await db.query<{ lastEventNumber: bigint }>(
    `update execution
        set last_sequence = :to,
            last_event_number = last_event_number + cast(:to as bigint) - cast(:from as bigint) + 1,
            state = coalesce(:state, state),
            started_at = case when :started then coalesce(started_at, now()) else started_at end,
            lease_expires_at = now() + cast(:leaseMs as double precision) * interval '1 millisecond'
      where id = :executionId and attempt = :attempt and epoch = :epoch and state = any(:sources)
        and last_sequence = cast(:from as bigint) - 1
     returning last_event_number`,
    { ...step },
  );
  return row;
}

/**
 * Reports from outside the stream: state and locations, one log position when the state changes. With an epoch the
 * write is fenced and keeps the lease alive. A user's report leaves the lease of an attached executor alone, and where
 * none is attached there is no lease to lose.
 */
export async function updateReported(
  db: Queryable,
  report: {
    executionId: string;
    attempt: number | null;
    epoch: bigint | null;
    state: ExecutionState | null;
    sources: ExecutionState[];
    failure: FailureRecord | null;
    logUri: string;
    statisticsUri: string;
    leaseMs: number | null;
  },
): Promise<(ExecutionRow & { moved: boolean }) | undefined> {
  const [row] = await db.query<ExecutionRow & { moved: boolean }>(
    `with before as (select id, state from execution where id = :executionId for update)
     update execution e
        set state = coalesce(:state, e.state),
            last_event_number = e.last_event_number
              + case when :state is distinct from e.state and cast(:state as text) is not null then 1 else 0 end,
            started_at = case when :state = 'RUNNING' then coalesce(started_at, now()) else started_at end,
            ended_at = case when :state in ('COMPLETED', 'FAILED', 'KILLED') then coalesce(ended_at, now()) else ended_at end,
            failure = case when e.state = coalesce(:state, e.state) then failure else cast(:failure as jsonb) end,
            log_uri = case when :logUri = '' then log_uri else :logUri end,
            statistics_uri = case when :statisticsUri = '' then statistics_uri else :statisticsUri end,
            lease_expires_at = case
              when coalesce(:state, e.state) in ('COMPLETED', 'FAILED', 'KILLED') then null
              when cast(:leaseMs as double precision) is not null
                then now() + cast(:leaseMs as double precision) * interval '1 millisecond'
              when e.executor_id <> '' then e.lease_expires_at
            end
       from before
      where e.id = before.id and e.state = any(:sources)
        and (cast(:epoch as bigint) is null or (e.epoch = :epoch and e.attempt = :attempt))
     returning e.*, before.state is distinct from e.state as moved`,
    { ...report, failure: report.failure && JSON.stringify(report.failure) },
  );
  return row;
}

/** Ends an execution: terminal state, no lease, one log position. Undefined when fence, state or sequence forbids it. */
export async function endExecution(
  db: Queryable,
  end: {
    executionId: string;
    attempt: number;
    /** Null for a user's report, which has no lease. */
    epoch: bigint | null;
    state: TerminalState;
    failure: FailureRecord | null;
    logUri: string;
    statisticsUri: string;
    manifestDigest: string;
    /** Null outside the stream. */
    lastSequence: bigint | null;
  },
): Promise<ExecutionRow | undefined> {
  const [row] = await db.query<ExecutionRow>(
    `update execution
        set state = :state, failure = cast(:failure as jsonb), ended_at = now(), lease_expires_at = null,
            started_at = coalesce(started_at, now()),
            log_uri = case when :logUri = '' then log_uri else :logUri end,
            statistics_uri = case when :statisticsUri = '' then statistics_uri else :statisticsUri end,
            manifest_digest = :manifestDigest, last_event_number = last_event_number + 1
      where id = :executionId and attempt = :attempt and state = any(:sources)
        and (cast(:epoch as bigint) is null or epoch = :epoch)
        and (cast(:lastSequence as bigint) is null or last_sequence = :lastSequence)
     returning *`,
    { ...end, failure: end.failure && JSON.stringify(end.failure), sources: sourcesOf(end.state) },
  );
  return row;
}

/** Marks that somebody wants it stopped, and says who holds it; ended executions stay as they are. */
export async function requestCancel(
  db: Queryable,
  executionId: string,
): Promise<{ state: ExecutionState; attempt: number; held: boolean; first: boolean } | undefined> {
  const [row] = await db.query<{ state: ExecutionState; attempt: number; held: boolean; first: boolean }>(
    `with before as (select id, cancel_requested from execution where id = :executionId for update)
     update execution e set cancel_requested = true
       from before
      where e.id = before.id and e.state <> all (array['COMPLETED', 'FAILED', 'KILLED'])
     returning e.state, e.attempt, not before.cancel_requested as first,
               coalesce(e.executor_id <> '' and e.lease_expires_at > now(), false) as held`,
    { executionId },
  );
  return row;
}

/** Takes one log position for an event that changes no state; the row is locked already. */
export async function takeEventNumber(db: Queryable, executionId: string): Promise<bigint> {
  const [row] = await db.query<{ lastEventNumber: bigint }>(
    `update execution set last_event_number = last_event_number + 1 where id = :executionId
     returning last_event_number`,
    { executionId },
  );
  return row!.lastEventNumber;
}
