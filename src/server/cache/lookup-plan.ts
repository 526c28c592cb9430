// LookupPlan: what the cache has for the ports of an execution, and which of the missing ones are its own to compute.
//
// P1  One statement for all ports (repositories/cache-plan-lookup.ts). Only when it has reserved something a second one
//     follows, see `lookAgain`.
// P2  What a port may ask of the cache depends on the mode of its operator (core/cache-use.ts) and on whether results of
//     the execution may stand for others.
import { isDeepStrictEqual } from "node:util";
import {
  type LookupPlanRequest,
  PortLookup_Outcome as Outcome,
  type PortLookup,
} from "../../contract/postern/v1/cache.js";
import { type AppError, illegalTransition, invalid, notFound, staleLease } from "../../core/app-error.js";
import { type CacheMode, type CacheUse, cacheModes, mayRemember, mayReuse } from "../../core/cache-use.js";
import type { PhysicalPlan } from "../../core/plan.js";
import type { Database, Queryable } from "../database/database.js";
import type { Hints } from "../notifications.js";
import type { LookupPort, WantedPort } from "../repositories/cache-lookup.js";
import { type LookupRow, lookUpPorts, pinCachedPorts } from "../repositories/cache-plan-lookup.js";
import { fenceHolds, type LookupFor, releaseReservations } from "../repositories/cache-reservations.js";
import { type ExecutionRow, executionById } from "../repositories/executions.js";
import { forgetBrokenObjects } from "./broken-objects.js";
import type { KnownExecution } from "./known-executions.js";
import { type PlanPort, planPorts } from "./plan-ports.js";
import type { WaitingLine } from "./waiting-line.js";

export interface LookupDeps {
  db: Database;
  hints: Hints;
  line: Pick<WaitingLine, "holdersGone">;
  planOf(execution: { id: string; planDigest: string }): Promise<PhysicalPlan>;
  resultRoot: string;
}

const MOST_PORTS = 10_000;

/** A port as one execution asks for it: not at all, and why; or in what way. */
export type PortWish =
  | { kind: "bypassed"; port: PlanPort; reason: string }
  | { kind: "asked"; port: PlanPort; lookup: LookupPort; missReason: string };

/** What an execution may ask of the cache for these ports of its plan; for those it writes to storage when none is named. */
export function portWishes(
  plan: PhysicalPlan,
  row: Pick<ExecutionRow, "cache" | "trusted">,
  globalPortIds: readonly string[],
): PortWish[] {
  if (globalPortIds.length > MOST_PORTS)
    throw invalid(`${globalPortIds.length} ports are too many for one call; name at most ${MOST_PORTS}.`);
  const ports = planPorts(plan);
  const asked =
    globalPortIds.length === 0
      ? [...ports.values()].filter(({ materialized }) => materialized)
      : [...new Set(globalPortIds)].map((id) => requirePort(ports.get(id), id));
  const modes = cacheModes(plan, row.cache);
  return asked.map((port) => wishFor(port, modes.get(port.operatorKey)!, row.trusted));
}

/** The wishes of one lookup, and those of them that go to the database. */
interface Asking {
  trusted: boolean;
  cache: CacheUse;
  globalPortIds: readonly string[];
  wishes: PortWish[];
  asked: LookupPort[];
}

/** The last of each plan: executions of one workflow version share theirs, and mostly ask the same of it. */
const lastAsking = new WeakMap<PhysicalPlan, Asking>();

function askingOf(plan: PhysicalPlan, { trusted, cache }: KnownExecution, globalPortIds: readonly string[]): Asking {
  const last = lastAsking.get(plan);
  if (last?.trusted === trusted && isDeepStrictEqual(last.cache, cache) && isSame(last.globalPortIds, globalPortIds))
    return last;
  const wishes = portWishes(plan, { trusted, cache }, globalPortIds);
  const asked = wishes.flatMap((wish) => (wish.kind === "asked" ? [wish.lookup] : []));
  const asking = { trusted, cache, globalPortIds, wishes, asked };
  lastAsking.set(plan, asking);
  return asking;
}

const isSame = (one: readonly string[], other: readonly string[]): boolean =>
  one.length === other.length && one.every((id, i) => id === other[i]);

function requirePort(port: PlanPort | undefined, id: string): PlanPort {
  if (port) return port;
  throw invalid(`The plan has no output port ${JSON.stringify(id.slice(0, 300))}.`);
}

/** P2 */
function wishFor(port: PlanPort, mode: CacheMode, trusted: boolean): PortWish {
  const { wanted } = port;
  if ("reason" in wanted) return { kind: "bypassed", port, reason: wanted.reason };
  if (mode === "SKIP") return { kind: "bypassed", port, reason: "This run leaves the cache alone here." };
  const missReason =
    mode === "READ_ONLY"
      ? "This run remembers nothing here."
      : trusted
        ? "Another execution is computing it, and a run that refreshes does not wait for that."
        : "Nothing is remembered of a run whose starter may not write the workflow.";
  return {
    kind: "asked",
    port,
    lookup: { wanted, looks: mayReuse(mode), reserves: trusted && mayRemember(mode) },
    missReason,
  };
}

