// What is left after a run, gathered for the judgement: rows of the log, journals, promises, watchers.
import { ExecutionEvent } from "../../src/contract/postern/v1/execution.js";
import type { ChaosSystem } from "./chaos-system.js";
import type { ExecutionRecord, StoredEvent } from "./comparison.js";
import { type Journal, readJournals } from "./journal.js";
import { checksumOf, numberSaid } from "./said-event.js";
import type { Workload } from "./workload.js";

interface ExecutionRow {
  id: string;
  state: string;
  attempt: number;
  last_event_number: string;
}

interface EventRow {
  number: string;
  attempt: number;
  sequence: string;
  body: Buffer;
}

/** The record of every execution, one after the other, so that a long run fits into memory. */
export async function* executionRecords(system: ChaosSystem, workload: Workload): AsyncGenerator<ExecutionRecord> {
  const journals = groupByExecution(readJournals(system.journals));
  const rows = await system.database.query<ExecutionRow>(
    "select id, state, attempt, last_event_number from execution order by id",
  );
  for (const { id, state, attempt, last_event_number } of rows) {
    const stored = await system.database.query<EventRow>(
      "select number, attempt, sequence, body from execution_event where execution_id = $1 order by number",
      [id],
    );
    yield {
      executionId: id,
      state,
      attempt,
      lastEventNumber: Number(last_event_number),
      stored: stored.map(storedEvent),
      journals: journals.get(id) ?? [],
      acknowledged: system.streams.acknowledged(id),
      endConfirmed: system.streams.endConfirmed(id),
      watched: (workload.watchers.get(id) ?? []).map(({ log }) => log),
    };
  }
}

function storedEvent({ number, attempt, sequence, body }: EventRow): StoredEvent {
  const { kind } = ExecutionEvent.decode(body);
  const n = sequence === "0" ? 0 : numberSaid(kind);
  return { number: Number(number), attempt, sequence: Number(sequence), n, checksum: checksumOf(kind) };
}

function groupByExecution(journals: Journal[]): Map<string, Journal[]> {
  const groups = new Map<string, Journal[]>();
  for (const journal of journals) {
    const group = groups.get(journal.begun.executionId) ?? [];
    groups.set(journal.begun.executionId, [...group, journal]);
  }
  return groups;
}

/** An attempt that was lost: `lostAt` by the clock of the database, in milliseconds since the epoch. */
export interface LostAttempt {
  executionId: string;
  attempt: number;
  lostAt: number;
}

/** Each first event of a further attempt tells when the one before was lost. */
export async function lostAttempts(system: ChaosSystem): Promise<LostAttempt[]> {
  const rows = await system.database.query<{ id: string; attempt: number; at: Date }>(
    `select execution_id as id, attempt - 1 as attempt, min(occurred_at) as at from execution_event
      where attempt > 1 group by execution_id, attempt order by min(occurred_at)`,
  );
  return rows.map(({ id, attempt, at }) => ({ executionId: id, attempt, lostAt: at.getTime() }));
}
