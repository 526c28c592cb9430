// The log of each execution. Numbers are taken from the execution's row under its lock, so they have no holes and
// commit in order.
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

/** Events numbered higher than `after`, in order: at most `limit`, and no more than fit `maxBytes`, but always one. */
export async function eventsAfter(
  db: Queryable,
  read: { executionId: string; after: bigint; limit: number; maxBytes: number },
): Promise<{ number: bigint; body: Buffer }[]> {
  return db.query(
    `with next as (
       select number, sum(octet_length(body)) over (order by number) as bytes from (
         select number, body from execution_event
          where execution_id = :executionId and number > :after order by number limit :limit) as page)
     select e.number, e.body from next join execution_event e on e.execution_id = :executionId and e.number = next.number
      where next.bytes <= :maxBytes or next.number = (select min(number) from next)
      order by e.number`,
    read,
  );
}
