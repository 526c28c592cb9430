// The end of an execution: the manifest, stored whole in one transaction or not at all.
//
// C1  State, ports, consoles, statistics, cache entries, log and audit row commit together (S10).
// C2  The first manifest wins; the same one again is a no-op, another one is refused.
// C3  What enters the cache is what the server's own plan says of the port, never what the report says of it; and only
//     what this attempt had reserved.
// C4  With its end the execution lets go of every reservation, place in line and pin.
import { Manifest } from "../../contract/postern/v1/execution.js";
import { AppError, illegalTransition, notFound, staleLease } from "../../core/app-error.js";
import { sha256Hex } from "../../core/canonical-json.js";
import { isTerminal, type TerminalState } from "../../core/execution-state.js";
import { executionStateFromWire } from "../../rpc/state-codec.js";
import { portOffer } from "../cache/port-offer.js";
import { auditingRefusals, NEVER_RESERVED, NOT_FOUND_HERE, OfferRefused } from "../cache/refused-offer.js";
import type { Database, Queryable } from "../database/database.js";
import type { Hints } from "../notifications.js";
import { addAuditEntry } from "../repositories/audit-log.js";
import { commitOffers, registerReusedPorts } from "../repositories/cache-commits.js";
import { type CacheKey, letCacheGo, reservedHashes } from "../repositories/cache-reservations.js";
import { endExecution } from "../repositories/execution-reports.js";
import { type ExecutionRow, executionById } from "../repositories/executions.js";
import { upsertOperatorStatistics } from "../repositories/operator-statistics.js";
import { listPorts, upsertConsoles, upsertPorts } from "../repositories/ports.js";
import { logStateChange } from "./execution-log.js";
import { storedPlan } from "./execution-plan.js";
import { failureFromWire, statisticsFromWire } from "./execution-wire.js";
import { consoleRows, portRows, type ReportedBy, reusedPort } from "./port-registration.js";
import { recordReuse } from "./record-reuse.js";
import { executionPrefix, requireBelow } from "./result-location.js";

export interface CompletionDeps {
  db: Database;
  hints: Hints;
  resultRoot: string;
  now: () => Date;
}

/** Who reports the end. */
export interface Reporter {
  /** For the audit row: the subject, or the executor's id. */
  actor: string;
  /** The token's epoch; null for a user, who has no lease. */
  epoch: bigint | null;
  /** True on the stream, where the manifest's last sequence must be the stored one. */
  onStream: boolean;
}

const refuse = (message: string): AppError => new AppError("invalid", "MANIFEST_REFUSED", message);

function endState(manifest: Manifest): TerminalState {
  const state = executionStateFromWire(manifest.state);
  if (isTerminal(state)) return state;
  throw refuse(`A manifest ends an execution: its state must be COMPLETED, FAILED or KILLED, not ${state}.`);
}

/** Stores the manifest; returns the execution as it is then. */
export async function completeExecution(
  deps: CompletionDeps,
  manifest: Manifest,
  reporter: Reporter,
): Promise<ExecutionRow> {
  const { row, cacheKeys } = await auditingRefusals(deps.db, reporter.actor, () =>
    deps.db.transaction((tx) => storeManifest(deps, tx, manifest, reporter)),
  );
  deps.hints.cacheChanged(cacheKeys);
  deps.hints.executionChanged(row.id);
  if (!reporter.onStream) deps.hints.executorConcerned(row.id);
  return row;
}

/** The execution as it is then, and the keys of the cache that came out with its end. */
interface Stored {
  row: ExecutionRow;
  cacheKeys: CacheKey[];
}

async function storeManifest(
  { resultRoot, now }: CompletionDeps,
  tx: Queryable,
  manifest: Manifest,
  reporter: Reporter,
): Promise<Stored> {
  const { executionId, attempt } = manifest;
  const state = endState(manifest);
  const failure = failureFromWire(manifest.failure);
  if ((state === "FAILED") !== (failure !== null)) {
    throw refuse(state === "FAILED" ? "A FAILED manifest must say why." : `A ${state} manifest has no failure.`);
  }
  const manifestDigest = sha256Hex(Manifest.encode(manifest).finish());
  const row = await endExecution(tx, {
    executionId,
    attempt,
    epoch: reporter.epoch,
    state,
    failure,
    logUri: manifest.logUri,
    statisticsUri: manifest.statisticsUri,
    manifestDigest,
    lastSequence: reporter.onStream ? manifest.lastSequence : null,
  });
  if (!row) return { row: await alreadyEnded(tx, manifest, reporter, state, manifestDigest), cacheKeys: [] };

  const plan = await storedPlan(tx, executionId);
  const prefix = executionPrefix(resultRoot, row);
  for (const uri of [manifest.logUri, manifest.statisticsUri])
    if (uri !== "") requireBelow(prefix, uri, "The manifest");
  const by = { executionId, attempt, prefix, plan };
  const operators = new Set(plan.operators.map((o) => `${o.operatorId}/${o.layer}`));
  const statistics = manifest.statistics.map(statisticsFromWire);
  for (const s of statistics) {
    if (!operators.has(`${s.operatorId}/${s.layer}`))
      throw refuse(`The plan has no operator ${s.operatorId}/${s.layer}.`);
  }
  await upsertPorts(
    tx,
    portRows(
      by,
      manifest.ports.filter(({ reused }) => !reused),
    ),
  );
  await registerReused(tx, by, manifest);
  await upsertConsoles(tx, executionId, consoleRows(by, manifest.consoles));
  await upsertOperatorStatistics(tx, [
    ...new Map(statistics.map((s) => [`${s.operatorId}/${s.layer}`, { ...s, executionId }])).values(),
  ]);
  const committed = await commitToCache(tx, manifest, state, by, row);
  await recordReuse(tx, row, plan, manifest.reuse);
  await logStateChange(tx, { executionId, number: row.lastEventNumber, attempt, state, failure, now: now() });
  await addAuditEntry(tx, {
    actor: reporter.actor,
    action: "CompleteExecution",
    projectId: row.projectId,
    resource: `execution "${executionId}"`,
    detail: { state, attempt, failure: failure?.reason ?? null },
  });
  // C4: at last, because it locks ledger rows of objects that others let go of at the same moment.
  const freed = await letCacheGo(tx, executionId);
  return { row, cacheKeys: [...committed, ...freed] };
}

