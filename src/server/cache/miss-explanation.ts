// ExplainMiss: which ports of a plan the cache has, and for each of the others what differs from the nearest entry.
//
// X1  The nearest entry is the newest of the same port, else that of the workflow whose operator is of the same type and
//     whose fingerprint differs in the fewest places.
// X2  Earlier fingerprints come from the plans of the executions that made the nearest entries, else from entries by
//     their hashes: always of the same workflow, whose reader asks.
// X3  Ports that nobody names are those a run would write now, what it reuses taken into account as PrepareExecution does,
//     and those that are or were remembered.
// X4  The number of statements does not depend on the plan, except for the rounds of X2, which are few.
import type { CacheEntry, ExplainMissRequest, PortExplanation } from "../../contract/postern/v1/cache.js";
import * as wirePlan from "../../contract/postern/v1/plan.js";
import { invalid, notFound, planInvalid } from "../../core/app-error.js";
import type { FoundDataset } from "../../core/dataset-reference.js";
import { missExplainer } from "../../core/explain-miss.js";
import { fingerprints } from "../../core/fingerprint.js";
import { globalPortId, type LogicalPlan, operatorKey, type PhysicalPlan } from "../../core/plan.js";
import { planReuse } from "../../core/reuse.js";
import { logicalPlanFromWire } from "../../rpc/plan-codec.js";
import { requireUser } from "../access/authorization.js";
import type { Caller } from "../access/caller.js";
import type { CompilePlan } from "../binding/plan-compiler.js";
import type { Queryable } from "../database/database.js";
import { chosenCostModel, type RunEstimates, runEstimates } from "../executions/run-estimates.js";
import { findCachedPorts, type WantedPort } from "../repositories/cache-lookup.js";
import { workflowVersion } from "../repositories/workflows.js";
import type { PlanScheduler } from "../scheduling/plan-scheduler.js";
import {
  earlierFingerprints,
  entriesOfHits,
  type Hits,
  rememberedPorts,
  withSimilarEntries,
} from "./nearest-entries.js";
import { type PlanPort, planPorts } from "./plan-ports.js";

export interface ExplainDeps {
  db: Queryable;
  compile: CompilePlan;
  schedule: PlanScheduler["schedule"];
  /** The version a reference means; undefined when it is absent or the caller may not read it. */
  resolveDataset(
    db: Queryable,
    caller: Caller,
    projectId: string,
    reference: string,
  ): Promise<FoundDataset | undefined>;
}

type Wanted = Pick<ExplainMissRequest, "projectId" | "workflowId" | "plan" | "version" | "globalPortIds">;

const MOST_PORTS = 1_000;

/** Explains the ports asked for, or those of X3, in plan order. */
export async function explainPorts(
  deps: ExplainDeps,
  wanted: Wanted,
  caller: Caller,
  signal: AbortSignal,
): Promise<PortExplanation[]> {
  const { db } = deps;
  const of = { projectId: wanted.projectId, workflowId: wanted.workflowId };
  const { plan, hits } = await compiled(deps, wanted, caller, signal);
  const candidates = askedPorts(planPorts(plan), wanted.globalPortIds);
  const remembered = await rememberedPorts(
    db,
    of,
    candidates.filter((port) => !hits.has(port.globalPortId)),
  );
  const ports = candidates.filter(
    ({ globalPortId, materialized }) =>
      wanted.globalPortIds.length > 0 || materialized || hits.has(globalPortId) || remembered.has(globalPortId),
  );
  requireFew(ports);
  const entries = await entriesOfHits(db, of, ports, hits);
  const nearest = await withSimilarEntries(db, of, ports, { hits, remembered });
  const jsonOf = await earlierFingerprints(db, of, [...new Set(nearest.values())]);
  const explain = missExplainer({ plan, fingerprints: fingerprints(plan) }, { jsonOf });
  const room = { bytes: REPLY_BYTES };
  return ports.map((port): PortExplanation => {
    const { globalPortId } = port;
    const hit = entries.get(globalPortId);
    const near = hit ?? nearest.get(globalPortId);
    const [subdagHash, uncacheableReason] = hashOrReason(port);
    const differences = hit || !near ? [] : explain(globalPortId, near.fingerprintJson);
    return {
      globalPortId,
      subdagHash,
      uncacheableReason,
      hit: hit !== undefined,
      nearest: near && whereItFits(near, room),
      differences: differences.slice(0, MOST_DIFFERENCES).filter((one) => fits(`${one.before}${one.after}`, room)),
    };
  });
}

