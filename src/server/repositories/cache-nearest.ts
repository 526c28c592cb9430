// Earlier results of a workflow that a port without one may be compared with, and the fingerprints behind them.
import type { Queryable } from "../database/database.js";
import { type CacheEntryRow, ENTRY_COLUMNS } from "./cache-entries.js";

interface OfWorkflow {
  projectId: string;
  workflowId: string;
}

/** The newest entry of each of these ports; a port without entries is left out. */
export async function newestEntriesOfPorts(
  db: Queryable,
  of: OfWorkflow & { globalPortIds: string[] },
): Promise<CacheEntryRow[]> {
  return db.query<CacheEntryRow>(
    `select newest.* from unnest(cast(:globalPortIds as text[])) as wanted (id) cross join lateral (
       select ${ENTRY_COLUMNS} from cache_entry
        where project_id = :projectId and workflow_id = :workflowId and global_port_id = wanted.id
        order by updated_at desc, subdag_hash limit 1) newest`,
    { ...of },
  );
}

/** The `each` newest entries of operators of each type, newest first. */
export async function newestEntriesOfTypes(
  db: Queryable,
  of: OfWorkflow & { operatorTypes: string[]; each: number },
): Promise<CacheEntryRow[]> {
  return db.query<CacheEntryRow>(
    `select ${ENTRY_COLUMNS} from (
       select *, row_number() over (partition by operator_type order by updated_at desc, global_port_id, subdag_hash)
                 as place
         from cache_entry where project_id = :projectId and workflow_id = :workflowId
          and operator_type = any(cast(:operatorTypes as text[]))) entry
      where place <= :each order by place`,
    { ...of },
  );
}

/** The entries that stand for ports of the workflow, by hash and the object they point to. */
export async function entriesOfResults(
  db: Queryable,
  of: OfWorkflow & { results: { subdagHash: string; uri: string }[] },
): Promise<CacheEntryRow[]> {
  const { results, ...workflow } = of;
  return db.query<CacheEntryRow>(
    `select ${ENTRY_COLUMNS} from cache_entry
      where project_id = :projectId and workflow_id = :workflowId and (subdag_hash, result_uri) in (
        select * from unnest(cast(:hashes as text[]), cast(:uris as text[])))
      order by global_port_id`,
    { ...workflow, hashes: results.map((r) => r.subdagHash), uris: results.map((r) => r.uri) },
  );
}

/** Fingerprints of the workflow's entries by their hashes. */
export async function fingerprintsByHash(
  db: Queryable,
  of: OfWorkflow & { hashes: string[] },
): Promise<{ subdagHash: string; fingerprintJson: string }[]> {
  return db.query(
    `select distinct on (subdag_hash) subdag_hash, fingerprint_json from cache_entry
      where project_id = :projectId and workflow_id = :workflowId and subdag_hash = any(cast(:hashes as text[]))
      order by subdag_hash`,
    { ...of },
  );
}

/** The plans of those executions that still exist, each different one once. */
export async function plansOfExecutions(db: Queryable, executionIds: string[]): Promise<unknown[]> {
  const rows = await db.query<{ plan: unknown }>(
    `select distinct on (e.plan_digest) p.plan from execution e join execution_plan p on p.execution_id = e.id
      where e.id = any(cast(:executionIds as uuid[])) order by e.plan_digest`,
    { executionIds },
  );
  return rows.map((row) => row.plan);
}
