// The port cache: results that may stand in for work.
import type { Queryable } from "../database/database.js";

export interface CacheEntryRow {
  projectId: string;
  workflowId: string;
  globalPortId: string;
  subdagHash: string;
  fingerprintJson: string;
  resultUri: string;
  tupleCount: bigint;
  byteCount: bigint;
  sourceExecutionId: string;
  createdAt: Date;
}

/** Remembers registered ports of an execution by their fingerprints; a newer result replaces an older one. */
export async function upsertCacheEntries(
  db: Queryable,
  executionId: string,
  entries: { globalPortId: string; subdagHash: string; fingerprintJson: string }[],
): Promise<void> {
  await db.query(
    `insert into cache_entry (project_id, workflow_id, global_port_id, subdag_hash, fingerprint_json, result_uri,
                              tuple_count, byte_count, source_execution_id)
     select e.project_id, e.workflow_id, p.global_port_id, u.subdag_hash, u.fingerprint_json, p.uri,
            p.row_count, p.byte_count, e.id
       from unnest(cast(:globalPortIds as text[]), cast(:subdagHashes as text[]), cast(:fingerprints as text[]))
              as u (global_port_id, subdag_hash, fingerprint_json)
       join execution e on e.id = :executionId
       join port_result p on p.execution_id = e.id and p.global_port_id = u.global_port_id
     on conflict (project_id, workflow_id, global_port_id, subdag_hash) do update
       set fingerprint_json = excluded.fingerprint_json, result_uri = excluded.result_uri,
           tuple_count = excluded.tuple_count, byte_count = excluded.byte_count,
           source_execution_id = excluded.source_execution_id, updated_at = now()`,
    {
      executionId,
      globalPortIds: entries.map((e) => e.globalPortId),
      subdagHashes: entries.map((e) => e.subdagHash),
      fingerprints: entries.map((e) => e.fingerprintJson),
    },
  );
}

/** Newest first, `offset` skipped. */
export async function listCacheEntries(
  db: Queryable,
  page: { projectId: string; workflowId: string; offset: number; limit: number },
): Promise<CacheEntryRow[]> {
  return db.query<CacheEntryRow>(
    `select * from cache_entry where project_id = :projectId and workflow_id = :workflowId
      order by created_at desc, global_port_id, subdag_hash offset :offset limit :limit`,
    page,
  );
}

export interface CacheSelection {
  projectId: string;
  workflowId: string;
  /** Null for all. */
  globalPortId: string | null;
  /** Null for all. */
  subdagHash: string | null;
}

const SELECTED = `project_id = :projectId and workflow_id = :workflowId
        and (cast(:globalPortId as text) is null or global_port_id = :globalPortId)
        and (cast(:subdagHash as text) is null or subdag_hash = :subdagHash)`;

export async function selectCacheEntries(db: Queryable, selection: CacheSelection): Promise<CacheEntryRow[]> {
  return db.query<CacheEntryRow>(`select * from cache_entry where ${SELECTED}`, { ...selection });
}

export async function deleteCacheEntries(db: Queryable, selection: CacheSelection): Promise<CacheEntryRow[]> {
  return db.query<CacheEntryRow>(`delete from cache_entry where ${SELECTED} returning *`, { ...selection });
}

/** Forgets entries that point to results of these executions. */
export async function deleteCacheEntriesOf(db: Queryable, executionIds: string[]): Promise<void> {
  await db.query("delete from cache_entry where source_execution_id = any(cast(:executionIds as uuid[]))", {
    executionIds,
  });
}

export async function cacheStatistics(
  db: Queryable,
  projectId: string,
): Promise<{ entryCount: bigint; byteCount: bigint }> {
  const [row] = await db.query<{ entryCount: bigint; byteCount: bigint }>(
    `select count(*) as entry_count, cast(coalesce(sum(byte_count), 0) as bigint) as byte_count
       from cache_entry where project_id = :projectId`,
    { projectId },
  );
  return row!;
}
