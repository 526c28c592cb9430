// Entries whose objects are gone.
import type { Queryable } from "../database/database.js";

/** Those of the objects that the execution pins, with the sizes they should have. */
export async function pinnedObjects(
  db: Queryable,
  executionId: string,
  uris: readonly string[],
): Promise<{ uri: string; byteCount: bigint }[]> {
  return db.query(
    `select b.uri, b.byte_count from cache_pin p join blob b on b.uri = any(p.uris)
      where p.execution_id = :executionId and b.uri = any(cast(:uris as text[])) order by b.uri`,
    { executionId, uris },
  );
}

/** Forgets every entry of the project that names one of the objects; returns how many those were. */
export async function forgetEntriesAt(tx: Queryable, projectId: string, uris: readonly string[]): Promise<number> {
  const rows = await tx.query(
    `delete from cache_entry where project_id = :projectId and result_uri = any(cast(:uris as text[]))
     returning subdag_hash`,
    { projectId, uris },
  );
  return rows.length;
}
