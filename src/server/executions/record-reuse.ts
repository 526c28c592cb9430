// What an execution had from the cache, written down when it is known: for people, and for the cache's own statistics.
//
// C1  Which ports were reused, with their sizes, is what registry and ledger say, never what a report says of it. Of a
//     report only the estimates and the reason are taken.
// C2  Ports that are neither reused nor written do not count as looked up: no cache could have had them. Nor do those the
//     execution was told not to reuse.
// C3  Time saved is what computing the reused ports took, each with all it was made from. One that lies upstream of
//     another is part of that one already.
import { PortReuse, type ReuseSummary } from "../../contract/postern/v1/execution.js";
import { AppError } from "../../core/app-error.js";
import { type CacheUse, cacheModes, mayReuse, PLAIN_CACHE_USE } from "../../core/cache-use.js";
import { isTerminal } from "../../core/execution-state.js";
import { globalPortId, operatorKey, type PhysicalPlan } from "../../core/plan.js";
import type { Database, Queryable } from "../database/database.js";
import {
  executionReuse,
  type ReusedObject,
  type ReuseFacts,
  type ReuseRow,
  reuseFacts,
  storeReuse,
} from "../repositories/execution-reuse.js";
import type { ExecutionRow } from "../repositories/executions.js";
import { storableText } from "../request-fields.js";

const REASON_LIMIT = 500;

interface Reusing {
  id: string;
  projectId: string;
  cache: CacheUse;
}

/**
 * Stores what is known at the end of an execution: what was decided when it was prepared, with what its executor reports,
 * by port the later word; and counts the uses of the entries. In the transaction of the end, after ports and statistics.
 */
export async function recordReuse(
  tx: Queryable,
  execution: Reusing,
  plan: PhysicalPlan,
  reported: readonly PortReuse[],
): Promise<ReuseSummary> {
  return recordKnownReuse(tx, execution, plan, { ...(await reuseFacts(tx, execution.id)), reported });
}

/** The same where registry and ledger need not be asked. */
export async function recordKnownReuse(
  tx: Queryable,
  { id: executionId, projectId, cache }: Reusing,
  plan: PhysicalPlan,
  facts: ReuseFacts & { reported: readonly PortReuse[] },
): Promise<ReuseSummary> {
  const reuse = reuseOf(plan, facts, cache);
  await storeReuse(tx, { executionId, projectId, reuse, used: facts.reused.map(({ uri }) => uri) });
  return summaryToWire(reuse);
}

/** Stores what was decided before anything ran; nothing is saved yet. */
export const recordPlannedReuse = (
  tx: Queryable,
  { id: executionId, projectId, cache }: Reusing,
  plan: PhysicalPlan,
  decisions: readonly PortReuse[],
): Promise<void> =>
  storeReuse(tx, {
    executionId,
    projectId,
    used: [],
    reuse: {
      regions: plan.regions.length,
      regionsReused: 0,
      portsLookedUp: lookedUp(decisions, plan, cache),
      portsReused: decisions.filter(({ reused }) => reused).length,
      savedMs: 0n,
      savedBytes: 0n,
      decisions: decisions.map((decision) => PortReuse.toJSON(decision)),
    },
  });

/** What an execution had from the cache, once that is known: at its end. */
export async function reuseOfEnded(db: Database, row: ExecutionRow): Promise<ReuseSummary | undefined> {
  const reuse = isTerminal(row.state) ? await executionReuse(db, row.id) : undefined;
  return reuse && summaryToWire(reuse);
}

export const summaryToWire = (row: Omit<ReuseRow, "decisions">): ReuseSummary => ({
  regions: row.regions,
  regionsReused: row.regionsReused,
  portsLookedUp: row.portsLookedUp,
  portsReused: row.portsReused,
  savedMs: row.savedMs,
  savedBytes: row.savedBytes,
});

export const decisionsToWire = ({ decisions }: Pick<ReuseRow, "decisions">): PortReuse[] =>
  decisions.map((decision) => PortReuse.fromJSON(decision));

