// What is reported of an execution: events, states, its end. Each change of state is one conditional UPDATE whose WHERE
// clause holds the fence and the states it may come from; it takes the row lock, and what follows in its transaction is
// fenced by it.
import { type ExecutionState, sourcesOf, type TerminalState } from "../../core/execution-state.js";
import type { Queryable } from "../database/database.js";
import type { Fence } from "./execution-leases.js";
import type { ExecutionRow, FailureRecord } from "./executions.js";

/**
 * Reports from outside the stream: state and locations, one log position when the state changes. With an epoch the
 * write is fenced. The lease of an attached executor lives on its stream alone, whatever it reports beside it; where none
 * is attached, a report by token is the sign of life, and after a user's report there is no lease to lose.
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
    `with before as (select id, state from execution where id = :executionId for no key update)
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
              when e.executor_id <> '' then e.lease_expires_at
              else now() + cast(:leaseMs as double precision) * interval '1 millisecond'
            end
       from before
      where e.id = before.id and e.state = any(:sources)
        and (cast(:epoch as bigint) is null or (e.epoch = :epoch and e.attempt = :attempt))
     returning e.*, before.state is distinct from e.state as moved`,
    { ...report, failure: report.failure && JSON.stringify(report.failure) },
  );
  return row;
}

/**
 * Ends an execution: terminal state, no lease, one log position. Undefined when fence, state or sequence forbids it. One
 * from the queue that a user ends is not trusted any more: that was not the pool's word.
 */
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
            manifest_digest = :manifestDigest, last_event_number = last_event_number + 1,
            trusted = trusted and not (queued and cast(:epoch as bigint) is null)
      where id = :executionId and attempt = :attempt and state = any(:sources)
        and (cast(:epoch as bigint) is null or epoch = :epoch)
        and (cast(:lastSequence as bigint) is null or last_sequence = :lastSequence)
     returning *`,
    { ...end, failure: end.failure && JSON.stringify(end.failure), sources: sourcesOf(end.state) },
  );
  return row;
}

/** Marks that somebody wants it stopped, and says whether an executor holds it; ended executions stay as they are. */
export async function requestCancel(
  db: Queryable,
  executionId: string,
): Promise<{ state: ExecutionState; attempt: number; held: boolean } | undefined> {
  const [row] = await db.query<{ state: ExecutionState; attempt: number; held: boolean }>(
    `update execution set cancel_requested = true
      where id = :executionId and state <> all (array['COMPLETED', 'FAILED', 'KILLED'])
     returning state, attempt, coalesce(executor_id <> '' and lease_expires_at > now(), false) as held`,
    { executionId },
  );
  return row;
}

/** Moves an execution on somebody's request, two log positions; undefined when its state forbids it. */
export async function requestMove(
  db: Queryable,
  move: { executionId: string; to: "PAUSING" | "RESUMING" },
): Promise<ExecutionRow | undefined> {
  const [row] = await db.query<ExecutionRow>(
    `update execution set state = :to, last_event_number = last_event_number + 2
      where id = :executionId and state = any(:sources)
     returning *`,
    { ...move, sources: sourcesOf(move.to) },
  );
  return row;
}

/**
 * Takes a requested move back because the executor refused it, one log position; undefined when the fence or the state
 * forbids it.
 */
export async function takeMoveBack(
  db: Queryable,
  { executionId, attempt, epoch }: Fence,
  move: { from: "PAUSING"; to: "RUNNING" } | { from: "RESUMING"; to: "PAUSED" },
): Promise<ExecutionRow | undefined> {
  const [row] = await db.query<ExecutionRow>(
    `update execution set state = :to, last_event_number = last_event_number + 1
      where id = :executionId and attempt = :attempt and epoch = :epoch and state = any(:sources)
     returning *`,
    { executionId, attempt, epoch, to: move.to, sources: sourcesOf(move.to).filter((from) => from === move.from) },
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
