// The end of an execution: the manifest, stored whole in one transaction or not at all.
//
// C1  State, ports, consoles, statistics, cache entries, log and audit row commit together (S10).
// C2  The first manifest wins; the same one again is a no-op, another one is refused.
// C3  What enters the cache is what the server's own plan says of the port, never what the report says of it.
import { Manifest } from "../../contract/postern/v1/execution.js";
import { AppError, illegalTransition, notFound, staleLease } from "../../core/app-error.js";
import { sha256Hex } from "../../core/canonical-json.js";
import { isTerminal, type TerminalState } from "../../core/execution-state.js";
import { fingerprints } from "../../core/fingerprint.js";
import type { PhysicalPlan } from "../../core/plan.js";
import { executionStateFromWire } from "../../rpc/state-codec.js";
import type { Database, Queryable } from "../database/database.js";
import type { Hints } from "../notifications.js";
import { addAuditEntry } from "../repositories/audit-log.js";
import { upsertCacheEntries } from "../repositories/cache-entries.js";
import { endExecution } from "../repositories/execution-reports.js";
import { type ExecutionRow, executionById } from "../repositories/executions.js";
import { upsertOperatorStatistics } from "../repositories/operator-statistics.js";
import { listPorts, upsertConsoles, upsertPorts } from "../repositories/ports.js";
import { logStateChange } from "./execution-log.js";
import { storedPlan } from "./execution-plan.js";
import { failureFromWire, statisticsFromWire } from "./execution-wire.js";
import { consoleRows, outputPorts, portRows } from "./port-registration.js";
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
  const row = await deps.db.transaction((tx) => storeManifest(deps, tx, manifest, reporter));
  deps.hints.executionChanged(row.id);
  if (!reporter.onStream) deps.hints.executorConcerned(row.id);
  return row;
}

async function storeManifest(
  { resultRoot, now }: CompletionDeps,
  tx: Queryable,
  manifest: Manifest,
  reporter: Reporter,
): Promise<ExecutionRow> {
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
  if (!row) return alreadyEnded(tx, manifest, reporter, state, manifestDigest);

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
  await upsertPorts(tx, portRows(by, manifest.ports));
  await upsertConsoles(tx, executionId, consoleRows(by, manifest.consoles));
  await upsertOperatorStatistics(tx, [
    ...new Map(statistics.map((s) => [`${s.operatorId}/${s.layer}`, { ...s, executionId }])).values(),
  ]);
  await commitToCache(tx, manifest, state, { ...by, trusted: row.trusted });
  await logStateChange(tx, { executionId, number: row.lastEventNumber, attempt, state, failure, now: now() });
  await addAuditEntry(tx, {
    actor: reporter.actor,
    action: "CompleteExecution",
    projectId: row.projectId,
    resource: `execution "${executionId}"`,
    detail: { state, attempt, failure: failure?.reason ?? null },
  });
  return row;
}

/** Remembers the ports the manifest offers, if the plan says they can be and they are registered (C3). */
async function commitToCache(
  tx: Queryable,
  manifest: Manifest,
  state: TerminalState,
  by: { executionId: string; plan: PhysicalPlan; trusted: boolean },
): Promise<void> {
  if (manifest.cacheCommits.length === 0) return;
  if (state !== "COMPLETED") throw refuse(`A ${state} execution has nothing to remember; leave cache_commits empty.`);
  const offered = new Set(manifest.cacheCommits);
  const known = new Set([...outputPorts(by.plan).values()].map((port) => port.subdagHash).filter(Boolean));
  for (const hash of offered) {
    if (!known.has(hash)) throw refuse(`No port of the plan has the subdag hash ${JSON.stringify(hash.slice(0, 80))}.`);
  }
  // An executor of somebody who may only read the workflow may report what it likes of itself, and of nothing else.
  if (!by.trusted) return;
  const prints = fingerprints(by.plan);
  const registered = await listPorts(tx, by.executionId);
  await upsertCacheEntries(
    tx,
    by.executionId,
    registered.flatMap(({ globalPortId, subdagHash }) => {
      const print = prints.get(globalPortId);
      return print && "hash" in print && offered.has(subdagHash) && print.hash === subdagHash
        ? [{ globalPortId, subdagHash, fingerprintJson: print.json }]
        : [];
    }),
  );
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
