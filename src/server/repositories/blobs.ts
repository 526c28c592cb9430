// The ledger of stored objects: one row for each that a port, a console or a cache entry names, by foreign key.
//
// L1  Whoever names an object inserts its row in the same statement: foreign keys are checked when that has ended.
// L2  A row that loses a name gets `check_at` by a trigger, whatever statement took the name.
// L3  Counts of an object are those of the execution that wrote it; who reuses it changes nothing.
import { TERMINAL_STATES } from "../../core/execution-state.js";
import type { Queryable } from "../database/database.js";

export interface BlobRow {
  uri: string;
  projectId: string;
  /** The one that wrote it; it may be deleted by now. */
  executionId: string;
}

/**
 * The insert for objects that rows of the `with` part `reported` name (execution_id, uri, row_count, byte_count,
 * compute_ms); the execution's project owns them. In the order of URIs, so that two such statements do not block each
 * other for ever; rows of other executions' objects are not even locked.
 */
export const upsertBlobs = (reported: string): string => `
     insert into blob as b (uri, project_id, execution_id, row_count, byte_count, compute_ms)
     select distinct on (r.uri) r.uri, e.project_id, e.id, r.row_count, r.byte_count, r.compute_ms
       from ${reported} r join execution e on e.id = r.execution_id
      where not exists (select from blob known where known.uri = r.uri and known.execution_id <> e.id)
      order by r.uri
     on conflict (uri) do update
       set row_count = excluded.row_count, byte_count = excluded.byte_count,
           compute_ms = coalesce(nullif(excluded.compute_ms, 0), b.compute_ms)
       where b.execution_id = excluded.execution_id`;

/**
 * Enters the logs of executions that are about to be deleted, which nothing names but their rows: the sweeper deletes the
 * objects after its grace.
 */
export async function releaseLogs(tx: Queryable, executionIds: string[]): Promise<void> {
  await tx.query(
    `insert into blob (uri, project_id, execution_id, row_count, byte_count, check_at)
     select distinct on (log.uri) log.uri, e.project_id, e.id, 0, 0, now()
       from execution e cross join lateral (values (e.log_uri), (e.statistics_uri)) as log (uri)
      where e.id = any(cast(:executionIds as uuid[])) and log.uri <> '' order by log.uri
     on conflict (uri) do update set check_at = now()`,
    { executionIds },
  );
}

/** Whether anything names or pins the object; ports and consoles that do not meet `counted` do not count. */
export const isNamed = (uri: string, counted = "true"): string => `(
       exists (select from port_result where port_result.uri = ${uri} and ${counted})
       or exists (select from console_result where console_result.uri = ${uri} and ${counted})
       or exists (select from cache_entry where result_uri = ${uri})
       or ${uri} in (select unnest(uris) from cache_pin))`;

/** Locks rows that lost a name at least `graceMs` ago, the longest waiting first; what others have locked is left out. */
export async function lockUncheckedBlobs(
  tx: Queryable,
  { graceMs, limit }: { graceMs: number; limit: number },
): Promise<BlobRow[]> {
  return tx.query<BlobRow>(
    `select uri, project_id, execution_id from blob
      where check_at <= now() - cast(:graceMs as double precision) * interval '1 millisecond'
      order by check_at limit :limit for update skip locked`,
    { graceMs, limit },
  );
}

/** Locks those of these rows that are still to be looked at, whenever that is; what others have locked is left out. */
export async function lockPutOffBlobs(tx: Queryable, uris: string[]): Promise<BlobRow[]> {
  return tx.query<BlobRow>(
    `select uri, project_id, execution_id from blob
      where uri = any(cast(:uris as text[])) and check_at is not null
      order by uri for update skip locked`,
    { uris },
  );
}

export interface BlobStandings {
  /** Named or pinned. */
  named: string[];
  /** Not named, but what wrote it has not ended. */
  live: string[];
  free: BlobRow[];
}

/** How locked rows stand now. */
export async function standingOf(tx: Queryable, locked: BlobRow[]): Promise<BlobStandings> {
  const rows = await tx.query<BlobRow & { named: boolean; live: boolean }>(
    `select b.uri, b.project_id, b.execution_id, ${isNamed("b.uri")} as named,
            exists (select from execution e where e.id = b.execution_id
                     and e.state <> all(cast(:ended as text[]))) as live
       from blob b where b.uri = any(cast(:uris as text[]))`,
    { uris: locked.map(({ uri }) => uri), ended: [...TERMINAL_STATES] },
  );
  return {
    named: rows.filter((row) => row.named).map(({ uri }) => uri),
    live: rows.filter((row) => !row.named && row.live).map(({ uri }) => uri),
    free: rows.filter((row) => !row.named && !row.live),
  };
}

/** Looks at them again only when they lose a name. */
export async function keepBlobs(tx: Queryable, uris: string[]): Promise<void> {
  await tx.query("update blob set check_at = null where uri = any(cast(:uris as text[]))", { uris });
}

/** Looks at each again after its time. */
export async function lookAgain(
  tx: Queryable,
  later: { uri: string; afterMs: number }[],
  graceMs: number,
): Promise<void> {
  await tx.query(
    `update blob b set check_at = now() + (u.after_ms - cast(:graceMs as double precision)) * interval '1 millisecond'
       from unnest(cast(:uris as text[]), cast(:afters as double precision[])) as u (uri, after_ms)
      where b.uri = u.uri`,
    { graceMs, uris: later.map(({ uri }) => uri), afters: later.map(({ afterMs }) => afterMs) },
  );
}

/** Only when nothing names them. */
export async function deleteBlobs(tx: Queryable, uris: string[]): Promise<void> {
  await tx.query("delete from blob where uri = any(cast(:uris as text[]))", { uris });
}
