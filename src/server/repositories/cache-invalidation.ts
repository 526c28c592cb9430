// Forgetting cache entries on request: which ones, how many, and what their results take.
import type { Queryable } from "../database/database.js";
import { type CacheEntryRow, SHORT_ENTRY_COLUMNS } from "./cache-entries.js";

/** Entries that meet every condition; null is none. */
export interface CacheSelection {
  projectId: string;
  workflowId: string | null;
  globalPortId: string | null;
  subdagHash: string | null;
  datasetId: string | null;
  /** Only with `datasetId`. */
  datasetVersion: number | null;
  operatorType: string | null;
}

export interface SelectedEntries {
  /** Newest first, MOST_LISTED at most, without their fingerprints. */
  entries: CacheEntryRow[];
  entryCount: bigint;
  /** Of their results, each counted once. */
  byteCount: bigint;
}

const MOST_LISTED = 1_000;

export const selectCacheEntries = (db: Queryable, selection: CacheSelection): Promise<SelectedEntries> =>
  selected(db, selection, "select * from cache_entry");

/** Deletes them; objects nothing names any more are the sweeper's. */
export const deleteCacheEntries = (db: Queryable, selection: CacheSelection): Promise<SelectedEntries> =>
  selected(db, selection, "delete from cache_entry", "returning *");

async function selected(
  db: Queryable,
  selection: CacheSelection,
  verb: string,
  returning = "",
): Promise<SelectedEntries> {
  const rows = await db.query<CacheEntryRow & { entryCount: bigint; totalBytes: bigint }>(
    `with selected as (
       ${verb}
        where project_id = :projectId
          and (cast(:workflowId as text) is null or workflow_id = :workflowId)
          and (cast(:globalPortId as text) is null or global_port_id = :globalPortId)
          and (cast(:subdagHash as text) is null or subdag_hash = :subdagHash)
          and (cast(:operatorType as text) is null or operator_type = :operatorType)
          and (cast(:datasetId as text) is null or exists (
            select from unnest(dataset_versions) as behind (version)
             where split_part(behind.version, '@', 1) = :datasetId
               and (cast(:datasetVersion as integer) is null
                    or split_part(behind.version, '@', 2) = cast(:datasetVersion as text))))
       ${returning}),
     total as (
       select (select count(*) from selected) as entry_count,
              (select cast(coalesce(sum(byte_count), 0) as bigint)
                 from (select distinct on (result_uri) byte_count from selected order by result_uri) results) as total_bytes)
     select total.*, listed.*
       from total left join lateral (
         select ${SHORT_ENTRY_COLUMNS} from selected
          order by created_at desc, workflow_id, global_port_id, subdag_hash limit ${MOST_LISTED}) listed on true`,
    { ...selection },
  );
  const { entryCount, totalBytes } = rows[0]!;
  return { entries: entryCount === 0n ? [] : rows, entryCount, byteCount: totalBytes };
}
