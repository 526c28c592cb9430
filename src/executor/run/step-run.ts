// Runs one step of a pass over a region, and tells figures and ports as they come to be.
//
// X1  A port is registered after its file is whole (object-store.ts).
// X2  A query that is interrupted by a pause is begun anew afterwards: what it had written is gone by then.
// X3  While a query runs, its operators' rows are estimates from the share that is done; bytes are those of its file so far.
import { globalPortId, parseGlobalPortId } from "../../core/plan.js";
import { quoteName } from "../../core/sql-text.js";
import { runCalls } from "./call-run.js";
import { costOf, type TableCosts, totalMs } from "./compute-cost.js";
import type { Engine, EngineConnection, RunOptions } from "./duckdb.js";
import { queryFailure, RunFailure, RunStopped } from "./failure.js";
import { forgetMalformed, tellMalformed } from "./malformed-rows.js";
import type { QueryShare } from "./query-share.js";
import type { RegionRunDeps } from "./region-run.js";
import { type WriteOptions, writePort } from "./result-writer.js";
import type { StopSignals } from "./run-control.js";
import { sayer } from "./say.js";
import { readParquet } from "./sql-text.js";
import { type KeepStep, operatorIdsOf, type Step, type WriteStep } from "./step.js";

/** What a step works with. */
export interface StepDeps extends Omit<RegionRunDeps, "engine"> {
  engine: Engine;
  /** What the tables of the pass took. */
  tables: TableCosts;
  /** Milliseconds of work in this step so far: pauses do not count. */
  busyMs(): number;
}

export async function runStep(deps: Omit<StepDeps, "busyMs">, step: Step, signals: StopSignals): Promise<void> {
  const { board, elapsed, control } = deps;
  const now = () => elapsed() - control.pausedMs();
  await board.begin(step.members);
  const startedAt = now();
  const stepDeps: StepDeps = { ...deps, busyMs: () => now() - startedAt };
  try {
    if (step.kind === "call") await runCalls(stepDeps, step, signals);
    else await runQuery(stepDeps, step, signals.stop);
    await dropTables(deps.engine, step.drops, signals.stop);
  } catch (error) {
    throw (await damagedInput(deps, step, error, signals.stop)) ?? error;
  }
}

async function runQuery(deps: StepDeps, step: WriteStep | KeepStep, stop: AbortSignal): Promise<void> {
  const { board, busyMs, control, engine } = deps;
  const connection = engine.take();
  try {
    const { skips } = step.query;
    const rows = await control.restartable(async (signal) => {
      const onProgress = (share: QueryShare | undefined, writtenBytes?: bigint) => {
        const peakMemoryBytes = engine.memoryBytes();
        const { fused } = step.query;
        board.progress(step.members, { share, fused, busyMs: busyMs(), writtenBytes, peakMemoryBytes });
      };
      const options = { signal, onProgress };
      await forgetMalformed({ connection, skips, signal });
      return step.kind === "write" ? writeFile(deps, step, connection, options) : keep(deps, step, connection, options);
    }, stop);
    const profile = await connection.profile();
    if (profile) board.profiled(step.query, profile, rows);
    await tellMalformed({ board, sayOf: sayer(deps) }, { connection, skips, signal: stop });
  } finally {
    board.spent(step.members, busyMs());
    connection.release();
  }
}

async function writeFile(
  deps: StepDeps,
  step: WriteStep,
  connection: EngineConnection,
  options: WriteOptions,
): Promise<bigint> {
  const { board, busyMs, store, ports, report } = deps;
  const query = { sql: step.query.sql, operatorIds: operatorIdsOf(step.members) };
  const written = await writePort({ connection, store }, step.port.key, query, options);
  board.counted(step.port.key, written.rowCount, written.byteCount);
  const id = globalPortId(step.port.key);
  const cost = costOf(step, busyMs(), deps.tables);
  const computeMs = totalMs(cost, deps.costs, (read) => ports.storedOf(read)?.computeMs ?? 0n);
  deps.costs.set(id, cost);
  await report.port(ports.add(step.port, written, { computeMs, reservation: deps.reservationOf(id) }));
  return written.rowCount;
}

async function keep(
  deps: StepDeps,
  step: KeepStep,
  connection: EngineConnection,
  options: RunOptions,
): Promise<bigint> {
  const { board, busyMs } = deps;
  try {
    const [rows] = await connection.run(`CREATE TABLE ${quoteName(step.table)} AS\n${step.query.sql}`, options);
    const count = BigInt(String(rows ?? 0));
    board.counted(step.port.key, count);
    deps.tables.set(step.table, costOf(step, busyMs(), deps.tables));
    return count;
  } catch (error) {
    throw queryFailure(error, { operatorIds: operatorIdsOf(step.members) });
  }
}

async function dropTables(engine: Engine, tables: string[], signal: AbortSignal): Promise<void> {
  if (tables.length === 0) return;
  const connection = engine.take();
  try {
    for (const table of tables) await connection.run(`DROP TABLE ${quoteName(table)}`, { signal });
  } finally {
    connection.release();
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
