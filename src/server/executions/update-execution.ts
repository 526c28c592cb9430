// Reports from outside the stream: the proxy way of an existing engine.
import type { UpdateExecutionRequest } from "../../contract/postern/v1/execution.js";
import { type AppError, illegalTransition, invalid, notFound, staleLease } from "../../core/app-error.js";
import {
  EXECUTION_STATES,
  type ExecutionState,
  isTerminal,
  LIVE_STATES,
  sourcesOf,
} from "../../core/execution-state.js";
import { executionStateFromWire } from "../../rpc/state-codec.js";
import type { Caller } from "../access/caller.js";
import type { Database, Queryable } from "../database/database.js";
import type { Hints } from "../notifications.js";
import { type CacheKey, letCacheGo } from "../repositories/cache-reservations.js";
import { updateReported } from "../repositories/execution-reports.js";
import { type ExecutionRow, executionById } from "../repositories/executions.js";
import { upsertOperatorStatistics } from "../repositories/operator-statistics.js";
import { logStateChange } from "./execution-log.js";
import { storedPlan } from "./execution-plan.js";
import { failureFromWire, statisticsFromWire } from "./execution-wire.js";
import { executionPrefix, requireBelow } from "./result-location.js";

export interface UpdateDeps {
  db: Database;
  hints: Hints;
  resultRoot: string;
  /** How long an executor that reports by unary calls may be silent: the life of its token. */
  executionTokenMs: number;
  now: () => Date;
}

/**
 * Stores a report within `tx`; the caller was allowed to write `row`. `freed` gets the keys of the cache that others may
 * compute once it is committed.
 */
export async function applyUpdate(
  deps: UpdateDeps,
  tx: Queryable,
  request: UpdateExecutionRequest,
  row: ExecutionRow,
  caller: Caller,
  freed: CacheKey[],
): Promise<ExecutionRow> {
  const state = request.state === 0 ? null : executionStateFromWire(request.state);
  if (state === "COMPLETED") throw invalid("Report COMPLETED with CompleteExecution: it needs a manifest.");
  if (state === "QUEUED" || state === "PREPARED") throw illegalTransition(row.state, state);
  const failure = failureFromWire(request.failure);
  if ((state === "FAILED") !== (failure !== null)) {
    throw invalid(
      state === "FAILED" ? "A FAILED report must say why: set failure." : "Only a FAILED report has a failure.",
    );
  }
  const prefix = executionPrefix(deps.resultRoot, row);
  if (request.logUri) requireBelow(prefix, request.logUri, "log_uri");
  if (request.statisticsUri) requireBelow(prefix, request.statisticsUri, "statistics_uri");

  const epoch = caller.kind === "execution" ? caller.epoch : null;
  const updated = await updateReported(tx, {
    executionId: row.id,
    attempt: caller.kind === "execution" ? caller.attempt : null,
    epoch,
    state,
    sources: sourcesFor(state, epoch),
    failure,
    logUri: request.logUri,
    statisticsUri: request.statisticsUri,
    leaseMs: epoch === null ? null : deps.executionTokenMs,
  });
  if (!updated) throw await refusal(tx, row.id, state, epoch);
  await storeStatistics(tx, row.id, request);
  if (updated.moved) {
    const { id: executionId, lastEventNumber: number, attempt } = updated;
    await logStateChange(tx, { executionId, number, attempt, state: updated.state, failure, now: deps.now() });
    if (isTerminal(updated.state)) freed.push(...(await letCacheGo(tx, executionId)));
  }
  return updated;
}

/**
 * Repeating a report is a no-op, so each state may also be reported from itself. Locations may follow the end when a
 * user tells them; an execution's token has ended with it.
 */
function sourcesFor(state: ExecutionState | null, epoch: bigint | null): ExecutionState[] {
  if (state !== null) return [...sourcesOf(state), state];
  return epoch === null ? [...EXECUTION_STATES] : LIVE_STATES;
}

async function storeStatistics(tx: Queryable, executionId: string, request: UpdateExecutionRequest): Promise<void> {
  if (request.statistics.length === 0) return;
  const plan = await storedPlan(tx, executionId);
  const known = new Set(plan.operators.map((o) => `${o.operatorId}/${o.layer}`));
  const rows = new Map(
    request.statistics.map(statisticsFromWire).map((row) => [`${row.operatorId}/${row.layer}`, row]),
  );
  for (const key of rows.keys()) if (!known.has(key)) throw invalid(`The plan has no operator ${key.slice(0, 300)}.`);
  await upsertOperatorStatistics(
    tx,
    [...rows.values()].map((row) => ({ ...row, executionId })),
  );
}

async function refusal(
  tx: Queryable,
  executionId: string,
  state: ExecutionState | null,
  epoch: bigint | null,
): Promise<AppError> {
  const row = await executionById(tx, executionId);
  if (!row) return notFound(`execution "${executionId}"`);
  if (epoch !== null && row.epoch !== epoch) return staleLease(epoch, row.epoch);
  return illegalTransition(row.state, state ?? "reported on");
}
