// The right to compute a missing entry. Whoever looks ports up gets it (cache-plan-lookup.ts) or gets in line for it
// (cache-line.ts).
//
// R1  A key (project, namespace, hash) has at most one HELD row: the partial unique index sees to it. The namespace is the
//     workflow, or `*` where the project shares its cache.
// R2  Whoever inserts several does it in one statement, in the order of keys, and locks nothing another such statement
//     may want before: two of them never wait for each other.
// R3  A row counts while its execution is live under its epoch. A lease that ran out ends that when it is taken back
//     (lost-leases.ts), so an outage of the servers costs no reservation. Where there is no lease to lose, its own
//     `expires_at` counts.
// R4  What is written here for an execution that has meanwhile ended, or under an epoch that has meanwhile passed, counts
//     for nothing: so these statements check the fence and need no lock on the execution, which is written all the time.
import { prepared, type Queryable } from "../database/database.js";
import { isShared } from "./cache-lookup.js";
import { IS_LIVE } from "./lease-watch.js";

/** Names what is computed or waited for, whatever its namespace: who is concerned by a key looks again. */
export interface CacheKey {
  projectId: string;
  subdagHash: string;
}

/** For whom a lookup is made. */
export interface LookupFor {
  executionId: string;
  /** Null for a user, who speaks for the present attempt. */
  attempt: number | null;
  epoch: bigint | null;
}

/** Reservation `r` of execution `e` counts (R3). */
export const COUNTS = `e.epoch = r.epoch and ${IS_LIVE} and (e.lease_expires_at is not null or r.expires_at > now())`;

const fencedBy = (lock: string): string => `fenced as materialized (
       select e.*, p.shared, case when p.shared then '*' else e.workflow_id end as namespace
         from execution e cross join lateral (select ${isShared("e.project_id")} as shared) p
        where e.id = :executionId and ${IS_LIVE}
          and (cast(:attempt as integer) is null or e.attempt = :attempt)
          and (cast(:epoch as bigint) is null or e.epoch = :epoch)${lock})`;

/** The execution, if the fence holds; takes `fenceParams`. */
export const FENCED = fencedBy("");

const HOLDS = prepared(`with ${FENCED} select 1 as holds from fenced`);

/** Whether the execution is live under this fence. */
export async function fenceHolds(db: Queryable, by: LookupFor): Promise<boolean> {
  return (await db.query(HOLDS, fenceParams(by))).length > 0;
}

/** The same, locked: whoever changes several reservations of an execution does it alone. */
const FENCED_AND_LOCKED = fencedBy(" for no key update of e");

export const fenceParams = ({ executionId, attempt, epoch }: LookupFor) => ({ executionId, attempt, epoch });

/** The end of an insert into cache_pin `p`: objects that are pinned already are left as they are. Both are done by hash. */
export const PIN_MORE = `on conflict (execution_id) do update
         set uris = p.uris || array(select unnest(excluded.uris) except select unnest(p.uris))
         where exists (select unnest(excluded.uris) except select unnest(p.uris))`;

/** Gives reservations back; returns their keys. Those the execution does not hold are left as they are. */
export async function releaseReservations(
  db: Queryable,
  by: LookupFor,
  reservations: readonly bigint[],
): Promise<CacheKey[]> {
  return db.query<CacheKey>(
    `with ${FENCED_AND_LOCKED}
     update cache_reservation r set state = 'RELEASED' from fenced f
      where r.fencing = any(cast(:reservations as bigint[])) and r.execution_id = f.id and r.epoch = f.epoch
        and r.state = 'HELD'
     returning r.project_id, r.subdag_hash`,
    { ...fenceParams(by), reservations },
  );
}

/** Lets reservations last `ttlMs` from now; returns the fencing numbers of those the execution holds. */
export async function extendReservations(
  db: Queryable,
  by: LookupFor,
  reservations: readonly bigint[],
  ttlMs: number,
): Promise<bigint[]> {
  const rows = await db.query<{ fencing: bigint }>(
    `with ${FENCED_AND_LOCKED}
     update cache_reservation r
        set expires_at = now() + cast(:ttlMs as double precision) * interval '1 millisecond' from fenced f
      where r.fencing = any(cast(:reservations as bigint[])) and r.execution_id = f.id and r.epoch = f.epoch
        and r.state = 'HELD'
     returning r.fencing`,
    { ...fenceParams(by), reservations, ttlMs },
  );
  return rows.map(({ fencing }) => fencing);
}

/** An execution that has ended gives up reservations, places in line and pins; returns the keys that became free. */
export const letCacheGo = (tx: Queryable, executionId: string): Promise<CacheKey[]> =>
  giveUp(tx, executionId, "RELEASED", ", pins as (delete from cache_pin where execution_id = :executionId)");

/** As `letCacheGo` for an attempt that lost its executor: what the execution found stays pinned for the next one. */
export const loseReservations = (tx: Queryable, executionId: string): Promise<CacheKey[]> =>
  giveUp(tx, executionId, "LOST", "");

async function giveUp(tx: Queryable, executionId: string, as: "RELEASED" | "LOST", unpin: string): Promise<CacheKey[]> {
  return tx.query<CacheKey>(
    `with waiters as (delete from cache_waiter where execution_id = :executionId)${unpin}
     update cache_reservation set state = :as where execution_id = :executionId and state = 'HELD'
     returning project_id, subdag_hash`,
    { executionId, as },
  );
}

/** Every hash an execution has reserved, whatever became of it. */
export async function reservedHashes(db: Queryable, executionId: string): Promise<string[]> {
  const rows = await db.query<{ subdagHash: string }>(
    "select distinct subdag_hash from cache_reservation where execution_id = :executionId",
    { executionId },
  );
  return rows.map(({ subdagHash }) => subdagHash);
}

export const keyParams = (keys: readonly CacheKey[]) => ({
  projectIds: keys.map((key) => key.projectId),
  hashes: keys.map((key) => key.subdagHash),
});

/** That the row `alias` is of one of the keys; of any when there is no list. */
export const isOf = (alias: string, keys: readonly CacheKey[] | undefined): string =>
  keys
    ? `(${alias}.project_id, ${alias}.subdag_hash) in (
          select * from unnest(cast(:projectIds as text[]), cast(:hashes as text[])))`
    : "true";

/** Marks reservations that do not count any more, of these keys or of all, LOST; returns their keys. */
export async function expireReservations(db: Queryable, keys?: readonly CacheKey[]): Promise<CacheKey[]> {
  return db.query<CacheKey>(
    `with gone as materialized (
       select r.fencing from cache_reservation r join execution e on e.id = r.execution_id
        where r.state = 'HELD' and ${isOf("r", keys)} and not (${COUNTS})
          for update of r skip locked)
     update cache_reservation r set state = 'LOST' from gone where r.fencing = gone.fencing
     returning r.project_id, r.subdag_hash`,
    keys ? keyParams(keys) : {},
  );
}
