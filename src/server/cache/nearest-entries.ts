// Entries that stand beside ports of a plan in an explanation: the one that is its result, or the nearest one, and what is
// known of how that came about. All are of the workflow whose reader asks; miss-explanation.ts has the rules.
import type { CacheEntry } from "../../contract/postern/v1/cache.js";
import * as wirePlan from "../../contract/postern/v1/plan.js";
import { type Fingerprint, fingerprints } from "../../core/fingerprint.js";
import { groupBy } from "../../core/group-by.js";
import { jsonDifferences } from "../../core/json-differences.js";
import type { Json } from "../../core/plan.js";
import { physicalPlanFromWire } from "../../rpc/plan-codec.js";
import type { Queryable } from "../database/database.js";
import type { CacheEntryRow } from "../repositories/cache-entries.js";
import type { CachedPort } from "../repositories/cache-lookup.js";
import {
  entriesOfResults,
  fingerprintsByHash,
  newestEntriesOfPorts,
  newestEntriesOfTypes,
  plansOfExecutions,
} from "../repositories/cache-nearest.js";
import type { PlanPort } from "./plan-ports.js";

/** What the cache has, by global port id. */
export type Hits = ReadonlyMap<string, CachedPort>;

interface OfWorkflow {
  projectId: string;
  workflowId: string;
}

/** The entry behind each hit. Of one of another workflow only what its reader may know: the result. */
export async function entriesOfHits(
  db: Queryable,
  of: OfWorkflow,
  ports: PlanPort[],
  hits: Hits,
): Promise<Map<string, CacheEntry>> {
  if (hits.size === 0) return new Map();
  const wanted = ports.flatMap((port) => {
    const hit = hits.get(port.globalPortId);
    return hit && !("reason" in port.wanted) ? [{ port, hit, ...port.wanted }] : [];
  });
  const results = wanted.map(({ subdagHash, hit }) => ({ subdagHash, uri: hit.uri }));
  const rows = groupBy(await entriesOfResults(db, { ...of, results }), (row) => `${row.subdagHash} ${row.resultUri}`);
  return new Map(
    wanted.map(({ port, hit, globalPortId, subdagHash, fingerprintJson }) => {
      const own = rows.get(`${subdagHash} ${hit.uri}`) ?? [];
      const foreign = { ...UNKNOWN, projectId: of.projectId, fingerprintJson, globalPortId, subdagHash };
      const { operatorType, datasetVersions } = port;
      const entry = own.find((row) => row.globalPortId === globalPortId) ??
        own[0] ?? { ...foreign, ...hit, resultUri: hit.uri, operatorType, datasetVersions };
      return [globalPortId, entry];
    }),
  );
}

const UNKNOWN = { workflowId: "", createdAt: undefined, lastUsedAt: undefined, hitCount: 0n };

/** Entries of one type that a port is compared with. */
const CANDIDATES = 20;

/** The newest entry of each port, whatever its hash. */
export async function rememberedPorts(
  db: Queryable,
  of: OfWorkflow,
  ports: PlanPort[],
): Promise<Map<string, CacheEntryRow>> {
  if (ports.length === 0) return new Map();
  const rows = await newestEntriesOfPorts(db, { ...of, globalPortIds: ports.map((port) => port.globalPortId) });
  return new Map(rows.map((entry) => [entry.globalPortId, entry]));
}

/** X1: those of the same port, and the most similar one of every port that has neither that nor a hit. */
export async function withSimilarEntries(
  db: Queryable,
  of: OfWorkflow,
  ports: PlanPort[],
  { hits, remembered }: { hits: Hits; remembered: ReadonlyMap<string, CacheEntryRow> },
): Promise<ReadonlyMap<string, CacheEntryRow>> {
  const chosen = ports.filter(({ globalPortId }) => remembered.has(globalPortId));
  const nearest = new Map(chosen.map(({ globalPortId }) => [globalPortId, remembered.get(globalPortId)!]));
  const others = ports.flatMap(({ globalPortId, operatorType, wanted }) =>
    hits.has(globalPortId) || nearest.has(globalPortId) || "reason" in wanted ? [] : [{ operatorType, ...wanted }],
  );
  if (others.length === 0) return nearest;
  const operatorTypes = [...new Set(others.map((port) => port.operatorType))];
  const candidates = await newestEntriesOfTypes(db, { ...of, operatorTypes, each: CANDIDATES });
  const byType = groupBy(
    candidates.map((entry) => ({ entry, form: JSON.parse(entry.fingerprintJson) as Json })),
    ({ entry }) => entry.operatorType,
  );
  for (const { globalPortId, operatorType, fingerprintJson } of others) {
    const form = JSON.parse(fingerprintJson) as Json;
    let fewest = Number.POSITIVE_INFINITY;
    for (const candidate of byType.get(operatorType) ?? []) {
      const differences = jsonDifferences(candidate.form, form).length;
      if (differences >= fewest) continue;
      fewest = differences;
      nearest.set(globalPortId, candidate.entry);
    }
  }
  return nearest;
}

const MOST_PLANS = 8;
const MOST_ROUNDS = 16;
const MOST_FINGERPRINTS = 10_000;

/** X2: the JSON behind hashes that nearest entries name, directly or further upstream. */
export async function earlierFingerprints(
  db: Queryable,
  of: OfWorkflow,
  nearest: CacheEntryRow[],
): Promise<(hash: string) => string | undefined> {
  const known = new Map(nearest.map((entry) => [entry.subdagHash, entry.fingerprintJson]));
  const sources = [...groupBy(nearest, (entry) => entry.sourceExecutionId)].sort(([, a], [, b]) => b.length - a.length);
  const executionIds = sources.slice(0, MOST_PLANS).map(([id]) => id);
  const plans = executionIds.length > 0 ? await plansOfExecutions(db, executionIds) : [];
  for (const json of plans) {
    const plan = physicalPlanFromWire(wirePlan.PhysicalPlan.fromJSON(json));
    for (const print of fingerprints(plan).values()) remember(known, print);
  }
  let unread = [...known.values()];
  for (let round = 0; round < MOST_ROUNDS && known.size < MOST_FINGERPRINTS; round++) {
    const hashes = [...new Set(unread.flatMap(inputHashes))].filter((hash) => !known.has(hash));
    if (hashes.length === 0) break;
    const rows = await fingerprintsByHash(db, { ...of, hashes });
    for (const { subdagHash, fingerprintJson } of rows) known.set(subdagHash, fingerprintJson);
    unread = rows.map((row) => row.fingerprintJson);
  }
  return (hash) => known.get(hash);
}

function remember(known: Map<string, string>, print: Fingerprint): void {
  if ("hash" in print) known.set(print.hash, print.json);
}

const inputHashes = (fingerprintJson: string): string[] =>
  Object.values((JSON.parse(fingerprintJson) as { inputs: Record<string, string[]> }).inputs).flat();
