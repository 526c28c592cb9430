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
}

/** Replaces the figures of the operators named. At most one row per operator. */
export async function upsertOperatorStatistics(
  db: Queryable,
  executionId: string,
  rows: OperatorStatisticsRow[],
): Promise<void> {
  await db.query(
    `insert into operator_statistics (execution_id, operator_id, layer, state, input_rows, output_rows, output_bytes,
                                      busy_ms, progress, peak_memory_bytes)
     select :executionId, u.*
       from unnest(cast(:operatorIds as text[]), cast(:layers as text[]), cast(:states as text[]),
                   cast(:inputRows as bigint[]), cast(:outputRows as bigint[]), cast(:outputBytes as bigint[]),
                   cast(:busyMs as bigint[]), cast(:progress as double precision[]),
                   cast(:peakMemoryBytes as bigint[])) u
     on conflict (execution_id, operator_id, layer) do update
       set state = excluded.state, input_rows = excluded.input_rows, output_rows = excluded.output_rows,
           output_bytes = excluded.output_bytes, busy_ms = excluded.busy_ms, progress = excluded.progress,
           peak_memory_bytes = excluded.peak_memory_bytes`,
    {
      executionId,
      operatorIds: rows.map((r) => r.operatorId),
      layers: rows.map((r) => r.layer),
      states: rows.map((r) => r.state),
      inputRows: rows.map((r) => r.inputRows),
      outputRows: rows.map((r) => r.outputRows),
      outputBytes: rows.map((r) => r.outputBytes),
      busyMs: rows.map((r) => r.busyMs),
      progress: rows.map((r) => r.progress),
      peakMemoryBytes: rows.map((r) => r.peakMemoryBytes),
    },
  );
}

/** Sets the states of operators and leaves their figures as they are. At most one row per operator. */
export async function upsertOperatorStates(
  db: Queryable,
  executionId: string,
  rows: { operatorId: string; layer: string; state: RunState }[],
): Promise<void> {
  await db.query(
    `insert into operator_statistics (execution_id, operator_id, layer, state, output_bytes, busy_ms, peak_memory_bytes)
     select :executionId, u.*, 0, 0, 0
       from unnest(cast(:operatorIds as text[]), cast(:layers as text[]), cast(:states as text[])) u
     on conflict (execution_id, operator_id, layer) do update set state = excluded.state`,
    {
      executionId,
      operatorIds: rows.map((r) => r.operatorId),
      layers: rows.map((r) => r.layer),
      states: rows.map((r) => r.state),
    },
  );
}

/** The figures of every operator that reported any. */
export async function operatorStatistics(db: Queryable, executionId: string): Promise<OperatorStatisticsRow[]> {
  return db.query<OperatorStatisticsRow>(
    `select operator_id, layer, state, input_rows, output_rows, output_bytes, busy_ms, progress, peak_memory_bytes
       from operator_statistics where execution_id = :executionId`,
    { executionId },
  );
}
