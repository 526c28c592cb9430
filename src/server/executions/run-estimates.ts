// What earlier runs of a workflow tell about the next one: what schedules and decisions about reuse go by.
import { operatorKey, type PhysicalOperatorKey } from "../../core/plan.js";
import type { CostModel } from "../../core/scheduling/find-schedule.js";
import type { Queryable } from "../database/database.js";
import { lastPortBytes, smoothedFigures } from "../repositories/workflow-history.js";

export interface RunEstimates {
  /** Seconds each operator takes, smoothed over its newest runs, by operator key; never of what the cache served. */
  seconds: Map<string, number>;
  /** Bytes of each port as last written, by global port id. */
  bytes: Map<string, number>;
}

export const NO_ESTIMATES: RunEstimates = { seconds: new Map(), bytes: new Map() };

export async function runEstimates(
  db: Queryable,
  of: { projectId: string; workflowId: string },
): Promise<RunEstimates> {
  const [figures, bytes] = await Promise.all([smoothedFigures(db, of), lastPortBytes(db, of)]);
  return { seconds: new Map(figures.map((row) => [operatorKey(row), Number(row.busyMs) / 1_000])), bytes };
}

/** The model asked for; else seconds, where every operator that runs is known to have run, and ports elsewhere. */
export function chosenCostModel(
  asked: CostModel | undefined,
  running: readonly PhysicalOperatorKey[],
  { seconds }: RunEstimates,
): CostModel {
  if (asked !== undefined) return asked;
  return running.length > 0 && running.every((operator) => seconds.has(operatorKey(operator))) ? "seconds" : "ports";
}
