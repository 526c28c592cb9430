// Stopping an execution: at once when nobody holds it, else by orders to whoever does, each stronger than the one before.
//
//     CANCEL ─ grace ─▶ KILL ─ grace ─▶ the server ends the execution, and with it the executor's lease and token
//
// K1  The orders are the memory of how far it has gone: any replica takes the next step, under the row's lock.
// K2  An attempt gets each of the two orders once, however often somebody asks.
import { notFound } from "../../core/app-error.js";
import type { Logger } from "../../process/log.js";
import type { Queryable } from "../database/database.js";
import { type CacheKey, letCacheGo } from "../repositories/cache-reservations.js";
import { lastStopOrder, lockOverdueStops } from "../repositories/execution-commands.js";
import { moveExecution } from "../repositories/execution-leases.js";
import { requestCancel, takeEventNumber } from "../repositories/execution-reports.js";
import { type ExecutionRow, executionById } from "../repositories/executions.js";
import { logStateChange } from "./execution-log.js";
import { type Asked, type CommandDeps, storeCommand } from "./executor-commands.js";

const BATCH = 20;

/**
 * Asks for an execution to be stopped; with `force` without waiting for it to end in order. Returns it as it is then;
 * after the end nothing changes.
 */
export async function cancelExecution(deps: CommandDeps, cancel: Asked & { force: boolean }): Promise<ExecutionRow> {
  const { executionId, reason, requestedBy, force } = cancel;
  const freed = await deps.db.transaction(async (tx) => {
    const asked = await requestCancel(tx, executionId);
    if (!asked) return [];
    const { attempt, held } = asked;
    if (!held) return endAsKilled(tx, { executionId, attempt }, reason || `cancelled by ${requestedBy}`, deps.now());
    const ordered = await lastStopOrder(tx, { executionId, attempt });
    if (ordered && (!force || ordered.kind === "KILL")) return []; // K2
    await orderStop(tx, {
      executionId,
      reason,
      requestedBy,
      attempt,
      kind: force ? "KILL" : "CANCEL",
      now: deps.now(),
    });
    return [];
  });
  tell(deps, executionId, freed);
  const row = await executionById(deps.db, executionId);
  if (!row) throw notFound(`execution "${executionId}"`);
  return row;
}

/**
 * Takes the next step with executions whose attempt was told to stop more than `cancelGraceMs` ago and has not; returns
 * how many.
 */
export async function escalateCancels(deps: CommandDeps & { cancelGraceMs: number }, log: Logger): Promise<number> {
  const { db, now, cancelGraceMs: graceMs } = deps;
  const waited = `${graceMs / 1_000} s`;
  const stepped = await db.transaction(async (tx) => {
    const done: { executionId: string; step: "KILL" | "END"; freed: CacheKey[] }[] = [];
    for (const { id: executionId, attempt } of await lockOverdueStops(tx, { graceMs, limit: BATCH })) {
      const ordered = await lastStopOrder(tx, { executionId, attempt });
      if (!ordered || ordered.ageMs < graceMs) continue; // another replica was faster (K1)
      if (ordered.kind === "CANCEL") {
        const reason = `it did not end within ${waited} of being asked to`;
        await orderStop(tx, { executionId, attempt, reason, requestedBy: "", kind: "KILL", now: now() });
        done.push({ executionId, step: "KILL", freed: [] });
      } else {
        const comment = `ended by the server: its executor did not obey within ${waited} of being told to stop at once`;
        const freed = await endAsKilled(tx, { executionId, attempt }, comment, now());
        done.push({ executionId, step: "END", freed });
      }
    }
    return done;
  });
  for (const { executionId, step, freed } of stepped) {
    log.warn({ executionId, step, graceMs }, "an execution did not stop in time");
    tell(deps, executionId, freed);
  }
  return stepped.length;
}

function tell({ hints }: CommandDeps, executionId: string, freed: CacheKey[]): void {
  hints.cacheChanged(freed);
  hints.executionChanged(executionId);
  hints.executorConcerned(executionId);
}

async function orderStop(
  tx: Queryable,
  order: Asked & { kind: "CANCEL" | "KILL"; attempt: number; now: Date },
): Promise<void> {
  await storeCommand(tx, { ...order, number: await takeEventNumber(tx, order.executionId) });
}

/** KILLED under a new epoch: whoever held it speaks for nothing any more. Returns what others may compute now. */
async function endAsKilled(
  tx: Queryable,
  { executionId, attempt }: { executionId: string; attempt: number },
  comment: string,
  now: Date,
): Promise<CacheKey[]> {
  const row = await moveExecution(tx, { executionId, to: "KILLED", attempt, failure: null });
  if (!row) return [];
  const { lastEventNumber: number, state } = row;
  await logStateChange(tx, { executionId, number, attempt, state, comment, now });
  return letCacheGo(tx, executionId);
}
