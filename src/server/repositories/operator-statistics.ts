// The latest figures of each operator of an execution; they feed snapshots, people, and the next run's cost model.
import type { RunState } from "../../core/execution-state.js";
import type { Queryable } from "../database/database.js";

export interface OperatorStatisticsRow {
  operatorId: string;
  layer: string;
  state: RunState;
  inputRows: bigint | null;
  outputRows: bigint | null;
  outputBytes: bigint;
  busyMs: bigint;
  progress: number | null;
  peakMemoryBytes: bigint;
  malformedRows: bigint;
}

export type OfExecution<Row> = Row & { executionId: string };

/** Replaces the figures of the operators named; takes `figureParams`. At most one row per operator of an execution. */
export const UPSERT_FIGURES = `
    insert into operator_statistics (execution_id, operator_id, layer, state, input_rows, output_rows, output_bytes,
                                     busy_ms, progress, peak_memory_bytes, malformed_rows)
    select u.*
      from unnest(cast(:figureExecutionIds as uuid[]), cast(:figureOperatorIds as text[]), cast(:figureLayers as text[]),
                  cast(:figureStates as text[]), cast(:inputRows as bigint[]), cast(:outputRows as bigint[]),
                  cast(:outputBytes as bigint[]), cast(:busyMs as bigint[]), cast(:progress as double precision[]),
                  cast(:peakMemoryBytes as bigint[]), cast(:malformedRows as bigint[])) u
    on conflict (execution_id, operator_id, layer) do update
      set state = excluded.state, input_rows = excluded.input_rows, output_rows = excluded.output_rows,
          output_bytes = excluded.output_bytes, busy_ms = excluded.busy_ms, progress = excluded.progress,
          peak_memory_bytes = excluded.peak_memory_bytes, malformed_rows = excluded.malformed_rows`;

export const figureParams = (rows: OfExecution<OperatorStatisticsRow>[]) => ({
  figureExecutionIds: rows.map((r) => r.executionId),
  figureOperatorIds: rows.map((r) => r.operatorId),
  figureLayers: rows.map((r) => r.layer),
  figureStates: rows.map((r) => r.state),
  inputRows: rows.map((r) => r.inputRows),
  outputRows: rows.map((r) => r.outputRows),
  outputBytes: rows.map((r) => r.outputBytes),
  busyMs: rows.map((r) => r.busyMs),
  progress: rows.map((r) => r.progress),
  peakMemoryBytes: rows.map((r) => r.peakMemoryBytes),
  malformedRows: rows.map((r) => r.malformedRows),
});

export async function upsertOperatorStatistics(
  db: Queryable,
  rows: OfExecution<OperatorStatisticsRow>[],
): Promise<void> {
  await db.query(UPSERT_FIGURES, figureParams(rows));
}

export type OperatorStateRow = OfExecution<{ operatorId: string; layer: string; state: RunState }>;

/**
 * Sets the states of operators and leaves their figures as they are; takes `operatorStateParams`. At most one row per
 * operator of an execution.
 */
export const UPSERT_OPERATOR_STATES = `
    insert into operator_statistics (execution_id, operator_id, layer, state, output_bytes, busy_ms, peak_memory_bytes)
    select u.*, 0, 0, 0
      from unnest(cast(:operatorExecutionIds as uuid[]), cast(:operatorIds as text[]), cast(:layers as text[]),
                  cast(:operatorStates as text[])) u
    on conflict (execution_id, operator_id, layer) do update set state = excluded.state`;

export const operatorStateParams = (rows: OperatorStateRow[]) => ({
  operatorExecutionIds: rows.map((r) => r.executionId),
  operatorIds: rows.map((r) => r.operatorId),
  layers: rows.map((r) => r.layer),
  operatorStates: rows.map((r) => r.state),
});

/** The figures of every operator that reported any. */
export async function operatorStatistics(db: Queryable, executionId: string): Promise<OperatorStatisticsRow[]> {
  return db.query<OperatorStatisticsRow>(
    `select operator_id, layer, state, input_rows, output_rows, output_bytes, busy_ms, progress, peak_memory_bytes,
            malformed_rows
       from operator_statistics where execution_id = :executionId`,
    { executionId },
  );
}
