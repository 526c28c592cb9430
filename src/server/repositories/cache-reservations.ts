// The right to compute a missing entry. The line of those who wait for one is in cache-line.ts.
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
import {
  bestEntries,
  byPort,
  type CachedPort,
  isShared,
  type LookupPort,
  onlyLooks,
  type PlacedEntry,
  type WantedPort,
  wantedParams,
} from "./cache-lookup.js";
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

/** What the database says of one port: an entry, a reservation of the execution's, or neither. */
export interface LookupRow extends Omit<CachedPort, "uri"> {
  /** Null when there is no entry; then so are its figures. */
  uri: string | null;
  /** Fencing number of the execution's own reservation; null when it holds none, or an entry is there. */
  reservation: bigint | null;
  /** True when this very statement reserved it. */
  isNew: boolean;
  /** True when the reservation of somebody who is gone stands in the way. */
  holderGone: boolean;
}

/** Reservation `r` of execution `e` counts (R3). */
const COUNTS = `e.epoch = r.epoch and ${IS_LIVE} and (e.lease_expires_at is not null or r.expires_at > now())`;

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

/** Each is worked out once for the statement, so that the planner has constants to look for in an index. */
const BEST_ENTRIES = bestEntries({
  project: "(select project_id from fenced)",
  workflow: "(select workflow_id from fenced)",
  shared: "(select shared from fenced)",
  subject: "(select created_by from fenced)",
});

/** The end of an insert into cache_pin `p`: objects that are pinned already are left as they are. Both are done by hash. */
export const PIN_MORE = `on conflict (execution_id) do update
         set uris = p.uris || array(select unnest(excluded.uris) except select unnest(p.uris))
         where exists (select unnest(excluded.uris) except select unnest(p.uris))`;

/**
 * Every step goes over the ports once and finds its rows by an index or a hash: joined to each other by hash, parts of a
 * `with` of unknown size may well be compared each with each. What was reserved comes back in rows of its own. When nothing
 * is missing and all is pinned already, nothing is written: a commit would wait for the disk.
 */
const LOOK_UP = prepared(`
     with ${FENCED}, ${BEST_ENTRIES}, asked as materialized (
       select hit.place, hit.looks, hit.reserves, hit.subdag_hash, hit.global_port_id,
              case when r.execution_id = f.id and r.epoch = f.epoch then r.fencing end as own,
              r.fencing is not null and not coalesce(${COUNTS}, false) as holder_gone
         from hit cross join fenced f
         left join lateral (
           select * from cache_reservation held
            where held.state = 'HELD' and held.project_id = f.project_id and held.namespace = f.namespace
              and held.subdag_hash = hit.subdag_hash limit 1) r on true
         left join execution e on e.id = r.execution_id
        where hit.uri is null), missing as materialized (
       select subdag_hash, min(global_port_id) as global_port_id, bool_or(looks) as waits from asked
        where reserves and own is null group by subdag_hash), reserved as (
       insert into cache_reservation (project_id, namespace, subdag_hash, global_port_id, execution_id, epoch, expires_at)
       select f.project_id, f.namespace, m.subdag_hash, m.global_port_id, f.id, f.epoch,
              case when f.lease_expires_at is null then now() + interval '1 minute' else now() end
         from missing m, fenced f order by m.subdag_hash
       on conflict (project_id, namespace, subdag_hash) where state = 'HELD' do nothing
       returning subdag_hash, fencing), waiting as (
       insert into cache_waiter as w (project_id, namespace, subdag_hash, execution_id, epoch, global_port_id)
       select f.project_id, f.namespace, m.subdag_hash, f.id, f.epoch, m.global_port_id
         from missing m, fenced f where m.waits and m.subdag_hash not in (select subdag_hash from reserved)
        order by m.subdag_hash
       on conflict (project_id, namespace, subdag_hash, execution_id) do update set epoch = excluded.epoch
         where w.epoch < excluded.epoch), pinned as (
       insert into cache_pin as p (execution_id, uris)
       select f.id, found.uris from fenced f, (select array_agg(uri) as uris from hit where uri is not null) found
        where found.uris is not null and (select count(*) from reserved) >= 0
          and not exists (
            select from cache_pin old
             where old.execution_id = f.id
               and (old.uris = found.uris
                 or not exists (select unnest(found.uris) except select unnest(old.uris)))) ${PIN_MORE})
     select place, uri, tuple_count, byte_count, compute_ms, source_execution_id, cast(null as bigint) as reservation,
            false as holder_gone, null as new_hash from hit where uri is not null
      union all select place, null, null, null, null, null, own, holder_gone, null from asked
      union all select null, null, null, null, null, null, fencing, false, subdag_hash from reserved`);

