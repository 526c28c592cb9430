// Runs one pass over a region: its steps one after the other, with states, figures and ports told as they happen.
//
// G1  An operator is COMPLETED once the last step that computes it has ended.
// G2  When a step fails the operator at fault is FAILED, and what else was running in the region KILLED.
import { RunState } from "../../contract/postern/v1/execution.js";
import { globalPortId, operatorKey, type PhysicalPlan, type Region } from "../../core/plan.js";
import type { UserCodeHost } from "../user-code/host.js";
import type { Pass } from "./agenda.js";
import type { PortCosts, TableCosts } from "./compute-cost.js";
import type { ConsoleLog } from "./console-log.js";
import { checkDataset, datasetPath } from "./datasets.js";
import type { Engine } from "./duckdb.js";
import { failureOf, failureToWire, RunStopped } from "./failure.js";
import { planSteps } from "./fused-query.js";
import type { ObjectStore } from "./object-store.js";
import type { OperatorBoard } from "./operator-board.js";
import { membersOf } from "./region-cuts.js";
import type { Report } from "./report.js";
import type { RunControl, StopSignals } from "./run-control.js";
import type { RunPorts } from "./run-ports.js";
import type { Step } from "./step.js";
import { runStep } from "./step-run.js";

export interface RegionRunDeps {
  plan: PhysicalPlan;
  /** Opened when it is first asked for. */
  engine(): Promise<Engine>;
  store: ObjectStore;
  ports: RunPorts;
  costs: PortCosts;
  /** Number of the cache's reservation a port fulfils; 0 for none. */
  reservationOf(globalPortId: string): bigint;
  board: OperatorBoard;
  report: Report;
  consoleLog: ConsoleLog;
  host: UserCodeHost;
  control: RunControl;
  workDirectory: string;
  /** Milliseconds of a clock that only goes forward. */
  elapsed: () => number;
}

/** What one pass over a region is to do. */
export interface RegionPass extends Pass {
  /** No pass went over the region before. */
  isFirst: boolean;
  /** True for operators that a later pass may have to run again. */
  goesOn(key: string): boolean;
}

/** Writes the ports of a pass; rejects with RunFailure or RunStopped after telling whom it concerns. */
export async function runPass(deps: RegionRunDeps, pass: RegionPass, signals: StopSignals): Promise<void> {
  const { report, board, control } = deps;
  const { region } = pass;
  await control.rest(signals.stop);
  const steps = stepsOf(deps, pass);
  const computed = new Set(steps.flatMap((step) => step.members));
  try {
    if (pass.isFirst) await report.regionState(region.id, RunState.RUN_STATE_RUNNING);
    for (const member of membersOf(deps.plan, region))
      if (computed.has(operatorKey(member))) await checkDataset(member);
    const engine = await deps.engine();
    const tables: TableCosts = new Map();
    for (const [n, step] of steps.entries()) {
      await control.rest(signals.stop);
      await runStep({ ...deps, engine, tables }, step, signals);
      const later = new Set(steps.slice(n + 1).flatMap((other) => other.members));
      for (const key of step.members)
        if (!later.has(key) && !pass.goesOn(key)) await board.end(key, RunState.RUN_STATE_COMPLETED);
    }
  } catch (error) {
    await tellEnd(deps, region, computed, error);
    throw error;
  }
}

function stepsOf({ plan, ports }: RegionRunDeps, { region, write }: Pass): Step[] {
  const operatorOf = (uri: string) =>
    plan.operators.find(({ implementation: i }) => i.kind === "scan" && i.scan.uri === uri);
  return planSteps({
    plan,
    region,
    pathOf: ports.pathOf,
    isThere: ports.isThere,
    isToWrite: (port) => write.has(globalPortId(port)),
    datasetPath(uri) {
      const operator = operatorOf(uri);
      if (operator?.implementation.kind !== "scan") throw new Error(`No operator scans ${uri}.`);
      return datasetPath(operator.implementation.scan, operator.operatorId);
    },
  });
}

/** The operator at fault is FAILED; whatever else was running in the region was stopped. */
async function tellEnd(deps: RegionRunDeps, region: Region, computed: Set<string>, error: unknown): Promise<void> {
  const stopped = error instanceof RunStopped;
  const failure = stopped ? undefined : failureOf(error);
  for (const key of computed) {
    const atFault = failure !== undefined && key.startsWith(`${failure.operatorId}/`);
    if (!atFault && !deps.board.running().includes(key)) continue;
    await deps.board.end(
      key,
      atFault ? RunState.RUN_STATE_FAILED : RunState.RUN_STATE_KILLED,
      atFault ? failureToWire(failure) : undefined,
    );
  }
  await deps.report.regionState(region.id, stopped ? RunState.RUN_STATE_KILLED : RunState.RUN_STATE_FAILED);
}
