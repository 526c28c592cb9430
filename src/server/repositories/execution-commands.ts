// Orders to the executor of an execution, kept until it answers them. An order belongs to the attempt it was given in.
import type { Queryable } from "../database/database.js";
import type { Fence } from "./execution-leases.js";
import { IS_LIVE } from "./lease-watch.js";

export type CommandKind = "CANCEL" | "PAUSE" | "RESUME" | "KILL";

export interface CommandRow {
  commandId: string;
  executionId: string;
  attempt: number;
  kind: CommandKind;
  reason: string;
  /** The subject; empty for the server. */
  requestedBy: string;
}

export async function insertCommand(db: Queryable, command: CommandRow): Promise<void> {
  await db.query(
    `insert into execution_command (command_id, execution_id, attempt, kind, reason, requested_by)
     values (:commandId, :executionId, :attempt, :kind, :reason, :requestedBy)`,
    { ...command },
  );
}

/** Orders not yet answered of the present attempts of these executions, oldest first. */
export async function pendingCommandsOf(db: Queryable, executionIds: string[]): Promise<CommandRow[]> {
  return db.query<CommandRow>(
    `select c.command_id, c.execution_id, c.attempt, c.kind, c.reason, c.requested_by
       from execution_command c join execution e on e.id = c.execution_id and e.attempt = c.attempt
      where c.execution_id = any(cast(:executionIds as uuid[])) and c.acknowledged_at is null
      order by c.requested_at, c.command_id`,
    { executionIds },
  );
}

/** Orders not yet answered of one execution's present attempt, oldest first. */
export const pendingCommands = (db: Queryable, executionId: string): Promise<CommandRow[]> =>
  pendingCommandsOf(db, [executionId]);

/**
 * Stores the answer to an order, if the fence still holds and it is the first one; then it returns what was ordered, and
 * the execution's row is locked.
 */
export async function acknowledgeCommand(
  db: Queryable,
  ack: Fence & { commandId: string; refused: string },
): Promise<CommandKind | undefined> {
  const { executionId, attempt, epoch, commandId, refused } = ack;
  const [row] = await db.query<{ kind: CommandKind }>(
    `with held as materialized (
       select id from execution where id = :executionId and attempt = :attempt and epoch = :epoch for no key update)
     update execution_command c set acknowledged_at = now(), refused = :refused
       from held
      where c.execution_id = held.id and c.command_id = :commandId and c.attempt = :attempt
        and c.acknowledged_at is null
     returning c.kind`,
    { executionId, attempt, epoch, commandId, refused },
  );
  return row?.kind;
}

/** The last order to stop that an attempt was given, and its age by the database's clock. */
export async function lastStopOrder(
  db: Queryable,
  { executionId, attempt }: { executionId: string; attempt: number },
): Promise<{ kind: "CANCEL" | "KILL"; ageMs: number } | undefined> {
  const [row] = await db.query<{ kind: "CANCEL" | "KILL"; ageMs: number }>(
    `select kind, cast(extract(epoch from now() - requested_at) * 1000 as double precision) as age_ms
       from execution_command
      where execution_id = :executionId and attempt = :attempt and kind in ('CANCEL', 'KILL')
      order by kind = 'KILL' desc, requested_at desc limit 1`,
    { executionId, attempt },
  );
  return row;
}

/**
 * Live executions whose attempt was told to stop at least `graceMs` ago and told nothing since, locked; other replicas
 * skip them. Whoever acts on one asks for its `lastStopOrder` first: another replica may have acted before the lock.
 */
export async function lockOverdueStops(
  db: Queryable,
  { graceMs, limit }: { graceMs: number; limit: number },
): Promise<{ id: string; attempt: number }[]> {
  return db.query(
    `select e.id, e.attempt from execution e
      where ${IS_LIVE} and e.cancel_requested
        and (select max(c.requested_at) from execution_command c
              where c.execution_id = e.id and c.attempt = e.attempt and c.kind in ('CANCEL', 'KILL'))
            <= now() - cast(:graceMs as double precision) * interval '1 millisecond'
      order by e.id limit :limit for no key update of e skip locked`,
    { graceMs, limit },
  );
}