/** Pure: the row from what is stored and what is reported. */
export function reuseOf(
  plan: PhysicalPlan,
  { decisions: planned, operators, reused, reported }: ReuseFacts & { reported: readonly PortReuse[] },
  cache: CacheUse = PLAIN_CACHE_USE,
): ReuseRow {
  const objects = new Map(reused.map((object) => [object.globalPortId, object]));
  const decisions = latestDecisions(plan, [...decisionsToWire({ decisions: planned }), ...reported]).map((decision) =>
    asRegistered(decision, objects.get(decision.globalPortId)),
  );
  const fromCache = new Set(operators.filter((o) => o.state === "COMPLETED_FROM_CACHE").map(operatorKey));
  const counted = outermost(plan, objects);
  return {
    regions: plan.regions.length,
    regionsReused: plan.regions.filter((region) => region.operators.every((o) => fromCache.has(operatorKey(o)))).length,
    portsLookedUp: lookedUp(decisions, plan, cache),
    portsReused: reused.length,
    savedMs: storable(counted.reduce((sum, { computeMs }) => sum + computeMs, 0)),
    savedBytes: storable(reused.reduce((sum, { byteCount }) => sum + byteCount, 0)),
    decisions: decisions.map((decision) => PortReuse.toJSON(decision)),
  };
}

/**
 * How many of the ports were reused, or are written by a run of the plan that might have reused them (C2). A port the
 * cache did not have, and that passes within a region, could not have been remembered either: it says nothing about how
 * well the cache serves.
 */
function lookedUp(decisions: readonly PortReuse[], plan: PhysicalPlan, cache: CacheUse): number {
  const modes = cacheModes(plan, cache);
  const written = plan.operators
    .filter((operator) => mayReuse(modes.get(operatorKey(operator))!))
    .flatMap(({ outputs }) => outputs.filter((port) => port.materialized || port.viewed));
  const ids = new Set(written.map(({ key }) => globalPortId(key)));
  return decisions.filter(({ globalPortId: port, reused }) => reused || ids.has(port)).length;
}

/** One decision per port, the last, in plan order. */
function latestDecisions(plan: PhysicalPlan, decisions: readonly PortReuse[]): PortReuse[] {
  const byPort = new Map(decisions.map((decision) => [decision.globalPortId, decision]));
  const ordered = plan.operators.flatMap(({ outputs }) =>
    outputs.flatMap(({ key }) => {
      const port = globalPortId(key);
      const decision = byPort.get(port);
      byPort.delete(port);
      return decision ? [decision] : [];
    }),
  );
  const [stranger] = byPort.keys();
  if (stranger === undefined) return ordered;
  const shown = JSON.stringify(stranger.slice(0, 300));
  throw new AppError(
    "invalid",
    "MANIFEST_REFUSED",
    `The plan has no output port ${shown}; report only ports of the plan.`,
  );
}

/** C1 */
const asRegistered = (decision: PortReuse, object: ReusedObject | undefined): PortReuse => ({
  globalPortId: decision.globalPortId,
  reused: object !== undefined,
  readMs: estimate(decision.readMs),
  recomputeMs: estimate(decision.recomputeMs),
  reason: storableText(decision.reason, REASON_LIMIT),
  tupleCount: BigInt(object?.rowCount ?? 0),
  byteCount: BigInt(object?.byteCount ?? 0),
  sourceExecutionId: object?.sourceExecutionId ?? "",
});

const estimate = (ms: number): number => (Number.isFinite(ms) && ms > 0 ? ms : 0);

/** Counts are others' words: no sum of them may be too large to be stored, and end an execution that only reads. */
const storable = (sum: number): bigint => BigInt(Math.min(sum, Number.MAX_SAFE_INTEGER));

/** The reused ports that no other reused port was made from (C3). */
function outermost(plan: PhysicalPlan, objects: ReadonlyMap<string, ReusedObject>): ReusedObject[] {
  const sources = new Map<string, string[]>();
  for (const { from, to } of plan.links) {
    const known = sources.get(operatorKey(to));
    if (known) known.push(globalPortId(from));
    else sources.set(operatorKey(to), [globalPortId(from)]);
  }
  const within = new Set<string>();
  const outer: ReusedObject[] = [];
  for (const operator of plan.operators.toReversed()) {
    const ports = operator.outputs.map(({ key }) => globalPortId(key));
    outer.push(...ports.flatMap((port) => (within.has(port) ? [] : (objects.get(port) ?? []))));
    if (!ports.some((port) => within.has(port) || objects.has(port))) continue;
    for (const source of sources.get(operatorKey(operator)) ?? []) within.add(source);
  }
  return outer;
}
