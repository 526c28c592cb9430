// Runs one pass over a region: its steps one after the other, with states, figures and ports told as they happen.
//
// G1  A port is registered after its file is whole (object-store.ts).
// G2  An operator is COMPLETED once the last step that computes it has ended.
import { ConsoleMessage_Level, RunState } from "../../contract/postern/v1/execution.js";
import { globalPortId, operatorKey, type PhysicalPlan, parseGlobalPortId, type Region } from "../../core/plan.js";
import { quoteName } from "../../core/sql-text.js";
import type { UserCodeHost } from "../user-code/host.js";
import type { Pass } from "./agenda.js";
import { costOf, type PortCosts, type TableCosts, totalMs } from "./compute-cost.js";
import type { ConsoleLog } from "./console-log.js";
import { checkDataset, datasetPath } from "./datasets.js";
import type { Engine } from "./duckdb.js";
import { failureOf, failureToWire, queryFailure, RunFailure, RunStopped } from "./failure.js";
import { membersOf, planSteps, type Step } from "./fused-query.js";
import type { ObjectStore } from "./object-store.js";
import type { OperatorBoard } from "./operator-board.js";
import type { Report } from "./report.js";
import { writePort } from "./result-writer.js";
import type { RunControl, StopSignals } from "./run-control.js";
import type { RunPorts } from "./run-ports.js";
import { readParquet } from "./sql-text.js";
import { runUserFunction } from "./user-function.js";

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
  control: Pick<RunControl, "stop" | "kill" | "lane" | "rest" | "wait">;
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

/** What a step works with. */
interface StepDeps extends Omit<RegionRunDeps, "engine"> {
  engine: Engine;
  tables: TableCosts;
  /** Milliseconds of work in this step so far: rests do not count. */
  busyMs(): number;
  rest(): Promise<void>;
}

async function runStep(deps: Omit<StepDeps, "busyMs" | "rest">, step: Step, signals: StopSignals): Promise<void> {
  const { board, elapsed, control } = deps;
  const signal = signals.stop;
  await board.begin(step.members);
  const startedAt = elapsed();
  let restedMs = 0;
  const stepDeps: StepDeps = {
    ...deps,
    busyMs: () => elapsed() - startedAt - restedMs,
    async rest() {
      const from = elapsed();
      await control.rest(signal);
      restedMs += elapsed() - from;
    },
  };
  try {
    switch (step.kind) {
      case "write":
        await runWrite(stepDeps, step, signal);
        break;
      case "keep":
        await runKeep(stepDeps, step, signal);
        break;
      case "call":
        await runCall(stepDeps, step, signals);
        break;
    }
    await dropTables(deps.engine, step.drops, signal);
  } catch (error) {
    throw (await damagedInput(deps, step, error, signal)) ?? error;
  } finally {
    board.spent(step.members, stepDeps.busyMs());
  }
}

/** A query that fails over damaged rows of another execution says so, not that its operator is at fault. */
async function damagedInput(
  { engine, ports, costs }: Pick<StepDeps, "engine" | "ports" | "costs">,
  { operator, reads }: Step,
  error: unknown,
  signal: AbortSignal,
): Promise<RunFailure | undefined> {
  if (!(error instanceof RunFailure) || error.reason !== "QUERY_FAILED") return undefined;
  const connection = engine.take();
  try {
    for (const id of reads.ports) {
      const key = parseGlobalPortId(id);
      if (!key || costs.has(id)) continue;
      const readAll = `SELECT max(hash(COLUMNS(*))) FROM (${readParquet(ports.pathOf(key))})`;
      const damage = await connection.run(readAll, { signal }).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      if (damage instanceof RunStopped) return undefined;
      if (damage !== undefined)
        return new RunFailure(
          "INPUT_UNREADABLE",
          `Operator ${operator.operatorId} cannot read the stored rows of ${key.operatorId}, which an earlier run left at ${ports.storedOf(id)?.uri}: they are damaged. Run again with the cache mode REFRESH, or invalidate them.`,
          { operatorId: operator.operatorId, detail: error.detail, cause: error },
        );
    }
    return undefined;
  } finally {
    connection.release();
  }
}

const operatorIdsOf = (step: Step): string[] => step.members.map((key) => key.slice(0, key.lastIndexOf("/")));

async function runWrite(deps: StepDeps, step: Extract<Step, { kind: "write" }>, signal: AbortSignal): Promise<void> {
  const { board, busyMs, engine, store, ports, report } = deps;
  const connection = engine.take();
  try {
    const query = { sql: step.sql, operatorIds: operatorIdsOf(step) };
    const onProgress = (share: number) => board.progress(step.members, { share, busyMs: busyMs() });
    const written = await writePort({ connection, store }, step.port.key, query, { signal, onProgress });
    board.counted(operatorKey(step.operator), written.rowCount, written.byteCount);
    const id = globalPortId(step.port.key);
    const cost = costOf(step, busyMs(), deps.tables);
    const computeMs = totalMs(cost, deps.costs, (read) => ports.storedOf(read)?.computeMs ?? 0n);
    deps.costs.set(id, cost);
    await report.port(ports.add(step.port, written, { computeMs, reservation: deps.reservationOf(id) }));
  } finally {
    connection.release();
  }
}

async function runKeep(deps: StepDeps, step: Extract<Step, { kind: "keep" }>, signal: AbortSignal): Promise<void> {
  const { board, busyMs, engine } = deps;
  const connection = engine.take();
  try {
    const onProgress = (share: number) => board.progress(step.members, { share, busyMs: busyMs() });
    const create = `CREATE TABLE ${quoteName(step.table)} AS\n${step.sql}`;
    const [rows] = await connection.run(create, { signal, onProgress });
    board.counted(operatorKey(step.operator), BigInt(String(rows ?? 0)));
    deps.tables.set(step.table, costOf(step, busyMs(), deps.tables));
  } catch (error) {
    throw queryFailure(error, { operatorIds: operatorIdsOf(step) });
  } finally {
    connection.release();
  }
}

async function runCall(
  deps: StepDeps,
  step: Extract<Step, { kind: "call" }>,
  { stop, kill }: StopSignals,
): Promise<void> {
  const { board, busyMs, report, consoleLog, rest } = deps;
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
      rest,
      onLine: say,
      onRows: (rows) => board.progress([operatorKey(step.operator)], { ...rows, busyMs: busyMs() }),
    },
    step,
  );
  deps.tables.set(step.table, costOf(step, busyMs(), deps.tables));
  board.counted(operatorKey(step.operator), counts.outputRows);
  const [source, ...more] = deps.plan.links.filter((link) => operatorKey(link.to) === operatorKey(step.operator));
  if (source && more.length === 0) board.counted(operatorKey(source.from), counts.inputRows);
}

const LEVELS = {
  output: ConsoleMessage_Level.LEVEL_OUTPUT,
  error: ConsoleMessage_Level.LEVEL_ERROR,
  note: ConsoleMessage_Level.LEVEL_NOTE,
} as const;

async function dropTables(engine: Engine, tables: string[], signal: AbortSignal): Promise<void> {
  if (tables.length === 0) return;
  const connection = engine.take();
  try {
    for (const table of tables) await connection.run(`DROP TABLE ${quoteName(table)}`, { signal });
  } finally {
    connection.release();
  }
}
