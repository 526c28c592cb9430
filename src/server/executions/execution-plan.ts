// The plan an execution runs, as the server issued it; and the spec an executor gets.

import type { ExecutionSpec } from "../../contract/postern/v1/execution.js";
import * as wirePlan from "../../contract/postern/v1/plan.js";
import { notFound } from "../../core/app-error.js";
import { operatorKey, type PhysicalPlan } from "../../core/plan.js";
import { cacheUseToWire } from "../../rpc/cache-codec.js";
import { physicalPlanFromWire, physicalPlanToWire } from "../../rpc/plan-codec.js";
import type { Queryable } from "../database/database.js";
import { type ExecutionRow, executionPlan } from "../repositories/executions.js";
import { listPorts } from "../repositories/ports.js";
import { earlierFigures } from "../repositories/workflow-history.js";
import { portToWire, statisticsInPlanOrder, statisticsToWire } from "./execution-wire.js";
import { attemptPrefix } from "./result-location.js";

/** The stored plan of an execution. */
export async function storedPlan(db: Queryable, executionId: string): Promise<PhysicalPlan> {
  const json = await executionPlan(db, executionId);
  if (json === undefined) throw notFound(`execution "${executionId}"`);
  return physicalPlanFromWire(wirePlan.PhysicalPlan.fromJSON(json));
}

/** Plans kept in memory: executions of one workflow version share theirs. */
const REMEMBERED_PLANS = 256;

/** The stored plans of executions, remembered by their digest; whoever attaches again and again costs no read. */
export function createPlanMemory(
  db: Queryable,
): (execution: { id: string; planDigest: string }) => Promise<PhysicalPlan> {
  const remembered = new Map<string, PhysicalPlan>();
  return async ({ id, planDigest }) => {
    const plan = remembered.get(planDigest) ?? (await storedPlan(db, id));
    remembered.delete(planDigest);
    remembered.set(planDigest, plan); // the newest last
    if (remembered.size > REMEMBERED_PLANS) remembered.delete(remembered.keys().next().value!);
    return plan;
  };
}

/** Everything an executor needs to run the present attempt of an execution. */
export async function executionSpec(
  db: Queryable,
  row: ExecutionRow,
  { resultRoot, leaseMs }: { resultRoot: string; leaseMs: number },
): Promise<ExecutionSpec> {
  const plan = await storedPlan(db, row.id);
  const { last, smoothed } = await earlierFigures(db, row);
  const planned = new Set(plan.operators.map(operatorKey));
  // Of earlier tries, and of the cache.
  const ports = await listPorts(db, row.id);
  return {
    executionId: row.id,
    projectId: row.projectId,
    workflowId: row.workflowId,
    workflowVersion: row.workflowVersion,
    attempt: row.attempt,
    epoch: row.epoch,
    plan: physicalPlanToWire(plan),
    planDigest: row.planDigest,
    resultPrefix: attemptPrefix(resultRoot, row),
    lastRun: last.length > 0 ? statisticsInPlanOrder(plan.operators, last) : [],
    leaseMs,
    alreadyMaterialized: ports.map(portToWire),
    cache: cacheUseToWire(row.cache),
    usual: smoothed.filter((figures) => planned.has(operatorKey(figures))).map(statisticsToWire),
  };
}
