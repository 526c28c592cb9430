// Orders to the executor of an execution, kept until it acknowledges them.
import type { Queryable } from "../database/database.js";

export type CommandKind = "CANCEL" | "PAUSE" | "RESUME" | "KILL";

export interface CommandRow {
  commandId: string;
  executionId: string;
  kind: CommandKind;
  reason: string;
  requestedBy: string;
}

export async function insertCommand(db: Queryable, command: CommandRow): Promise<void> {
  await db.query(
    `insert into execution_command (command_id, execution_id, kind, reason, requested_by)
     values (:commandId, :executionId, :kind, :reason, :requestedBy)`,
    { ...command },
  );
}

/** Orders not yet acknowledged, oldest first. */
export async function pendingCommands(db: Queryable, executionId: string): Promise<CommandRow[]> {
  return db.query<CommandRow>(
    `select command_id, execution_id, kind, reason, requested_by from execution_command
      where execution_id = :executionId and acknowledged_at is null order by requested_at`,
    { executionId },
  );
}

/** Acknowledges an order of this execution; again is a no-op. */
export async function acknowledgeCommand(
  db: Queryable,
  ack: { commandId: string; executionId: string; refused: string },
): Promise<void> {
  await db.query(
    `update execution_command set acknowledged_at = now(), refused = :refused
      where command_id = :commandId and execution_id = :executionId and acknowledged_at is null`,
    ack,
  );
}
