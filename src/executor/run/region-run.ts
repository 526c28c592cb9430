// Runs one region: its steps one after the other, with states, figures and ports told as they happen.
//
// G1  A port is registered after its file is whole (object-store.ts).
// G2  An operator is COMPLETED once the last step that computes it has ended.
import { ConsoleMessage_Level, RunState } from "../../contract/postern/v1/execution.js";
import { operatorKey, type PhysicalPlan, type Region } from "../../core/plan.js";
import { quoteName } from "../../core/sql-text.js";
import type { UserCodeHost } from "../user-code/host.js";
import type { ConsoleLog } from "./console-log.js";
import { checkDataset, datasetPath } from "./datasets.js";
import type { Engine } from "./duckdb.js";
import { failureOf, failureToWire, queryFailure, RunStopped } from "./failure.js";
import { materializedPorts, membersOf, planSteps, type Step } from "./fused-query.js";
import type { ObjectStore } from "./object-store.js";
import type { OperatorBoard } from "./operator-board.js";
import type { Report } from "./report.js";
import { writePort } from "./result-writer.js";
import type { RunControl, StopSignals } from "./run-control.js";
import type { RunPorts } from "./run-ports.js";
import { runUserFunction } from "./user-function.js";

export interface RegionRunDeps {
  plan: PhysicalPlan;
  engine: Engine;
  store: ObjectStore;
  ports: RunPorts;
  board: OperatorBoard;
  report: Report;
  consoleLog: ConsoleLog;
  host: UserCodeHost;
  control: Pick<RunControl, "stop" | "kill" | "lane" | "rest">;
  workDirectory: string;
  /** Milliseconds of a clock that only goes forward. */
  elapsed: () => number;
}

/** Computes what the region must write; rejects with RunFailure or RunStopped after telling whom it concerns. */
export async function runRegion(deps: RegionRunDeps, region: Region, signals: StopSignals): Promise<void> {
  const { report, plan, ports, board, control } = deps;
  await control.rest(signals.stop);
  const members = membersOf(plan, region);
  for (const port of materializedPorts(plan, region)) {
    const rows = ports.rowsOf(port.key);
    if (rows !== undefined) board.counted(operatorKey(port.key), rows);
  }
  const steps = stepsOf(deps, region);
  const computed = new Set(steps.flatMap((step) => step.members));
  try {
    await report.regionState(region.id, steps.length > 0 ? RunState.RUN_STATE_RUNNING : fromCache);
    for (const member of members)
      if (!computed.has(operatorKey(member))) await board.end(operatorKey(member), fromCache);
    if (steps.length === 0) return;
    for (const member of members) if (computed.has(operatorKey(member))) await checkDataset(member);
    for (const [n, step] of steps.entries()) {
      await control.rest(signals.stop);
      await runStep(deps, step, signals);
      const later = new Set(steps.slice(n + 1).flatMap((other) => other.members));
      for (const key of step.members) if (!later.has(key)) await board.end(key, RunState.RUN_STATE_COMPLETED);
    }
    await report.regionState(region.id, RunState.RUN_STATE_COMPLETED);
  } catch (error) {
    await tellEnd(deps, region, computed, error);
    throw error;
  }
}

const fromCache = RunState.RUN_STATE_COMPLETED_FROM_CACHE;

