// Which results an execution takes from the cache, and the schedule of what it must compute itself.
//
// R1  One lookup tells all hits; what is decided about them, and the schedule, follow from that one answer. An entry that
//     goes in between leaves its object for a while (docs/decisions/0013): the store notices objects that are gone.
// R2  An object is looked at before it counts as reused. Entries whose object is broken are forgotten, and planning goes on
//     without them; those of which nobody can tell are left alone.
// R3  Whoever may prepare an execution of a workflow may reuse what its cache has: he may read the results of all its
//     executions, and the fingerprint matches only what is computed from the dataset versions he was allowed to name.
import type { PortReuse } from "../../contract/postern/v1/execution.js";
import { type CacheUse, cacheModes, mayReuse } from "../../core/cache-use.js";
import { fingerprints } from "../../core/fingerprint.js";
import { globalPortId, operatorKey, type PhysicalPlan } from "../../core/plan.js";
import { type PortReuse as Decision, planReuse, type ReusePlan } from "../../core/reuse.js";
import type { CostModel } from "../../core/scheduling/find-schedule.js";
import { forgetObjects } from "../cache/broken-objects.js";
import type { Database } from "../database/database.js";
import { type CachedPort, findCachedPorts, type WantedPort } from "../repositories/cache-lookup.js";
import type { PlanScheduler } from "../scheduling/plan-scheduler.js";
import { chosenCostModel, type RunEstimates, runEstimates } from "./run-estimates.js";
import { objectPresence } from "./stored-object.js";

/** PrepareExecution waits for the best schedule no longer than this. */
const SCHEDULE_WITHIN_MS = 500;

export interface PlannedExecution {
  /** Scheduled; what it says of regions and materialised ports takes the reused ones into account. */
  plan: PhysicalPlan;
  /** Everything the cache has of the plan, by global port id. */
  hits: ReadonlyMap<string, CachedPort>;
  /** Global ids of the ports that are reused. */
  reused: ReadonlySet<string>;
  /** One per port the cache was asked for, in plan order. */
  decisions: PortReuse[];
  /** False when the cache has every result. */
  mustRun: boolean;
}

interface Asked {
  projectId: string;
  workflowId: string;
  /** Who prepares it. */
  subject: string;
  cache: CacheUse;
  /** Undefined: choose. */
  costModel: CostModel | undefined;
}

/** Plans an execution of a plan that has no schedule yet; `viewed` are ids of operators people look at. */
export async function planExecution(
  { db, schedule }: { db: Database; schedule: PlanScheduler["schedule"] },
  unscheduled: PhysicalPlan,
  viewed: ReadonlySet<string>,
  asked: Asked,
): Promise<PlannedExecution> {
  const ports = reusablePorts(unscheduled, asked.cache);
  const [found, estimates] = await Promise.all([findCachedPorts(db, { ...asked, ports }), runEstimates(db, asked)]);
  const { hits, reuse } = await planPresent(db, unscheduled, viewed, { ...asked, found, estimates });
  const running = unscheduled.operators.filter((operator) => reuse.execute.has(operatorKey(operator)));
  const { plan } = await schedule(unscheduled, viewed, {
    cost: chosenCostModel(asked.costModel, running, estimates),
    deadlineMs: SCHEDULE_WITHIN_MS,
    ...estimates,
    stored: reuse.reused,
    execute: reuse.execute,
  });
  const decided = new Map(reuse.decisions.map((decision) => [decision.globalPortId, decision]));
  return {
    plan,
    hits,
    reused: reuse.reused,
    decisions: ports.map(({ globalPortId }) => decisionToWire(globalPortId, decided.get(globalPortId), hits)),
    mustRun: reuse.execute.size > 0,
  };
}

/** The output ports the cache is asked for, with what it is asked by, in plan order. */
function reusablePorts(plan: PhysicalPlan, cache: CacheUse): WantedPort[] {
  const modes = cacheModes(plan, cache);
  const prints = fingerprints(plan);
  return plan.operators.flatMap((operator) => {
    if (!mayReuse(modes.get(operatorKey(operator))!)) return [];
    return operator.outputs.flatMap(({ key }) => {
      const port = globalPortId(key);
      const print = prints.get(port)!;
      return "hash" in print ? [{ globalPortId: port, subdagHash: print.hash, fingerprintJson: print.json }] : [];
    });
  });
}

/** Decides about reuse until every object that is to be reused is there (R2). */
async function planPresent(
  db: Database,
  plan: PhysicalPlan,
  viewed: ReadonlySet<string>,
  { found, estimates, projectId, subject }: Asked & { found: Map<string, CachedPort>; estimates: RunEstimates },
): Promise<{ hits: ReadonlyMap<string, CachedPort>; reuse: ReusePlan }> {
  const looked = plan.operators.filter(({ operatorId }) => viewed.has(operatorId)).flatMap(({ outputs }) => outputs);
  const facts = { ...estimates, viewed: new Set(looked.map(({ key }) => globalPortId(key))) };
  const hits = new Map(found);
  const seen = new Set<string>();
  for (;;) {
    const stored = new Map([...hits].map(([port, hit]) => [port, { ...hit, computeMs: Number(hit.computeMs) }]));
    const reuse = planReuse(plan, { ...facts, stored });
    const unseen = [...reuse.reused].filter((port) => !seen.has(port));
    const presences = await Promise.all(unseen.map((port) => objectPresence(hits.get(port)!)));
    const absent = unseen.filter((_, i) => presences[i] !== "whole");
    if (absent.length === 0) return { hits, reuse };
    const broken = unseen.filter((_, i) => presences[i] === "broken").map((port) => hits.get(port)!.uri);
    const resource = `cache of project ${JSON.stringify(projectId)}`;
    if (broken.length > 0) await forgetObjects(db, { projectId, uris: broken, actor: subject, resource });
    for (const port of unseen) seen.add(port);
    for (const port of absent) hits.delete(port);
  }
}

function decisionToWire(
  port: string,
  decision: Decision | undefined,
  hits: ReadonlyMap<string, CachedPort>,
): PortReuse {
  const { reused = false, readMs = 0, recomputeMs = 0, reason = "The cache does not have it." } = decision ?? {};
  const hit = reused ? hits.get(port) : undefined;
  return {
    globalPortId: port,
    reused,
    readMs,
    recomputeMs,
    reason,
    tupleCount: hit?.tupleCount ?? 0n,
    byteCount: hit?.byteCount ?? 0n,
    sourceExecutionId: hit?.sourceExecutionId ?? "",
  };
}
