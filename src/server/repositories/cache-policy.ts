// How a project keeps its cache, and forgetting what the policy does not keep.
//
// P1  A project that never said keeps entries for DEFAULT_POLICY: 30 days without use, no quota, not shared.
// P2  Only entries are deleted here. What happens to the objects behind them is the ledger's business (blobs.ts).
import type { Database, Queryable } from "../database/database.js";

export interface CachePolicy {
  /** An entry nobody used for so long goes; 0 for never. */
  ttlSeconds: bigint;
  /** What the results of all entries may take; 0 for no limit. */
  quotaBytes: bigint;
  /** Whether workflows reuse each other's results. */
  shared: boolean;
}

export const DEFAULT_POLICY: CachePolicy = { ttlSeconds: 30n * 24n * 60n * 60n, quotaBytes: 0n, shared: false };

export async function cachePolicy(db: Queryable, projectId: string): Promise<CachePolicy> {
  const [row] = await db.query<CachePolicy>(
    "select ttl_seconds, quota_bytes, shared from cache_policy where project_id = :projectId",
    { projectId },
  );
  return row ?? DEFAULT_POLICY;
}

export async function putCachePolicy(tx: Queryable, projectId: string, policy: CachePolicy): Promise<void> {
  await tx.query(
    `insert into cache_policy (project_id, ttl_seconds, quota_bytes, shared)
     values (:projectId, :ttlSeconds, :quotaBytes, :shared)
     on conflict (project_id) do update
       set ttl_seconds = excluded.ttl_seconds, quota_bytes = excluded.quota_bytes, shared = excluded.shared`,
    { projectId, ...policy },
  );
}

/**
 * Forgets up to `limit` entries that nobody used for their project's TTL; returns how many. One probe of the index
 * cache_entry_use for each project; entries somebody is using at the moment are left for the next time.
 */
export async function deleteUnusedEntries(db: Queryable, limit: number): Promise<number> {
  const rows = await db.query(
    `with unused as (
       select old.* from project p
         left join cache_policy policy on policy.project_id = p.id
         cross join lateral (
           select e.project_id, e.workflow_id, e.global_port_id, e.subdag_hash from cache_entry e
            where e.project_id = p.id
              and e.last_used_at < now() - coalesce(policy.ttl_seconds, :defaultTtl) * interval '1 second'
            order by e.last_used_at limit :limit for update skip locked) old
        where coalesce(policy.ttl_seconds, :defaultTtl) > 0
        limit :limit)
     delete from cache_entry e using unused u
      where e.project_id = u.project_id and e.workflow_id = u.workflow_id
        and e.global_port_id = u.global_port_id and e.subdag_hash = u.subdag_hash
     returning 1`,
    { limit, defaultTtl: DEFAULT_POLICY.ttlSeconds },
  );
  return rows.length;
}

/** A project with a quota, and what tells whether its entries may have become more since: read from an index. */
export interface LimitedProject {
  projectId: string;
  quotaBytes: bigint;
  /** When one of its entries was last stored or used. */
  lastUsedAt: Date;
}

export async function projectsWithQuota(db: Queryable): Promise<LimitedProject[]> {
  return db.query<LimitedProject>(
    `select policy.project_id, policy.quota_bytes, newest.last_used_at
       from cache_policy policy cross join lateral (
         select e.last_used_at from cache_entry e where e.project_id = policy.project_id
          order by e.last_used_at desc limit 1) newest
      where policy.quota_bytes > 0`,
  );
}

/**
 * Forgets entries of a project until the results of the others fit into its quota, those first that save the least time
 * per byte, the longest unused first where that is equal; a result that alone exceeds the quota goes too, and not at the
 * cost of the others. Entries with one result go or stay together. Returns how many went, `limit` results' at most, or
 * undefined when another replica is at it.
 */
export async function evictBeyondQuota(
  db: Database,
  { projectId, limit }: { projectId: string; limit: number },
): Promise<number | undefined> {
  return db.transaction(async (tx) => {
    const [lock] = await tx.query<{ mine: boolean }>(
      "select pg_try_advisory_xact_lock(hashtext('postern cache quota'), hashtext(:projectId)) as mine",
      { projectId },
    );
    if (!lock!.mine) return undefined;
    // Results two entries share are counted twice here: never less than what the statement below finds, and far cheaper.
    const [size] = await tx.query<{ beyond: boolean }>(
      `select sum(e.byte_count) > policy.quota_bytes as beyond
         from cache_policy policy join cache_entry e on e.project_id = policy.project_id
        where policy.project_id = :projectId and policy.quota_bytes > 0 group by policy.quota_bytes`,
      { projectId },
    );
    if (!size?.beyond) return 0;
    const rows = await tx.query(
      `with quota as (select quota_bytes from cache_policy where project_id = :projectId and quota_bytes > 0),
            result as (
         select result_uri, max(byte_count) as bytes, max(last_used_at) as used_at,
                cast(max(compute_ms) as double precision) * (1 + cast(sum(hit_count) as double precision))
                  / greatest(max(byte_count), 1) as worth
           from cache_entry where project_id = :projectId group by result_uri),
            fitting as (
         select result_uri, worth, used_at, quota_bytes,
                sum(bytes) over (order by worth desc, used_at desc, result_uri rows unbounded preceding) as bytes_up_to
           from result, quota where bytes <= quota_bytes),
            going as (
         select result_uri from result, quota where bytes > quota_bytes
         union all
         (select result_uri from fitting where bytes_up_to > quota_bytes
           order by worth, used_at, result_uri desc limit :limit))
       delete from cache_entry e using going g where e.project_id = :projectId and e.result_uri = g.result_uri
       returning 1`,
      { projectId, limit },
    );
    return rows.length;
  });
}
