// Orders to whoever holds an execution: given, and answered. The stream that speaks with the executor sends them; here
// is what they do to rows.
//
// M1  An order, the state it asks for and their log entries commit together.
// M2  Asking for what has been asked for, or is so already, changes nothing.
// M3  The first answer to an order counts, and only from whoever holds the attempt the order was given in.
import type { CommandAck } from "../../contract/postern/v1/execution.js";
import { illegalTransition, invalid, notFound } from "../../core/app-error.js";
import { newId, executionId as parseId } from "../../core/ids.js";
import type { Database, Queryable } from "../database/database.js";
import type { Hints } from "../notifications.js";
import { acknowledgeCommand, type CommandRow, insertCommand } from "../repositories/execution-commands.js";
import { insertEvents } from "../repositories/execution-events.js";
import type { Fence } from "../repositories/execution-leases.js";
import { requestMove, takeMoveBack } from "../repositories/execution-reports.js";
import { type ExecutionRow, executionById } from "../repositories/executions.js";
import { storableText } from "../request-fields.js";
import { eventRow, logStateChange } from "./execution-log.js";
import { commandToWire } from "./execution-wire.js";

export interface CommandDeps {
  db: Database;
  hints: Hints;
  now: () => Date;
}

/** What somebody asks of an execution. */
export interface Asked {
  executionId: string;
  reason: string;
  /** The subject; empty for the server. */
  requestedBy: string;
}

const MOVES = {
  PAUSE: { to: "PAUSING", done: ["PAUSING", "PAUSED"] },
  RESUME: { to: "RESUMING", done: ["RESUMING", "RUNNING"] },
} as const;

/** Asks a running execution to pause; returns it as it is then. */
export const pauseExecution = (deps: CommandDeps, asked: Asked): Promise<ExecutionRow> => request(deps, asked, "PAUSE");

/** Asks a paused execution to go on; returns it as it is then. */
export const resumeExecution = (deps: CommandDeps, asked: Asked): Promise<ExecutionRow> =>
  request(deps, asked, "RESUME");

async function request(deps: CommandDeps, asked: Asked, kind: "PAUSE" | "RESUME"): Promise<ExecutionRow> {
  const { executionId } = asked;
  const { to, done } = MOVES[kind];
  const { row, moved } = await deps.db.transaction(async (tx) => {
    const moved = await requestMove(tx, { executionId, to });
    if (moved) {
      const { attempt, state, lastEventNumber: number } = moved;
      await storeCommand(tx, { ...asked, kind, attempt, number: number - 1n, now: deps.now() });
      await logStateChange(tx, { executionId, number, attempt, state, now: deps.now() });
      return { row: moved, moved: true };
    }
    const row = await executionById(tx, executionId);
    if (!row) throw notFound(`execution "${executionId}"`);
    if (!done.some((state) => state === row.state)) throw illegalTransition(row.state, to);
    return { row, moved: false };
  });
  if (moved) {
    deps.hints.executionChanged(executionId);
    deps.hints.executorConcerned(executionId);
  }
  return row;
}

/** Stores an order and its log entry; whoever calls holds the row's lock and has taken position `number`. */
export async function storeCommand(
  tx: Queryable,
  order: Asked & { kind: CommandRow["kind"]; attempt: number; number: bigint; now: Date },
): Promise<void> {
  const { executionId, reason, requestedBy, kind, attempt, number, now } = order;
  const command: CommandRow = { commandId: newId(), executionId, attempt, kind, reason, requestedBy };
  await insertCommand(tx, command);
  const value = { command: commandToWire(command), requestedBy };
  await insertEvents(tx, executionId, [
    eventRow({ number, attempt, sequence: 0n, occurredAt: now, kind: { $case: "commandRequested", value } }),
  ]);
}

/**
 * Takes an executor's answer to an order (M3). A refused PAUSE or RESUME takes the state it asked for back; what becomes
 * of a refused CANCEL is the business of the cancel grace.
 */
export async function takeCommandAnswer(deps: CommandDeps, fence: Fence, ack: CommandAck): Promise<void> {
  const commandId = requireCommandId(ack.commandId);
  const refused = storableText(ack.refused, 500);
  const { executionId } = fence;
  const row = await deps.db.transaction(async (tx) => {
    const kind = await acknowledgeCommand(tx, { ...fence, commandId, refused });
    if (refused === "" || (kind !== "PAUSE" && kind !== "RESUME")) return undefined;
    const pause = kind === "PAUSE";
    const back = pause ? ({ from: "PAUSING", to: "RUNNING" } as const) : ({ from: "RESUMING", to: "PAUSED" } as const);
    const moved = await takeMoveBack(tx, fence, back);
    if (!moved) return undefined;
    const { attempt, state, lastEventNumber: number } = moved;
    const comment = `the executor refused to ${pause ? "pause" : "go on"}: ${refused}`;
    await logStateChange(tx, { executionId, number, attempt, state, comment, now: deps.now() });
    return moved;
  });
  if (row) deps.hints.executionChanged(executionId);
}

function requireCommandId(text: string): string {
  try {
    return parseId(text);
  } catch (cause) {
    throw invalid("CommandAck must repeat the command_id of the command it answers.", cause);
  }
}
