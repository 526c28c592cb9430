// Runs a plan: checks it, opens what it needs, runs what must be run of its regions, and reports how it ended. It never
// rejects: whatever goes wrong is data in the manifest.
//
// R1  A region starts when what it must read is there; at most two run side by side (run-regions.ts).
// R2  The first failure stops the regions beside it; it, not its consequences, is what the manifest tells.
// R3  What was opened is closed and what was not published is removed, however the run ends. Nothing is opened for a run
//     whose ports are all there.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type ExecutionSpec, ExecutionState, type Manifest } from "../../contract/postern/v1/execution.js";
import { AppError } from "../../core/app-error.js";
import type { PhysicalPlan } from "../../core/plan.js";
import type { Logger } from "../../process/log.js";
import { physicalPlanFromWire, planDigest } from "../../rpc/plan-codec.js";
import type { PortCache } from "../cache/port-cache.js";
import type { UserCodeHost } from "../user-code/host.js";
import { portGraph } from "./agenda.js";
import { createConsoleLog } from "./console-log.js";
import { datasetPaths } from "./datasets.js";
import { type Engine, openEngine } from "./duckdb.js";
import { failureOf, RunFailure, RunStopped, throwIfStopped } from "./failure.js";
import { manifestOf, NOTHING, type RunOutcome, type RunProducts } from "./manifest.js";
import { type ObjectStore, openObjectStore } from "./object-store.js";
import { createOperatorBoard } from "./operator-board.js";
import { createPortSources } from "./port-sources.js";
import type { Report } from "./report.js";
import type { RunControl } from "./run-control.js";
import { openRunPorts } from "./run-ports.js";
import { createBell, runRegions } from "./run-regions.js";
import { createStatisticsLog } from "./statistics-log.js";

export interface PlanRunDeps {
  spec: ExecutionSpec;
  report: Report;
  host: UserCodeHost;
  memoryLimitMb: number;
  /** Most rows on disk for want of memory, in megabytes; undefined: nine tenths of what is free. */
  tempMaxMb?: number | undefined;
  threads: number;
  /** For this execution alone; the caller removes it. */
  workDirectory: string;
  now: () => Date;
  elapsed: () => number;
  log: Logger;
  control: RunControl;
  /** The caller closes it. */
  cache: PortCache;
}

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
  const { spec, report, now, cache, control } = deps;
  const consoleLog = createConsoleLog({ store, now });
  const statisticsLog = createStatisticsLog({ store, now });
  const board = createOperatorBoard({ plan, report, log: statisticsLog, usual: spec.usual });
  const graph = portGraph(plan);
  const bell = createBell();
  const ports = await openRunPorts(plan, store, spec.alreadyMaterialized);
  const sources = createPortSources({ graph, spec, ports, cache, report, stop: control.stop, onNews: bell.ring });
  const { reservationOf } = sources;
  let opening: Promise<Engine> | undefined;
  const engine = () => {
    opening ??= engineFor(deps, plan, store, ports.readablePaths());
    return opening;
  };
  let outcome: RunOutcome = { kind: "completed" };
  let products = NOTHING;
  try {
    const places = { plan, graph, sources, bell, engine, store, ports, costs: new Map(), reservationOf };
    await runRegions({ ...deps, ...places, board, consoleLog });
  } catch (error) {
    outcome = outcomeOf(deps, error);
  } finally {
    await (await opening?.catch(() => undefined))?.close(); // why it could not be opened is the outcome already
    await ports.giveBack();
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
  const told = ports.told();
  const reservedHashes = told.filter(({ reservation }) => reservation !== 0n).map(({ subdagHash }) => subdagHash);
  const reuse = sources.decisions();
  return { outcome, products: { ...products, ports: told, statistics: board.figures(), reservedHashes, reuse } };
}

async function engineFor(deps: PlanRunDeps, plan: PhysicalPlan, store: ObjectStore, stored: string[]): Promise<Engine> {
  const temporaryDirectory = join(deps.workDirectory, "spill");
  const profileDirectory = join(deps.workDirectory, "profiles");
  for (const directory of [temporaryDirectory, profileDirectory])
    await mkdir(directory, { recursive: true, mode: 0o700 });
  return openEngine({
    memoryLimitMb: deps.memoryLimitMb,
    tempMaxMb: deps.tempMaxMb,
    threads: deps.threads,
    temporaryDirectory,
    profileDirectory,
    readablePaths: [...datasetPaths(plan), ...stored],
    resultDirectory: store.directory,
  });
}
