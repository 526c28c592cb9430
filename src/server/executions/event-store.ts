// Storing what an executor reports on its stream: one batch, one transaction, whose head is the fenced UPDATE.
//
// V1  Numbers of an attempt have no holes: a batch that was applied is acknowledged again, an overlap applies its tail,
//     a gap is refused with the number expected (S1).
// V2  What `storeEvents` returns as stored is committed (S2).
// V3  Zero rows at the head means: read once, then tell which of fence, state or sequence forbade it (S3).
import { ExecutionEvent } from "../../contract/postern/v1/execution.js";
import { AppError, illegalTransition, invalid, notFound, staleLease } from "../../core/app-error.js";
import { type ExecutionState, isTerminal, LIVE_STATES, mayMove, sourcesOf } from "../../core/execution-state.js";
import type { PhysicalPlan } from "../../core/plan.js";
import { executionStateFromWire, runStateFromWire } from "../../rpc/state-codec.js";
import type { Database, Queryable } from "../database/database.js";
import type { Hints } from "../notifications.js";
import { insertEvents } from "../repositories/execution-events.js";
import type { Fence } from "../repositories/execution-leases.js";
import { advanceSequence } from "../repositories/execution-reports.js";
import { executionById } from "../repositories/executions.js";
import {
  type OperatorStatisticsRow,
  upsertOperatorStates,
  upsertOperatorStatistics,
} from "../repositories/operator-statistics.js";
import { upsertPorts } from "../repositories/ports.js";
import { eventRow } from "./execution-log.js";
import { executorEventKind, statisticsFromWire } from "./execution-wire.js";
import { portRows } from "./port-registration.js";

/** Largest event, in bytes. */
const EVENT_BYTES = 64 * 1024;

/** What became of a batch. */
export type Stored =
  | { kind: "stored"; lastSequence: bigint }
  /** Resend from `expected`. */
  | { kind: "gap"; expected: bigint };

/** One attempt as the session knows it. */
export interface ReportedAttempt extends Fence {
  plan: PhysicalPlan;
  prefix: string;
  leaseMs: number;
}

/** Stores the part of a batch that is new, and tells how far the attempt is stored then. */
export async function storeEvents(
  { db, hints }: { db: Database; hints: Hints },
  attempt: ReportedAttempt,
  events: ExecutionEvent[],
  lastSequence: bigint,
): Promise<Stored> {
  requireConsecutive(events);
  const fresh = events.filter((e) => e.sequence > lastSequence);
  const first = fresh[0];
  if (first === undefined) return { kind: "stored", lastSequence };
  if (first.sequence !== lastSequence + 1n) return { kind: "gap", expected: lastSequence + 1n };
  const batch = readBatch(attempt, fresh);
  await db.transaction((tx) => writeBatch(tx, attempt, fresh, batch));
  hints.executionChanged(attempt.executionId);
  return { kind: "stored", lastSequence: fresh.at(-1)!.sequence };
}

function requireConsecutive(events: ExecutionEvent[]): void {
  events.forEach((event, i) => {
    const before = events[i - 1];
    if (event.sequence < 1n || (before && event.sequence !== before.sequence + 1n)) {
      throw invalid("Events of a batch must carry consecutive sequence numbers from 1.");
    }
  });
}

/** What a batch says, gathered by table; the last word on each operator counts. */
interface Batch {
  states: ExecutionState[];
  operatorStates: Map<string, { operatorId: string; layer: string; state: OperatorStatisticsRow["state"] }>;
  statistics: Map<string, OperatorStatisticsRow>;
  ports: ReturnType<typeof portRows>;
}

