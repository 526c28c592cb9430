// Executions as bare rows with a log, for tests of what reads logs: no project, no plan, no server.
import { ExecutionEvent } from "../../src/contract/postern/v1/execution.js";
import { newId } from "../../src/core/ids.js";
import type { Database } from "../../src/server/database/database.js";
import { insertEvents } from "../../src/server/repositories/execution-events.js";

/** Lets executions stand alone in this database. */
export async function allowBareExecutions(db: Database): Promise<void> {
  await db.query(`alter table execution drop constraint execution_project_id_computing_unit_id_fkey,
                    drop constraint execution_project_id_workflow_id_workflow_version_fkey`);
}

/** New executions in state RUNNING with an empty log. */
export async function bareExecutions(db: Database, count = 1): Promise<string[]> {
  const ids = Array.from({ length: count }, () => newId());
  await db.query(
    `insert into execution (id, project_id, workflow_id, workflow_version, computing_unit_id, name, state, attempt,
                            max_attempts, epoch, queued, trusted, created_by, plan_digest)
     select id, 'p', 'w', 1, 'u', '', 'RUNNING', 1, 1, 1, false, false, 'x', '' from unnest(cast(:ids as uuid[])) id`,
    { ids },
  );
  return ids;
}

export interface WrittenEvents {
  attempt: number;
  firstNumber: bigint;
  firstSequence: bigint;
  events: { sequence: bigint; body: Uint8Array }[];
}

/** Commits console lines to an execution's log and leaves the execution in `state`. */
export async function writeEvents(
  db: Database,
  executionId: string,
  count: number,
  { bytes = 20, state = "RUNNING" } = {},
): Promise<WrittenEvents> {
  const body = ExecutionEvent.encode(
    ExecutionEvent.fromPartial({
      occurredAt: new Date(),
      kind: { $case: "consoleMessage", value: { operatorId: "heavy", level: 1, text: "x".repeat(bytes) } },
    }),
  ).finish();
  return db.transaction(async (tx) => {
    const [head] = await tx.query<{ last: bigint }>(
      `update execution set last_event_number = last_event_number + :count, state = :state
        where id = :executionId returning last_event_number as last`,
      { executionId, count, state },
    );
    const firstNumber = head!.last - BigInt(count) + 1n;
    const events = Array.from({ length: count }, (_, i) => ({ sequence: firstNumber + BigInt(i), body }));
    const place = { attempt: 1, occurredAt: new Date(), kind: "consoleMessage" };
    await insertEvents(
      tx,
      executionId,
      events.map((event) => ({ ...event, ...place, number: event.sequence })),
    );
    return { attempt: 1, firstNumber, firstSequence: firstNumber, events };
  });
}