interface AskedRow extends Omit<LookupRow, "globalPortId" | "isNew"> {
  /** Counted from 1; null in rows that tell what was reserved. */
  place: number | null;
  newHash: string | null;
}

/**
 * Looks ports up, pins what is found, reserves what is missing and gets in line for what somebody else has reserved: one
 * statement. One row per port, in their order; none at all when the fence does not hold.
 */
export async function lookUpPorts(db: Queryable, by: LookupFor, ports: readonly LookupPort[]): Promise<LookupRow[]> {
  const rows = await db.query<AskedRow>(LOOK_UP, { ...fenceParams(by), ...lookupParams(ports) });
  const fresh = new Map<string, bigint | null>();
  for (const { newHash, reservation } of rows) if (newHash !== null) fresh.set(newHash, reservation);
  if (rows.length === 0) return [];
  const found = new Array<LookupRow>(ports.length);
  for (const row of rows) if (row.place !== null) found[row.place - 1] = lookupRow(row, ports[row.place - 1]!, fresh);
  return found;
}

/** Who asks for the ports of a plan asks with the same list (cache/lookup-plan.ts): it is encoded once. */
const encoded = new WeakMap<readonly LookupPort[], ReturnType<typeof wantedParams>>();

function lookupParams(ports: readonly LookupPort[]): ReturnType<typeof wantedParams> {
  const known = encoded.get(ports) ?? wantedParams(ports);
  encoded.set(ports, known);
  return known;
}

/** Fields are named one by one: a spread of a thousand rows takes a tenth of the whole call. */
function lookupRow(row: AskedRow, { wanted, reserves }: LookupPort, fresh: Map<string, bigint | null>): LookupRow {
  const { uri, tupleCount, byteCount, computeMs, sourceExecutionId } = row;
  const isMissing = reserves && uri === null && row.reservation === null;
  const reservation = isMissing ? (fresh.get(wanted.subdagHash) ?? null) : row.reservation;
  const isNew = isMissing && reservation !== null;
  const { globalPortId } = wanted;
  const holderGone = row.holderGone && !isNew;
  return { globalPortId, uri, tupleCount, byteCount, computeMs, sourceExecutionId, reservation, isNew, holderGone };
}

const PIN_FOUND = prepared(`
     with ${FENCED}, ${BEST_ENTRIES}, pinned as (
       insert into cache_pin as p (execution_id, uris)
       select f.id, array_agg(hit.uri) from hit, fenced f where hit.uri is not null group by f.id ${PIN_MORE})
     select place, uri, tuple_count, byte_count, compute_ms, source_execution_id from hit where uri is not null`);

/** Looks ports up and pins what is found; nothing when the fence does not hold. */
export async function pinCachedPorts(
  db: Queryable,
  by: LookupFor,
  ports: readonly WantedPort[],
): Promise<Map<string, CachedPort>> {
  const params = { ...fenceParams(by), ...wantedParams(onlyLooks(ports)) };
  return byPort(ports, await db.query<PlacedEntry>(PIN_FOUND, params));
}

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