function readBatch(attempt: ReportedAttempt, events: ExecutionEvent[]): Batch {
  const operators = new Set(attempt.plan.operators.map((o) => `${o.operatorId}/${o.layer}`));
  const operatorKey = (o: { operatorId: string; layer: string }): string => {
    const key = `${o.operatorId}/${o.layer}`;
    if (operators.has(key)) return key;
    throw invalid(`The plan has no operator ${key.slice(0, 300)}.`);
  };
  const batch: Batch = { states: [], operatorStates: new Map(), statistics: new Map(), ports: [] };
  const ports = [];
  for (const event of events) {
    const kind = executorEventKind(event);
    requireModestSize(event);
    if (kind.$case === "executionState") batch.states.push(reportedState(executionStateFromWire(kind.value.state)));
    if (kind.$case === "operatorState") {
      const { operatorId, layer } = kind.value;
      const state = runStateFromWire(kind.value.state);
      const key = operatorKey(kind.value);
      batch.operatorStates.set(key, { operatorId, layer, state });
      const figures = batch.statistics.get(key);
      if (figures) batch.statistics.set(key, { ...figures, state });
    }
    if (kind.$case === "operatorStatistics")
      batch.statistics.set(operatorKey(kind.value), statisticsFromWire(kind.value));
    if (kind.$case === "portResult") ports.push(kind.value);
  }
  batch.ports = portRows(attempt, ports);
  return batch;
}

/** Watchers read events in pages; one event must not be larger than a page is good for. */
function requireModestSize(event: ExecutionEvent): void {
  const bytes = ExecutionEvent.encode(event).finish().length;
  if (bytes > EVENT_BYTES) {
    throw invalid(
      `Event ${event.sequence} has ${bytes} bytes; shorten it to ${EVENT_BYTES}, and write the rest to storage.`,
    );
  }
}

function reportedState(state: ExecutionState): ExecutionState {
  if (isTerminal(state))
    throw invalid(`An execution ends with its manifest; send Complete instead of the state ${state}.`);
  if (state === "QUEUED" || state === "PREPARED") throw illegalTransition("held by an executor", state);
  return state;
}

async function writeBatch(
  tx: Queryable,
  attempt: ReportedAttempt,
  events: ExecutionEvent[],
  batch: Batch,
): Promise<void> {
  const { executionId } = attempt;
  const from = events[0]!.sequence;
  const to = events.at(-1)!.sequence;
  const started = batch.states.includes("RUNNING");
  const head = await advanceSequence(tx, { ...attempt, ...stateMove(batch.states), started, from, to });
  if (!head) throw await refusal(tx, attempt, batch.states, from);
  const offset = head.lastEventNumber - to;
  await insertEvents(
    tx,
    executionId,
    events.map((event) =>
      eventRow({ ...event, number: event.sequence + offset, attempt: attempt.attempt, kind: executorEventKind(event) }),
    ),
  );
  if (batch.operatorStates.size > 0) await upsertOperatorStates(tx, executionId, [...batch.operatorStates.values()]);
  if (batch.statistics.size > 0) await upsertOperatorStatistics(tx, executionId, [...batch.statistics.values()]);
  if (batch.ports.length > 0) await upsertPorts(tx, batch.ports);
}

/** The move a batch makes as a whole, and the states it may start from. */
function stateMove(states: ExecutionState[]): { state: ExecutionState | null; sources: ExecutionState[] } {
  const first = states[0];
  if (first === undefined) return { state: null, sources: LIVE_STATES };
  states.forEach((to, i) => {
    const from = states[i - 1];
    if (from !== undefined && from !== to && !mayMove(from, to)) throw illegalTransition(from, to);
  });
  return { state: states.at(-1)!, sources: [...sourcesOf(first), first].filter((s) => LIVE_STATES.includes(s)) };
}

/** Why the head of a write touched no row; the caller throws it. */
async function refusal(tx: Queryable, fence: Fence, states: ExecutionState[], from: bigint): Promise<AppError> {
  const row = await executionById(tx, fence.executionId);
  if (!row) return notFound(`execution "${fence.executionId}"`);
  if (row.epoch !== fence.epoch || row.attempt !== fence.attempt) return staleLease(fence.epoch, row.epoch);
  const first = states[0];
  if (isTerminal(row.state) || (first && first !== row.state && !mayMove(row.state, first))) {
    return illegalTransition(row.state, first ?? "reported on");
  }
  return new AppError(
    "precondition",
    "UNEXPECTED_SEQUENCE",
    "Another stream of this attempt stored events; reconnect.",
    {
      detail: { kind: "UnexpectedSequence", expected: row.lastSequence + 1n, received: from },
    },
  );
}
