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
  /** What computing it took, with everything it was made from; 0 when unknown. */
  computeMs: bigint;
  hitCount: bigint;
  lastUsedAt: Date;
  operatorType: string;
  /** Each `<dataset id>@<version>`. */
  datasetVersions: string[];
}

const WITHOUT_FINGERPRINT = `project_id, workflow_id, global_port_id, subdag_hash, result_uri, tuple_count, byte_count,
       source_execution_id, created_at, compute_ms, hit_count, last_used_at, operator_type, dataset_versions`;

/** What an entry tells; the fingerprint may be long, and a list of many goes without. */
export const ENTRY_COLUMNS = `fingerprint_json, ${WITHOUT_FINGERPRINT}`;
export const SHORT_ENTRY_COLUMNS = `'' as fingerprint_json, ${WITHOUT_FINGERPRINT}`;

/** Where a page of entries begins: after this one. */
export interface EntryPosition {
  /** When it was stored, in microseconds since 1970. */
  createdMicros: bigint;
  globalPortId: string;
  subdagHash: string;
}

/** Entries of a workflow behind a position, or from the first one, newest first. */
export async function listCacheEntries(
  db: Queryable,
  { after, ...of }: { projectId: string; workflowId: string; after: EntryPosition | undefined; limit: number },
): Promise<(CacheEntryRow & { createdMicros: bigint })[]> {
  const behind = `and (created_at < ${AFTER} or (created_at = ${AFTER}
                       and (global_port_id, subdag_hash) > (:globalPortId, :subdagHash)))`;
  return db.query<CacheEntryRow & { createdMicros: bigint }>(
    `select ${ENTRY_COLUMNS}, cast(extract(epoch from created_at) * 1000000 as bigint) as created_micros
       from cache_entry where project_id = :projectId and workflow_id = :workflowId ${after ? behind : ""}
      order by created_at desc, global_port_id, subdag_hash limit :limit`,
    { ...of, ...after },
  );
}

const AFTER = "timestamptz 'epoch' + cast(:createdMicros as bigint) * interval '1 microsecond'";