function stepsOf({ plan, ports }: RegionRunDeps, region: Region): Step[] {
  if (region.cached && materializedPorts(plan, region).every((port) => ports.isThere(port.key))) return [];
  const operatorOf = (uri: string) =>
    plan.operators.find(({ implementation: i }) => i.kind === "scan" && i.scan.uri === uri);
  return planSteps({
    plan,
    region,
    pathOf: ports.pathOf,
    isThere: ports.isThere,
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

async function runStep(deps: RegionRunDeps, step: Step, signals: StopSignals): Promise<void> {
  const { board, elapsed } = deps;
  const signal = signals.stop;
  await board.begin(step.members);
  const startedAt = elapsed();
  try {
    switch (step.kind) {
      case "write":
        await runWrite(deps, step, signal, startedAt);
        break;
      case "keep":
        await runKeep(deps, step, signal, startedAt);
        break;
      case "call":
        await runCall(deps, step, signals, startedAt);
        break;
    }
    await dropTables(deps, step.drops, signal);
  } finally {
    board.spent(step.members, elapsed() - startedAt);
  }
}

const operatorIdsOf = (step: Step): string[] => step.members.map((key) => key.slice(0, key.lastIndexOf("/")));

async function runWrite(
  deps: RegionRunDeps,
  step: Extract<Step, { kind: "write" }>,
  signal: AbortSignal,
  startedAt: number,
): Promise<void> {
  const { board, elapsed, engine, store, ports, report } = deps;
  const connection = engine.take();
  try {
    const query = { sql: step.sql, operatorIds: operatorIdsOf(step) };
    const onProgress = (share: number) => board.progress(step.members, { share, busyMs: elapsed() - startedAt });
    const written = await writePort({ connection, store }, step.port.key, query, { signal, onProgress });
    board.counted(operatorKey(step.operator), written.rowCount, written.byteCount);
    await report.port(ports.add(step.port, written));
  } finally {
    connection.release();
  }
}

async function runKeep(
  deps: RegionRunDeps,
  step: Extract<Step, { kind: "keep" }>,
  signal: AbortSignal,
  startedAt: number,
): Promise<void> {
  const { board, elapsed, engine } = deps;
  const connection = engine.take();
  try {
    const onProgress = (share: number) => board.progress(step.members, { share, busyMs: elapsed() - startedAt });
    const create = `CREATE TABLE ${quoteName(step.table)} AS\n${step.sql}`;
    const [rows] = await connection.run(create, { signal, onProgress });
    board.counted(operatorKey(step.operator), BigInt(String(rows ?? 0)));
  } catch (error) {
    throw queryFailure(error, { operatorIds: operatorIdsOf(step) });
  } finally {
    connection.release();
  }
}

async function runCall(
  deps: RegionRunDeps,
  step: Extract<Step, { kind: "call" }>,
  { stop, kill }: StopSignals,
  startedAt: number,
): Promise<void> {
  const { board, elapsed, report, consoleLog, control } = deps;
  const { operatorId } = step.operator;
  const say = (level: "output" | "error" | "note", text: string) => {
    report.console(operatorId, LEVELS[level], text);
    consoleLog.add(operatorId, level, text);
  };
  const { isolated, privateFiles } = deps.host.sandbox;
  if (step.userFunction.language === "python" && !(isolated && privateFiles))
    say(
      "note",
      `This host cannot hide ${isolated ? "files" : "files, network and processes"} from Python: the function sees what the executor's user sees.`,
    );
  const counts = await runUserFunction(
    {
      ...deps,
      stop,
      kill,
      rest: () => control.rest(stop),
      onLine: say,
      onRows: (rows) => board.progress([operatorKey(step.operator)], { ...rows, busyMs: elapsed() - startedAt }),
    },
    step,
  );
  board.counted(operatorKey(step.operator), counts.outputRows);
  const [source, ...more] = deps.plan.links.filter((link) => operatorKey(link.to) === operatorKey(step.operator));
  if (source && more.length === 0) board.counted(operatorKey(source.from), counts.inputRows);
}

const LEVELS = {
  output: ConsoleMessage_Level.LEVEL_OUTPUT,
  error: ConsoleMessage_Level.LEVEL_ERROR,
  note: ConsoleMessage_Level.LEVEL_NOTE,
} as const;

async function dropTables({ engine }: RegionRunDeps, tables: string[], signal: AbortSignal): Promise<void> {
  if (tables.length === 0) return;
  const connection = engine.take();
  try {
    for (const table of tables) await connection.run(`DROP TABLE ${quoteName(table)}`, { signal });
  } finally {
    connection.release();
  }
}
