// Stopping an execution: at once when nobody holds it, else by a command to whoever does.
import { newId } from "../../core/ids.js";
import type { Database, Queryable } from "../database/database.js";
import type { Hints } from "../notifications.js";
import { insertCommand } from "../repositories/execution-commands.js";
import { insertEvents } from "../repositories/execution-events.js";
import { moveExecution } from "../repositories/execution-leases.js";
import { requestCancel, takeEventNumber } from "../repositories/execution-reports.js";
import { eventRow, logStateChange } from "./execution-log.js";
import { commandToWire } from "./execution-wire.js";

interface Deps {
  db: Database;
  hints: Hints;
  now: () => Date;
}

/** Repeating it, or asking after the end, changes nothing. */
export async function cancelExecution(
  { db, hints, now }: Deps,
  cancel: { executionId: string; reason: string; requestedBy: string },
): Promise<void> {
  await db.transaction(async (tx) => {
    const asked = await requestCancel(tx, cancel.executionId);
    if (!asked) return;
    if (asked.held) {
      if (asked.first) await orderCancel(tx, cancel, asked.attempt, now());
      return;
    }
    const { executionId } = cancel;
    const row = await moveExecution(tx, { executionId, to: "KILLED", attempt: asked.attempt, failure: null });
    if (!row) return;
    const comment = cancel.reason || `cancelled by ${cancel.requestedBy}`;
    const { lastEventNumber: number, attempt, state } = row;
    await logStateChange(tx, { executionId, number, attempt, state, comment, now: now() });
  });
  hints.executionChanged(cancel.executionId);
  hints.commandRequested(cancel.executionId);
}

async function orderCancel(
  tx: Queryable,
  { executionId, reason, requestedBy }: { executionId: string; reason: string; requestedBy: string },
  attempt: number,
  now: Date,
): Promise<void> {
  const command = { commandId: newId(), executionId, kind: "CANCEL", reason, requestedBy } as const;
  await insertCommand(tx, command);
  const number = await takeEventNumber(tx, executionId);
  await insertEvents(tx, executionId, [
    eventRow({
      number,
      attempt,
      sequence: 0n,
      occurredAt: now,
      kind: { $case: "commandRequested", value: { command: commandToWire(command), requestedBy } },
    }),
  ]);
}