/**
 * Looks the ports up for an execution; one answer per port, in the order of the request or the plan. Undefined when the
 * fence does not hold.
 */
export async function lookUpPlan(
  deps: LookupDeps,
  row: KnownExecution,
  by: LookupFor,
  request: LookupPlanRequest,
): Promise<PortLookup[] | undefined> {
  const { wishes, asked } = askingOf(await deps.planOf(row), row, request.globalPortIds);
  if (request.brokenUris.length > 0) await forgetBrokenObjects(deps, row, request.brokenUris);
  if (asked.length === 0 && !(await fenceHolds(deps.db, by))) return undefined;
  const found = asked.length === 0 ? [] : await lookUpPorts(deps.db, by, asked);
  if (found.length < asked.length) return undefined;
  const rows = await lookAgain(deps, by, asked, found);
  const gone = found.filter(({ holderGone }) => holderGone).map(({ globalPortId }) => globalPortId);
  if (gone.length > 0) {
    const { projectId } = row;
    const hashOf = new Map(asked.map(({ wanted }) => [wanted.globalPortId, wanted.subdagHash]));
    deps.line.holdersGone(gone.map((id) => ({ projectId, subdagHash: hashOf.get(id)! })));
  }
  let next = 0;
  return wishes.map((wish) =>
    wish.kind === "bypassed"
      ? answer(wish.port, Outcome.OUTCOME_BYPASSED, wish.reason)
      : outcomeOf(wish, rows[next++]!),
  );
}

/**
 * Looks once more for what has just been reserved. Whoever computed a port may have committed it after the statement
 * began: its entry was not to be seen yet, and its reservation was gone by the time of the insert. Such a port is a hit,
 * and the reservation goes back. A commit after this look is not possible: it would need the reservation.
 */
async function lookAgain(
  deps: LookupDeps,
  by: LookupFor,
  asked: readonly LookupPort[],
  found: readonly LookupRow[],
): Promise<readonly LookupRow[]> {
  const fresh = asked.flatMap(({ wanted, looks }, i) => (looks && found[i]!.isNew ? [wanted] : []));
  if (fresh.length === 0) return found;
  const late = await pinCachedPorts(deps.db, by, fresh);
  if (late.size === 0) return found;
  const rows = found.map((row) => ({ ...row, ...late.get(row.globalPortId) }));
  const needed = new Set(rows.flatMap(({ uri, reservation }) => (uri === null ? [reservation] : [])));
  const surplus = new Set(rows.flatMap(({ reservation }) => (needed.has(reservation) ? [] : (reservation ?? []))));
  if (surplus.size > 0) deps.hints.cacheChanged(await releaseReservations(deps.db, by, [...surplus]));
  return rows;
}

function outcomeOf({ port, lookup, missReason }: PortWish & { kind: "asked" }, row: LookupRow): PortLookup {
  if (isHit(row)) return hit(port.globalPortId, row);
  if (row.reservation !== null) return { ...answer(port, Outcome.OUTCOME_RESERVED, ""), reservation: row.reservation };
  if (!lookup.reserves) return answer(port, Outcome.OUTCOME_MISS, missReason);
  return lookup.looks
    ? answer(port, Outcome.OUTCOME_BUSY, "Another execution is computing it.")
    : answer(port, Outcome.OUTCOME_MISS, missReason);
}

const isHit = (row: LookupRow): row is LookupRow & { uri: string } => row.uri !== null;

const answer = ({ globalPortId }: Pick<WantedPort, "globalPortId">, outcome: Outcome, reason: string): PortLookup => ({
  globalPortId,
  outcome,
  reason,
  reservation: 0n,
  result: undefined,
});

/** HIT on the wire. */
export const hit = (
  globalPortId: string,
  entry: Pick<LookupRow, "tupleCount" | "byteCount" | "computeMs" | "sourceExecutionId"> & { uri: string },
): PortLookup => {
  const { uri, tupleCount, byteCount, computeMs, sourceExecutionId } = entry;
  const result = { uri, tupleCount, byteCount, computeMs, sourceExecutionId };
  return { globalPortId, outcome: Outcome.OUTCOME_HIT, reason: "", reservation: 0n, result };
};

export const reserved = (port: Pick<WantedPort, "globalPortId">, reservation: bigint): PortLookup => ({
  ...answer(port, Outcome.OUTCOME_RESERVED, ""),
  reservation,
});

export const missed = (port: Pick<WantedPort, "globalPortId">, reason: string): PortLookup =>
  answer(port, Outcome.OUTCOME_MISS, reason);

/** Why the fence of a call does not hold; `act` is what the execution was to be. */
export async function fenceRefusal(db: Queryable, by: LookupFor, act = "looked up for"): Promise<AppError> {
  const row = await executionById(db, by.executionId);
  if (!row) return notFound(`execution "${by.executionId}"`);
  if (by.epoch !== null && row.epoch !== by.epoch) return staleLease(by.epoch, row.epoch);
  return illegalTransition(row.state, act);
}
