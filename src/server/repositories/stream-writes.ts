// What the group commit does to rows: all attached streams that have something to say, in one statement each.
import { type ExecutionState, LIVE_STATES } from "../../core/execution-state.js";
import { byteaArray, int4Array, int8Array, textArray, timestamptzArray } from "../database/binary-array.js";
import type { Queryable } from "../database/database.js";
import type { StreamFence } from "./execution-leases.js";
import {
  figureParams,
  type OfExecution,
  type OperatorStateRow,
  type OperatorStatisticsRow,
  operatorStateParams,
  UPSERT_FIGURES,
  UPSERT_OPERATOR_STATES,
} from "./operator-statistics.js";
import { type PortRow, portParams, UPSERT_PORTS } from "./ports.js";

/** What one stream has to say: events `first`..`last`, or, when `count` is 0, that it is alive. */
export interface StreamStep extends StreamFence {
  first: bigint;
  count: number;
  /** The move its events make, if any, and the states it may start from. */
  state: ExecutionState | null;
  sources: readonly ExecutionState[];
  started: boolean;
  leaseMs: number;
}

export interface LockedStream extends StreamFence {
  state: ExecutionState;
  lastSequence: bigint;
  lastEventNumber: bigint;
}

/**
 * Locks the executions for the rest of the transaction. Those that somebody else has locked, perhaps for long, are left
 * out: one of them must not keep the others waiting.
 */
export async function lockStreams(db: Queryable, executionIds: string[]): Promise<LockedStream[]> {
  return db.query<LockedStream>(
    `select id as execution_id, attempt, epoch, attachment, state, last_sequence, last_event_number from execution
      where id = any(cast(:executionIds as uuid[])) for no key update skip locked`,
    { executionIds },
  );
}

export interface AppendedEvent {
  kind: string;
  /** Microseconds since 1970. */
  occurredAtMicros: number;
  body: Uint8Array;
}

/** A step, its events, and where they go in the log. */
export interface Append {
  step: StreamStep;
  /** As many as the step counts. */
  events: AppendedEvent[];
  /** Log position of the first. */
  firstNumber: bigint;
}

/** Events as rows `r`, each with the index of its step. */
const EVENTS = `unnest(cast(:indexes as integer[]), cast(:numbers as bigint[]), cast(:sequences as bigint[]),
                       cast(:times as timestamptz[]), cast(:kinds as text[]), cast(:bodies as bytea[]))
                as r (index, number, sequence, at, kind, body)`;

/** What events change beside the log. */
export interface Effects {
  operatorStates: OperatorStateRow[];
  statistics: OfExecution<OperatorStatisticsRow>[];
  ports: Omit<PortRow, "registeredAt">[];
}

/**
 * Appends events with their effects, under the conditional UPDATE that is the head of every write (S3): it advances the
 * sequence, takes as many log positions, extends the lease and makes the state move, where fence, state, sequence and log
 * position allow it. All or nothing: when it leaves one out, the statement fails with HEAD_CONTRADICTED.
 */
export async function appendToStreams(db: Queryable, appends: Append[], effects: Effects): Promise<void> {
  const { operatorStates, ports } = effects;
  // One statement changes a row once: figures hold the state too.
  const figured = new Set(
    effects.statistics.map(({ executionId, operatorId, layer }) => [executionId, operatorId, layer].join("/")),
  );
  const states = operatorStates.filter((s) => !figured.has([s.executionId, s.operatorId, s.layer].join("/")));
  const parts = [
    states.length > 0 ? `, operator_states as (${UPSERT_OPERATOR_STATES})` : "",
    effects.statistics.length > 0 ? `, figures as (${UPSERT_FIGURES})` : "",
    ports.length > 0 ? `, ${UPSERT_PORTS}` : "",
  ];
  await db.query(`${APPEND}${parts.join("")}${ALL_ADVANCED}`, {
    ...stepParams(appends),
    ...eventParams(appends),
    ...(states.length > 0 ? operatorStateParams(states) : {}),
    ...(effects.statistics.length > 0 ? figureParams(effects.statistics) : {}),
    ...(ports.length > 0 ? portParams(ports) : {}),
  });
}