/** Registers the ports whose rows are another execution's, if a lookup of this execution found those. */
async function registerReused(tx: Queryable, by: ReportedBy, manifest: Manifest): Promise<void> {
  const ports = manifest.ports.flatMap((port) => (port.reused ? [reusedPort(by, port)] : []));
  if (ports.length === 0) return;
  const byId = new Map(ports.map((port) => [port.globalPortId, port]));
  for (const { globalPortId } of await registerReusedPorts(tx, [...byId.values()])) byId.delete(globalPortId);
  const [stranger] = byId.values();
  if (stranger) throw new OfferRefused({ ...stranger, why: NOT_FOUND_HERE });
}

/** Remembers the registered ports whose hashes the manifest names (C3); returns the keys that are there now. */
async function commitToCache(
  tx: Queryable,
  manifest: Manifest,
  state: TerminalState,
  by: ReportedBy,
  { trusted, epoch }: ExecutionRow,
): Promise<CacheKey[]> {
  if (manifest.cacheCommits.length === 0) return [];
  if (state !== "COMPLETED") throw refuse(`A ${state} execution has nothing to remember; leave cache_commits empty.`);
  // An executor of somebody who may only read the workflow may report what it likes of itself, and of nothing else.
  if (!trusted) return [];
  const { executionId } = by;
  const offered = new Set(manifest.cacheCommits);
  const registered = await listPorts(tx, executionId);
  const offers = registered.flatMap((port) => {
    if (!offered.has(port.subdagHash)) return [];
    const offer = portOffer(by, port.globalPortId, { reservation: null, computeMs: port.computeMs });
    return offer.subdagHash === port.subdagHash ? [{ ...offer, epoch, uri: port.uri }] : [];
  });
  const committed: CacheKey[] = [];
  for (const [i, { outcome, projectId, subdagHash }] of (await commitOffers(tx, offers)).entries()) {
    if (outcome === "REFUSED") throw new OfferRefused({ ...offers[i]!, why: NEVER_RESERVED });
    if (outcome === "COMMITTED") committed.push({ projectId, subdagHash });
    offered.delete(subdagHash);
  }
  await requireReserved(tx, executionId, [...offered]);
  return committed;
}

/** Hashes of which no port is registered are nobody's loss, but to offer what was never reserved is refused all the same. */
async function requireReserved(tx: Queryable, executionId: string, hashes: string[]): Promise<void> {
  if (hashes.length === 0) return;
  const reserved = new Set(await reservedHashes(tx, executionId));
  const stranger = hashes.find((hash) => !reserved.has(hash));
  if (stranger === undefined) return;
  throw new OfferRefused({
    executionId,
    globalPortId: "",
    subdagHash: stranger.slice(0, 80),
    uri: "",
    why: NEVER_RESERVED,
  });
}

/** Zero rows: one read tells a repeated report (C2) from a refused one. */
async function alreadyEnded(
  tx: Queryable,
  { executionId, attempt, lastSequence }: Manifest,
  reporter: Reporter,
  state: TerminalState,
  manifestDigest: string,
): Promise<ExecutionRow> {
  const row = await executionById(tx, executionId);
  if (!row) throw notFound(`execution "${executionId}"`);
  if (row.manifestDigest === manifestDigest) return row;
  if (reporter.epoch !== null && row.epoch !== reporter.epoch) throw staleLease(reporter.epoch, row.epoch);
  if (row.attempt !== attempt)
    throw refuse(`The manifest is of attempt ${attempt}; the execution is in ${row.attempt}.`);
  if (reporter.onStream && !isTerminal(row.state) && row.lastSequence !== lastSequence) {
    throw new AppError(
      "precondition",
      "UNEXPECTED_SEQUENCE",
      `The manifest ends at event ${lastSequence}, but event ${row.lastSequence} is the last one stored; send the rest first.`,
      { detail: { kind: "UnexpectedSequence", expected: row.lastSequence, received: lastSequence } },
    );
  }
  throw illegalTransition(row.state, state);
}
