// Size and use of the port cache, for people.
import type { Queryable } from "../database/database.js";

export interface CacheStatistics {
  entryCount: bigint;
  /** Of the results the entries point to, each counted once. */
  byteCount: bigint;
  /** Of executions that still exist: ports they asked for and reused, and what that saved. */
  lookupCount: bigint;
  hitCount: bigint;
  savedMs: bigint;
  savedBytes: bigint;
  executionCount: bigint;
}

/** What a bigint holds. */
const LARGEST = "9223372036854775807";

/** Of a project, or with `workflowId` of one workflow. */
export async function cacheStatistics(
  db: Queryable,
  of: { projectId: string; workflowId: string | null },
): Promise<CacheStatistics> {
  const ofWorkflow = "(cast(:workflowId as text) is null or workflow_id = :workflowId)";
  const [row] = await db.query<CacheStatistics>(
    `with result as (
       select count(*) as entries, max(byte_count) as bytes from cache_entry
        where project_id = :projectId and ${ofWorkflow} group by result_uri)
     select size.*, use.*
       from (select cast(coalesce(sum(entries), 0) as bigint) as entry_count,
                    cast(least(coalesce(sum(bytes), 0), ${LARGEST}) as bigint) as byte_count from result) size,
            (select coalesce(sum(r.ports_looked_up), 0) as lookup_count,
                    coalesce(sum(r.ports_reused), 0) as hit_count,
                    cast(least(coalesce(sum(r.saved_ms), 0), ${LARGEST}) as bigint) as saved_ms,
                    cast(least(coalesce(sum(r.saved_bytes), 0), ${LARGEST}) as bigint) as saved_bytes,
                    count(*) as execution_count
               from execution e join execution_reuse r on r.execution_id = e.id
              where e.project_id = :projectId and ${ofWorkflow}) use`,
    of,
  );
  return row!;
}
