// What the cache has for the ports of an execution's plan, and which of the missing ones are its own to compute.
//
// One statement looks ports up, pins what it finds, reserves what is missing and gets in line for what somebody else has
// reserved.
import { prepared, type Queryable } from "../database/database.js";
import {
  bestEntries,
  byPort,
  type CachedPort,
  type LookupPort,
  onlyLooks,
  type PlacedEntry,
  type WantedPort,
  wantedParams,
} from "./cache-lookup.js";
import { COUNTS, FENCED, fenceParams, type LookupFor, PIN_MORE } from "./cache-reservations.js";

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

/** Each is worked out once for the statement, so that the planner has constants to look for in an index. */
const BEST_ENTRIES = bestEntries({
  project: "(select project_id from fenced)",
  workflow: "(select workflow_id from fenced)",
  shared: "(select shared from fenced)",
  subject: "(select created_by from fenced)",
});

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
