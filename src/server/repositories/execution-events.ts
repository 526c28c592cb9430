// The log of each execution. Numbers are taken from the execution's row under its lock, so they have no holes and
// commit in order.
import { type ExecutionState, TERMINAL_STATES } from "../../core/execution-state.js";
import type { LoggedEvent } from "../../rpc/event-frame.js";
import type { Queryable } from "../database/database.js";

export interface EventRow {
  number: bigint;
  attempt: number;
  sequence: bigint;
  occurredAt: Date;
  /** The oneof case of ExecutionEvent. */
  kind: string;
  /** The encoded ExecutionEvent. */
  body: Uint8Array;
}

/** Appends events whose numbers were taken in the same transaction. */
export async function insertEvents(db: Queryable, executionId: string, events: EventRow[]): Promise<void> {
  await db.query(
    `insert into execution_event (execution_id, number, attempt, sequence, occurred_at, kind, body)
     select :executionId, u.*
       from unnest(cast(:numbers as bigint[]), cast(:attempts as integer[]), cast(:sequences as bigint[]),
                   cast(:times as timestamptz[]), cast(:kinds as text[]), cast(:bodies as bytea[])) u`,
    {
      executionId,
      numbers: events.map((e) => e.number),
      attempts: events.map((e) => e.attempt),
      sequences: events.map((e) => e.sequence),
      times: events.map((e) => e.occurredAt),
      kinds: events.map((e) => e.kind),
      bodies: events.map((e) => Buffer.from(e.body)),
    },
  );
}

/** Events of one log numbered higher than `after`, in order: at most `limit`; none after `maxBytes`, but always one. */
export async function eventsAfter(
  db: Queryable,
  read: { executionId: string; after: bigint; limit: number; maxBytes: number },
): Promise<LoggedEvent[]> {
  return db.query<LoggedEvent>(
    `select number, attempt, sequence, body from (
       select page.*, sum(octet_length(body)) over (order by number) - octet_length(body) as bytes_before from (
         select number, attempt, sequence, body from execution_event
          where execution_id = :executionId and number > :after order by number limit :limit) as page) as sized
      where bytes_before < :maxBytes order by number`,
    read,
  );
}

/** How far somebody has read a log. */
export interface LogCursor {
  executionId: string;
  after: bigint;
}

/** A log's end and one of its events, all seen at the same moment. */
export interface LogRow {
  executionId: string;
  /** Null when there is no such execution any more. */
  state: ExecutionState | null;
  lastEventNumber: bigint | null;
  /** Null, with all after it, when nothing lies beyond the cursor. */
  number: bigint | null;
  attempt: number | null;
  sequence: bigint | null;
  body: Buffer | null;
}

/**
 * What lies beyond each cursor, in the order of the cursors: at most `limit` events of each log, none after `maxBytes`
 * of all together, but always one. A log without a row was not reached.
 */
export async function eventsOfLogs(
  db: Queryable,
  read: { cursors: LogCursor[]; limit: number; maxBytes: number },
): Promise<LogRow[]> {
  return db.query<LogRow>(
    `select execution_id, state, last_event_number, number, attempt, sequence, body from (
       select c.execution_id, c.position, x.state, x.last_event_number, e.number, e.attempt, e.sequence, e.body,
              coalesce(sum(octet_length(e.body)) over (order by c.position, e.number) - octet_length(e.body), 0) as bytes_before
         from unnest(cast(:executionIds as uuid[]), cast(:afters as bigint[])) with ordinality as c(execution_id, after, position)
         left join execution x on x.id = c.execution_id
         left join lateral (
           select number, attempt, sequence, body from execution_event
            where execution_id = c.execution_id and number > c.after order by number limit :limit) as e on true) as sized
      where bytes_before < :maxBytes order by position, number`,
    { ...columns(read.cursors), limit: read.limit, maxBytes: read.maxBytes },
  );
}

/** The logs among these that have more to tell: events beyond the cursor, an end, or that they are gone. */
export async function movedLogs(db: Queryable, cursors: LogCursor[]): Promise<{ executionId: string }[]> {
  return db.query<{ executionId: string }>(
    `select c.execution_id
       from unnest(cast(:executionIds as uuid[]), cast(:afters as bigint[])) as c(execution_id, after)
       left join execution x on x.id = c.execution_id
      where x.id is null or x.last_event_number > c.after or x.state = any(:ended)`,
    { ...columns(cursors), ended: TERMINAL_STATES },
  );
}

const columns = (cursors: LogCursor[]) => ({
  executionIds: cursors.map((c) => c.executionId),
  afters: cursors.map((c) => c.after),
});
