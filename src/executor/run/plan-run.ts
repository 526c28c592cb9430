// Runs a plan: checks it, opens what it needs, runs its regions level by level, and reports how it ended. It never
// rejects: whatever goes wrong is data in the manifest.
//
// R1  Regions of a level start after every region of lower levels has ended; at most two run side by side.
// R2  The first failure stops the regions beside it; it, not its consequences, is what the manifest tells.
// R3  What was opened is closed and what was not published is removed, however the run ends.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type ExecutionSpec, ExecutionState, type Manifest } from "../../contract/postern/v1/execution.js";
import { AppError } from "../../core/app-error.js";
import type { PhysicalPlan, Region } from "../../core/plan.js";
import type { Logger } from "../../process/log.js";
import { physicalPlanFromWire, planDigest } from "../../rpc/plan-codec.js";
import type { UserCodeHost } from "../user-code/host.js";
import { createConsoleLog } from "./console-log.js";
import { datasetPaths } from "./datasets.js";
import { type Engine, openEngine } from "./duckdb.js";
import { failureOf, RunFailure, RunStopped, throwIfStopped } from "./failure.js";
import { manifestOf, NOTHING, type RunOutcome, type RunProducts } from "./manifest.js";
import { type ObjectStore, openObjectStore } from "./object-store.js";
import { createOperatorBoard } from "./operator-board.js";
import { type RegionRunDeps, runRegion } from "./region-run.js";
import type { Report } from "./report.js";
import type { RunControl } from "./run-control.js";
import { openRunPorts } from "./run-ports.js";
import { createStatisticsLog } from "./statistics-log.js";

export interface PlanRunDeps {
  spec: ExecutionSpec;
  report: Report;
  host: UserCodeHost;
  memoryLimitMb: number;
  threads: number;
  /** For this execution alone; the caller removes it. */
  workDirectory: string;
  now: () => Date;
  elapsed: () => number;
  log: Logger;
  control: RunControl;
}

const REGIONS_AT_ONCE = 2;

/** Resolves with the manifest; rejects only when the outbox was closed, and then nobody waits for one. */
export async function runPlan(deps: PlanRunDeps): Promise<Manifest> {
  const { spec, report, control } = deps;
  await report.executionState(ExecutionState.EXECUTION_STATE_RUNNING);
  let outcome: RunOutcome;
  let products = NOTHING;
  try {
    const plan = checkedPlan(spec);
    const store = openObjectStore(spec.resultPrefix);
    await store.prepare();
    throwIfStopped(control.stop);
    ({ outcome, products } = await runInStore(deps, plan, store));
  } catch (error) {
    outcome = outcomeOf(deps, error);
  }
  await report.finish();
  await control.finish();
  if (outcome.kind === "completed") await report.executionState(ExecutionState.EXECUTION_STATE_COMPLETING);
  return manifestOf(spec, outcome, { ...products, dropped: report.dropped() });
}

function outcomeOf({ log }: PlanRunDeps, error: unknown): RunOutcome {
  if (error instanceof RunStopped) return { kind: "stopped" };
  const failure = failureOf(error);
  log.warn({ err: failure.cause ?? failure, reason: failure.reason, operatorId: failure.operatorId }, failure.message);
  return { kind: "failed", failure };
}

/** The plan the server issued, or why this executor cannot run it. */
function checkedPlan(spec: ExecutionSpec): PhysicalPlan {
  if (!spec.plan) throw new RunFailure("PLAN_INVALID", "The execution came without a plan; run it again.");
  let plan: PhysicalPlan;
  try {
    plan = physicalPlanFromWire(spec.plan);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    throw new RunFailure("PLAN_INVALID", error.message, { cause: error });
  }
  if (planDigest(plan) !== spec.planDigest)
    throw new RunFailure(
      "PLAN_INVALID",
      "The plan is not the one its digest names: it was changed on its way. Run it again.",
    );
  return plan;
}

async function runInStore(
  deps: PlanRunDeps,
  plan: PhysicalPlan,
  store: ObjectStore,
): Promise<{ outcome: RunOutcome; products: Omit<RunProducts, "dropped"> }> {
  const { spec, report, now } = deps;
  const consoleLog = createConsoleLog({ store, now });
  const statisticsLog = createStatisticsLog({ store, now });
  const board = createOperatorBoard({ plan, report, log: statisticsLog });
  const ports = await openRunPorts(store, spec.alreadyMaterialized);
  let engine: Engine | undefined;
  let outcome: RunOutcome = { kind: "completed" };
  let products = NOTHING;
  try {
    engine = await engineFor(deps, plan, store, ports.readablePaths());
    await runLevels({ ...deps, plan, engine, store, ports, board, consoleLog });
  } catch (error) {
    outcome = outcomeOf(deps, error);
  } finally {
    engine?.close();
  }
  try {
    const consoles = await consoleLog.publish();
    const statisticsUri = await statisticsLog.publish();
    products = { ...NOTHING, consoles, statisticsUri };
  } catch (error) {
    // A run that failed for want of room fails for that reason, not because its logs found none either.
    if (outcome.kind === "completed") outcome = outcomeOf(deps, error);
    else deps.log.warn({ err: error }, "the logs of a failed run could not be stored");
  } finally {
    await consoleLog.discard();
    await statisticsLog.discard();
  }
  const cacheableHashes = plan.operators
    .flatMap((o) => o.outputs)
    .filter((port) => port.subdagHash !== "" && ports.isThere(port.key))
    .map((port) => port.subdagHash);
  return { outcome, products: { ...products, ports: ports.written(), statistics: board.figures(), cacheableHashes } };
}

async function engineFor(
  deps: PlanRunDeps,
  plan: PhysicalPlan,
  store: ObjectStore,
  earlier: string[],
): Promise<Engine> {
  const temporaryDirectory = join(deps.workDirectory, "spill");
  await mkdir(temporaryDirectory, { recursive: true, mode: 0o700 });
  return openEngine({
    memoryLimitMb: deps.memoryLimitMb,
    threads: deps.threads,
    temporaryDirectory,
    readablePaths: [...datasetPaths(plan), ...earlier],
    resultDirectory: store.directory,
  });
}

async function runLevels(deps: RegionRunDeps): Promise<void> {
  const levels = [...new Set(deps.plan.regions.map((region) => region.level))].toSorted((a, b) => a - b);
  for (const level of levels)
    await runLevel(
      deps,
      deps.plan.regions.filter((region) => region.level === level),
    );
}

/** R1, R2. */
async function runLevel(deps: RegionRunDeps, regions: Region[]): Promise<void> {
  const { control } = deps;
  const failed = new AbortController();
  const stop = AbortSignal.any([control.stop, failed.signal]);
  const kill = AbortSignal.any([control.kill, failed.signal]);
  const queue = [...regions];
  let first: unknown;
  const worker = async () => {
    for (let region = queue.shift(); region && !stop.aborted; region = queue.shift())
      await runRegion(deps, region, { stop, kill }).catch((error: unknown) => {
        if (!failed.signal.aborted) first = error;
        failed.abort();
      });
  };
  const width = Math.min(REGIONS_AT_ONCE, regions.length);
  await Promise.all(Array.from({ length: width }, () => control.lane(worker)));
  if (first !== undefined) throw first;
  throwIfStopped(control.stop);
}
