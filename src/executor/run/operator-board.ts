// The state and figures of every operator of a run, and the telling of them. Counts that were not made and do not
// follow from others stay absent (core/row-counts.ts). What is told beside them while an operator runs is an estimate
// (row-estimates.ts): it is told, and neither kept nor logged.
import { type Failure, type OperatorStatistics, RunState } from "../../contract/postern/v1/execution.js";
import {
  globalPortId,
  operatorKey,
  type PhysicalOperator,
  type PhysicalPlan,
  type PortKey,
  parseGlobalPortId,
} from "../../core/plan.js";
import { inferRowCounts, type RowCounts } from "../../core/row-counts.js";
import { type FusedQuery, type QueryProfile, rowsOfPorts } from "./query-profile.js";
import type { QueryShare } from "./query-share.js";
import type { Report } from "./report.js";
import { createRowEstimates } from "./row-estimates.js";
import type { StatisticsLog } from "./statistics-log.js";
import type { Query } from "./step.js";

/** How far a step is. */
export interface StepProgress {
  share?: QueryShare | undefined;
  /** The query of which that share is done. */
  fused?: FusedQuery;
  busyMs: number;
  inputRows?: bigint | undefined;
  outputRows?: bigint | undefined;
  /** Bytes of the file that is being written. */
  writtenBytes?: bigint | undefined;
  peakMemoryBytes?: bigint | undefined;
}

export interface OperatorBoard {
  /** A step that computes these operators begins. */
  begin(keys: string[]): Promise<void>;
  /** How far the step is; counts so far, of rows and bytes, of its last operator when it makes them. */
  progress(keys: readonly string[], at: StepProgress): void;
  /** A step has ended after so many milliseconds. */
  spent(keys: readonly string[], busyMs: number): void;
  /** The rows of an output port have been counted. */
  counted(port: PortKey, rows: bigint, bytes?: bigint): void;
  /** What DuckDB's profile tells of the operators fused into a query that has ended and gave so many rows. */
  profiled(query: Pick<Query, "members" | "fused">, profile: QueryProfile, given: bigint): void;
  /** A scan has left out so many rows that did not fit. */
  malformed(key: string, rows: bigint): void;
  /** An operator will not run any more. */
  end(key: string, state: RunState, failure?: Failure): Promise<void>;
  /** The final figures of every operator that began or came from the cache, in plan order. */
  figures(): OperatorStatistics[];
  /** READY for one that has neither begun nor ended. */
  stateOf(key: string): RunState;
  /** Keys of operators that began and have not ended. */
  running(): string[];
}

interface Entry {
  operator: PhysicalOperator;
  figures: OperatorStatistics;
  /** From steps that have ended. */
  spentMs: number;
  /** Bytes of files that are whole. */
  storedBytes: bigint;
  told: boolean;
}