const hashOrReason = ({ wanted }: PlanPort): [hash: string, reason: string] =>
  "reason" in wanted ? ["", wanted.reason] : [wanted.subdagHash, ""];

/** Of one port; nobody reads more. */
const MOST_DIFFERENCES = 50;
/** What texts of any length may take in a reply: a message has its limit. */
const REPLY_BYTES = 2 * 1024 * 1024;

function fits(text: string, room: { bytes: number }): boolean {
  const bytes = Buffer.byteLength(text);
  if (bytes > room.bytes) return false;
  room.bytes -= bytes;
  return true;
}

/** The entry, without its fingerprint when that is too long for what is left of the reply. */
const whereItFits = (entry: CacheEntry, room: { bytes: number }): CacheEntry =>
  fits(entry.fingerprintJson, room) ? entry : { ...entry, fingerprintJson: "" };

/** The plan with the schedule a run would have now, and what the cache has of it. */
async function compiled(
  deps: ExplainDeps,
  wanted: Wanted,
  caller: Caller,
  signal: AbortSignal,
): Promise<{ plan: PhysicalPlan; hits: Hits }> {
  const { projectId, workflowId } = wanted;
  const { subject } = requireUser(caller);
  const drawn = await logicalPlan(deps.db, wanted);
  let hits: Hits = new Map();
  const compilation = await deps.compile(
    drawn,
    (reference) => deps.resolveDataset(deps.db, caller, projectId, reference),
    signal,
    async (unscheduled, viewed) => {
      const ports = cacheable([...planPorts(unscheduled).values()]);
      const of = { projectId, workflowId };
      const [found, estimates] = await Promise.all([
        findCachedPorts(deps.db, { ...of, subject, ports }),
        runEstimates(deps.db, of),
      ]);
      hits = found;
      return scheduled(deps, unscheduled, viewed, { hits, estimates });
    },
  );
  if (!compilation.ok) throw planInvalid(compilation.diagnostics);
  return { plan: compilation.plan, hits };
}

const cacheable = (ports: PlanPort[]): WantedPort[] =>
  ports.flatMap(({ wanted }) => ("reason" in wanted ? [] : [wanted]));

/** People wait for the answer, and nothing runs by it. */
const SCHEDULE_WITHIN_MS = 200;

async function scheduled(
  { schedule }: ExplainDeps,
  plan: PhysicalPlan,
  viewed: ReadonlySet<string>,
  { hits, estimates }: { hits: Hits; estimates: RunEstimates },
): Promise<PhysicalPlan> {
  const results = plan.operators.filter(({ operatorId }) => viewed.has(operatorId)).flatMap(({ outputs }) => outputs);
  const reuse = planReuse(plan, {
    ...estimates,
    viewed: new Set(results.map(({ key }) => globalPortId(key))),
    stored: new Map([...hits].map(([port, hit]) => [port, { ...hit, computeMs: Number(hit.computeMs) }])),
  });
  const running = plan.operators.filter((operator) => reuse.execute.has(operatorKey(operator)));
  const found = await schedule(plan, viewed, {
    cost: chosenCostModel(undefined, running, estimates),
    deadlineMs: SCHEDULE_WITHIN_MS,
    ...estimates,
    stored: reuse.reused,
    execute: reuse.execute,
  });
  return found.plan;
}

async function logicalPlan(db: Queryable, { projectId, workflowId, plan, version }: Wanted): Promise<LogicalPlan> {
  if (plan && version !== 0) throw invalid("Give a plan or a version, not both.");
  if (plan) return logicalPlanFromWire(plan);
  const found = await workflowVersion(db, { projectId, workflowId, version });
  if (!found) throw notFound(`version ${version} of workflow ${JSON.stringify(workflowId)}`);
  return logicalPlanFromWire(wirePlan.LogicalPlan.fromJSON(found.plan));
}

/** The ports asked for, or all. */
function askedPorts(ports: ReadonlyMap<string, PlanPort>, asked: string[]): PlanPort[] {
  const unknown = asked.find((id) => !ports.has(id));
  if (unknown !== undefined) throw invalid(`The plan has no output port ${unknown}.`);
  const chosen = new Set(asked);
  return [...ports.values()].filter((port) => asked.length === 0 || chosen.has(port.globalPortId));
}

function requireFew({ length }: PlanPort[]): void {
  if (length <= MOST_PORTS) return;
  throw invalid(`${length} ports are too many at once; name ${MOST_PORTS} at most in global_port_ids.`);
}
