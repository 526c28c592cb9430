// What earlier runs of a workflow took: what estimates and schedules go by. Only the newest runs count, those that ended
// well and whose figures may stand for others; the index execution_succeeded finds them. What was served from the cache
// says nothing of what computing takes, so its figures are left out; runs that had everything from there are not trusted
// with figures at all, and use none of these places up.
import type { Queryable } from "../database/database.js";
import type { OperatorStatisticsRow } from "./operator-statistics.js";

const RECENT_RUNS = 20;

const RECENT = `(select id from execution
                  where project_id = :projectId and workflow_id = :workflowId and state = 'COMPLETED' and trusted
                  order by id desc limit ${RECENT_RUNS})`;

/** Figures of operators that ran to their end; each run weighs half of the next newer one of its operator. */
const NEWEST = `(select s.*, 0.5 ^ (row_number() over (partition by s.operator_id, s.layer order by run.id desc) - 1) as weight
                    from ${RECENT} run join operator_statistics s on s.execution_id = run.id and s.state = 'COMPLETED')`;

const MEASURED = ["input_rows", "output_rows", "output_bytes", "busy_ms", "peak_memory_bytes", "malformed_rows"];

const smoothed = (column: string) =>
  `cast(round(sum(weight * ${column}) / sum(weight) filter (where ${column} is not null)) as bigint) as ${column}`;

const SMOOTHED = `operator_id, layer, 'COMPLETED' as state, cast(null as double precision) as progress,
            ${MEASURED.map(smoothed).join(",\n            ")}`;

/**
 * Figures of each operator smoothed over its newest runs: what changed is soon believed, and one odd run is not.
 */
export async function smoothedFigures(
  db: Queryable,
  of: { projectId: string; workflowId: string },
): Promise<OperatorStatisticsRow[]> {
  return db.query<OperatorStatisticsRow>(`select ${SMOOTHED} from ${NEWEST} newest group by operator_id, layer`, of);
}

/** The newest figures of each operator that ran to its end, and the smoothed ones; they are read once for both. */
export async function earlierFigures(
  db: Queryable,
  of: { projectId: string; workflowId: string },
): Promise<{ last: OperatorStatisticsRow[]; smoothed: OperatorStatisticsRow[] }> {
  const rows = await db.query<OperatorStatisticsRow & { isSmoothed: boolean }>(
    `with newest as materialized ${NEWEST}
     select false as is_smoothed, operator_id, layer, state, progress, ${MEASURED.join(", ")} from newest where weight = 1
     union all
     select true, ${SMOOTHED} from newest group by operator_id, layer`,
    of,
  );
  const figures = (wanted: boolean) =>
    rows.flatMap(({ isSmoothed, ...row }) => (isSmoothed === wanted ? [row as OperatorStatisticsRow] : []));
  return { last: figures(false), smoothed: figures(true) };
}

/** The newest size in bytes of each port, by global port id. */
export async function lastPortBytes(
  db: Queryable,
  of: { projectId: string; workflowId: string },
): Promise<Map<string, number>> {
  const rows = await db.query<{ globalPortId: string; byteCount: bigint }>(
    `select distinct on (p.global_port_id) p.global_port_id, p.byte_count
       from ${RECENT} run join port_result p on p.execution_id = run.id
      order by p.global_port_id, run.id desc`,
    of,
  );
  return new Map(rows.map(({ globalPortId, byteCount }) => [globalPortId, Number(byteCount)]));
}
