// The last word of a run.
import {
  type DroppedEvents,
  type ExecutionSpec,
  ExecutionState,
  type Manifest,
  type OperatorStatistics,
  type PortReuse,
} from "../../contract/postern/v1/execution.js";
import type { ConsoleResult, PortResult } from "../../contract/postern/v1/port_registry.js";
import { MANIFEST_BYTES, sizeOfManifest } from "../../executor-session/manifest-size.js";
import { failureOf, failureToWire, RunFailure } from "./failure.js";

/** How a run ended. */
export type RunOutcome = { kind: "completed" } | { kind: "failed"; failure: RunFailure } | { kind: "stopped" };

export interface RunProducts {
  ports: PortResult[];
  consoles: ConsoleResult[];
  statistics: OperatorStatistics[];
  /** Subdag hashes of the ports that were written by a reservation of the cache. */
  reservedHashes: string[];
  /** What became of the ports the cache was asked for. */
  reuse: PortReuse[];
  /** Empty when none was written. */
  statisticsUri: string;
  dropped: DroppedEvents;
}

export const NOTHING: Omit<RunProducts, "dropped"> = {
  ports: [],
  consoles: [],
  statistics: [],
  reservedHashes: [],
  reuse: [],
  statisticsUri: "",
};

const STATES = {
  completed: ExecutionState.EXECUTION_STATE_COMPLETED,
  failed: ExecutionState.EXECUTION_STATE_FAILED,
  stopped: ExecutionState.EXECUTION_STATE_KILLED,
} as const;

/** `last_sequence` is filled in when it is sent: only then is it known (executor-session). */
export function manifestOf(spec: ExecutionSpec, outcome: RunOutcome, products: RunProducts): Manifest {
  const manifest: Manifest = {
    executionId: spec.executionId,
    attempt: spec.attempt,
    state: STATES[outcome.kind],
    failure: outcome.kind === "failed" ? failureToWire(outcome.failure) : undefined,
    ports: products.ports,
    consoles: products.consoles,
    statistics: products.statistics,
    // Each was offered when it was written; naming them again costs nothing, and what an unfinished run leaves is its
    // next try's.
    cacheCommits: outcome.kind === "completed" ? [...new Set(products.reservedHashes)] : [],
    logUri: "",
    statisticsUri: products.statisticsUri,
    lastSequence: 0n,
    dropped: products.dropped,
    reuse: products.reuse,
  };
  return thatFits(manifest) ?? failedManifest(spec, TOO_LARGE, products.dropped);
}

/**
 * First without the ports, which events have told already, then without what became of the cache's, then without the
 * figures, which are in a file of the run.
 */
const thatFits = (manifest: Manifest): Manifest | undefined =>
  [
    manifest,
    { ...manifest, ports: [] },
    { ...manifest, ports: [], reuse: [] },
    { ...manifest, ports: [], reuse: [], statistics: [] },
  ].find((one) => sizeOfManifest(one) <= MANIFEST_BYTES);

const TOO_LARGE = new RunFailure(
  "PLAN_INVALID",
  "The report of the run is too large for one message: the plan has too many operators; cut the workflow in two.",
);

/** The report of a run that came to no manifest of its own. */
export const failedManifest = (spec: ExecutionSpec, error: unknown, dropped: DroppedEvents): Manifest =>
  manifestOf(spec, { kind: "failed", failure: failureOf(error) }, { ...NOTHING, dropped });