export function createOperatorBoard(deps: {
  plan: PhysicalPlan;
  report: Pick<Report, "operatorState" | "statistics">;
  log: Pick<StatisticsLog, "add">;
  /** Figures of earlier runs, for estimates. */
  usual: readonly OperatorStatistics[];
}): OperatorBoard {
  const { plan, report, log } = deps;
  /** Rows of output ports, by global port id. */
  const known = new Map<string, bigint>();
  const usual = new Map(deps.usual.map((figures): [string, RowCounts] => [operatorKey(figures), rowsOf(figures)]));
  const estimates = createRowEstimates({ plan, known, usual });
  const entries = new Map<string, Entry>(
    plan.operators.map((operator) => [
      operatorKey(operator),
      { operator, spentMs: 0, storedBytes: 0n, told: false, figures: blankFigures(operator) },
    ]),
  );
  const entry = (key: string): Entry => entries.get(key)!;

  const tell = (at: Entry): void => {
    const figures = { ...at.figures };
    const { inputRows, outputRows } = estimates.of(operatorKey(at.operator));
    report.statistics({
      ...figures,
      estimatedInputRows: figures.inputRows === undefined ? inputRows : undefined,
      estimatedOutputRows: figures.outputRows === undefined ? outputRows : undefined,
    });
    log.add(figures);
  };

  const learn = (port: PortKey, rows: bigint): void => {
    known.set(globalPortId(port), rows);
    const { operator, figures } = entry(operatorKey(port));
    const counts = operator.outputs.map(({ key }) => known.get(globalPortId(key)));
    if (counts.every((count) => count !== undefined))
      figures.outputRows = counts.reduce((sum, count) => sum + count, 0n);
  };

  /** Share of the rows read, when it is known how many there are. */
  const shareOf = (key: string, inputRows: bigint | undefined): number | undefined => {
    const total = inputRows === undefined ? undefined : inferRowCounts(plan, known).get(key)?.inputRows;
    return total && inputRows !== undefined ? Math.min(1, Number(inputRows) / Number(total)) : undefined;
  };

  return {
    async begin(keys) {
      for (const key of keys) {
        const at = entry(key);
        if (at.figures.state === RunState.RUN_STATE_RUNNING) continue;
        at.figures.state = RunState.RUN_STATE_RUNNING;
        at.told = true;
        await report.operatorState(at.operator, RunState.RUN_STATE_RUNNING);
      }
    },
    progress(keys, { share: told, fused, busyMs, inputRows, outputRows, writtenBytes = 0n, peakMemoryBytes = 0n }) {
      if (told?.stages && fused) estimates.reached(fused, told.stages);
      for (const key of keys) {
        const at = entry(key);
        const share = told?.done ?? (key === keys.at(-1) ? shareOf(key, inputRows) : undefined);
        if (share !== undefined) at.figures.progress = Math.max(share, at.figures.progress ?? 0);
        at.figures.busyMs = BigInt(Math.round(at.spentMs + busyMs));
        remember(at, peakMemoryBytes);
        if (key === keys.at(-1)) {
          at.figures.inputRows = larger(inputRows, at.figures.inputRows);
          at.figures.outputRows = larger(outputRows, at.figures.outputRows);
          at.figures.outputBytes = at.storedBytes + writtenBytes;
        }
        tell(at);
      }
    },
    spent(keys, busyMs) {
      for (const key of keys) {
        const at = entry(key);
        at.spentMs += busyMs;
        at.figures.busyMs = BigInt(Math.round(at.spentMs));
      }
    },
    counted(port, rows, bytes = 0n) {
      learn(port, rows);
      const at = entry(operatorKey(port));
      at.storedBytes += bytes;
      at.figures.outputBytes = at.storedBytes;
    },
    profiled({ members, fused }, profile, given) {
      for (const [id, rows] of rowsOfPorts(fused, profile, given))
        if (!known.has(id)) learn(parseGlobalPortId(id)!, rows);
      for (const key of members) remember(entry(key), profile.peakMemoryBytes);
    },
    malformed(key, rows) {
      entry(key).figures.malformedRows = rows;
    },
    async end(key, state, failure) {
      const at = entry(key);
      estimates.forget(key);
      at.figures.state = state;
      at.figures.outputBytes = at.storedBytes;
      at.told = true;
      const done = state === RunState.RUN_STATE_COMPLETED || state === RunState.RUN_STATE_COMPLETED_FROM_CACHE;
      if (done) {
        const counts = inferRowCounts(plan, known).get(key);
        at.figures.inputRows = counts?.inputRows ?? at.figures.inputRows;
        at.figures.outputRows = counts?.outputRows ?? at.figures.outputRows;
        at.figures.progress = 1;
      }
      tell(at);
      await report.operatorState(at.operator, state, failure);
    },
    figures() {
      const counts = inferRowCounts(plan, known);
      return [...entries].flatMap(([key, { figures, told }]) => {
        if (!told) return [];
        if (figures.state !== RunState.RUN_STATE_COMPLETED) return [{ ...figures }];
        // A count made after the operator ended may tell more of it.
        const { inputRows = figures.inputRows, outputRows = figures.outputRows } = counts.get(key) ?? {};
        return [{ ...figures, inputRows, outputRows }];
      });
    },
    stateOf: (key) => entry(key).figures.state,
    running: () =>
      [...entries].flatMap(([key, { figures }]) => (figures.state === RunState.RUN_STATE_RUNNING ? [key] : [])),
  };
}

function remember({ figures }: Entry, peakMemoryBytes: bigint): void {
  if (peakMemoryBytes > figures.peakMemoryBytes) figures.peakMemoryBytes = peakMemoryBytes;
}

/** A file or table that two read is read from the start twice. */
const larger = (one: bigint | undefined, other: bigint | undefined): bigint | undefined =>
  one === undefined || (other !== undefined && other > one) ? other : one;

const rowsOf = ({ inputRows, outputRows }: OperatorStatistics): RowCounts => ({ inputRows, outputRows });

const blankFigures = ({ operatorId, layer }: PhysicalOperator): OperatorStatistics => ({
  operatorId,
  layer,
  state: RunState.RUN_STATE_READY,
  inputRows: undefined,
  outputRows: undefined,
  outputBytes: 0n,
  busyMs: 0n,
  progress: undefined,
  peakMemoryBytes: 0n,
  malformedRows: 0n,
});