const APPEND = `with advanced as (
     update execution e
        set last_sequence = e.last_sequence + u.count,
            last_event_number = e.last_event_number + u.count,
            state = coalesce(u.state, e.state),
            started_at = case when u.started then coalesce(e.started_at, now()) else e.started_at end,
            lease_expires_at = now() + u.lease_ms * interval '1 millisecond'
       from unnest(cast(:ids as uuid[]), cast(:attempts as integer[]), cast(:epochs as bigint[]),
                   cast(:attachments as bigint[]), cast(:firsts as bigint[]), cast(:counts as bigint[]),
                   cast(:firstNumbers as bigint[]), cast(:states as text[]), cast(:sources as text[]),
                   cast(:started as boolean[]), cast(:leases as double precision[]))
            as u (id, attempt, epoch, attachment, first, count, first_number, state, sources, started, lease_ms)
      where e.id = u.id and e.attempt = u.attempt and e.epoch = u.epoch and e.attachment = u.attachment
        and e.state = any(string_to_array(u.sources, ','))
        and (u.count = 0 or (e.last_sequence = u.first - 1 and e.last_event_number = u.first_number - 1))
     returning 1), appended as (
     insert into execution_event (execution_id, number, attempt, sequence, occurred_at, kind, body)
     select (cast(:ids as uuid[]))[r.index], r.number, (cast(:attempts as integer[]))[r.index], r.sequence, r.at, r.kind,
            r.body
       from ${EVENTS})`;

/** Divides by zero unless every step was allowed. */
const ALL_ADVANCED = ` select 1 / case when count(*) = cardinality(cast(:ids as uuid[])) then 1 else 0 end from advanced`;

/** SQLSTATE of that. */
export const HEAD_CONTRADICTED = "22012";

const stepParams = (appends: Append[]) => {
  const steps = appends.map(({ step }) => step);
  return {
    ids: steps.map((s) => s.executionId),
    attempts: steps.map((s) => s.attempt),
    epochs: steps.map((s) => s.epoch),
    attachments: steps.map((s) => s.attachment),
    firsts: steps.map((s) => s.first),
    counts: steps.map((s) => s.count),
    firstNumbers: appends.map(({ firstNumber }) => firstNumber),
    states: steps.map((s) => s.state),
    sources: steps.map((s) => (s.sources === LIVE_STATES ? ANY_LIVE : s.sources.join(","))),
    started: steps.map((s) => s.started),
    leases: steps.map((s) => s.leaseMs),
  };
};

const ANY_LIVE = LIVE_STATES.join(",");

function eventParams(appends: Append[]) {
  const indexes: number[] = [];
  const numbers: number[] = [];
  const sequences: number[] = [];
  const times: number[] = [];
  const kinds: Buffer[] = [];
  const bodies: Uint8Array[] = [];
  for (const [i, { step, events, firstNumber }] of appends.entries()) {
    let sequence = Number(step.first);
    let number = Number(firstNumber);
    for (const { kind, occurredAtMicros, body } of events) {
      indexes.push(i + 1);
      numbers.push(number++);
      sequences.push(sequence++);
      times.push(occurredAtMicros);
      kinds.push(kindBytes(kind));
      bodies.push(body);
    }
  }
  return {
    indexes: int4Array(indexes),
    numbers: int8Array(numbers),
    sequences: int8Array(sequences),
    times: timestamptzArray(times),
    kinds: textArray(kinds),
    bodies: byteaArray(bodies),
  };
}

const encodedKinds = new Map<string, Buffer>();

function kindBytes(kind: string): Buffer {
  const known = encodedKinds.get(kind);
  if (known) return known;
  const bytes = Buffer.from(kind);
  encodedKinds.set(kind, bytes);
  return bytes;
}

/** Who holds an execution, and whether it has ended. */
export interface LeaseStanding extends StreamFence {
  state: ExecutionState;
}

export async function leaseStandings(db: Queryable, executionIds: string[]): Promise<LeaseStanding[]> {
  return db.query<LeaseStanding>(
    `select id as execution_id, attempt, epoch, attachment, state from execution
      where id = any(cast(:executionIds as uuid[]))`,
    { executionIds },
  );
}

/** Executions that exist, of those asked for. */
export async function existingExecutions(db: Queryable, executionIds: string[]): Promise<string[]> {
  const rows = await db.query<{ id: string }>(
    "select id from execution where id = any(cast(:executionIds as uuid[]))",
    { executionIds },
  );
  return rows.map((row) => row.id);
}
