// Events the server itself writes into an execution's log. Their numbers are taken by the statement that changes the
// execution, in the same transaction.
import { ExecutionEvent } from "../../contract/postern/v1/execution.js";
import type { ExecutionState } from "../../core/execution-state.js";
import { executionStateToWire } from "../../rpc/state-codec.js";
import type { Queryable } from "../database/database.js";
import { type EventRow, insertEvents } from "../repositories/execution-events.js";
import type { FailureRecord } from "../repositories/executions.js";

type EventKind = NonNullable<ExecutionEvent["kind"]>;

/** An event as a row: encoded once, sent to watchers as it is. */
export function eventRow(event: Omit<ExecutionEvent, "kind"> & { kind: EventKind }): EventRow {
  return {
    number: event.number,
    attempt: event.attempt,
    sequence: event.sequence,
    occurredAt: event.occurredAt ?? new Date(),
    kind: event.kind.$case,
    body: ExecutionEvent.encode(event).finish(),
  };
}

/** Writes the change of state that took position `number`. */
export async function logStateChange(
  tx: Queryable,
  change: {
    executionId: string;
    number: bigint;
    attempt: number;
    state: ExecutionState;
    failure?: FailureRecord | null;
    comment?: string;
    now: Date;
  },
): Promise<void> {
  const { executionId, number, attempt, state, failure, comment = "", now } = change;
  const kind: EventKind = {
    $case: "executionState",
    value: { state: executionStateToWire(state), failure: failure ?? undefined, comment },
  };
  await insertEvents(tx, executionId, [eventRow({ number, attempt, sequence: 0n, occurredAt: now, kind })]);
}
