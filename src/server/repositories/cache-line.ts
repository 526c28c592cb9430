// The line of executions that wait for what others compute: who is next, and how each wait comes out.
//
// Q1  A place in line lasts as long as its execution is live under its epoch, whether or not anybody is connected.
// Q2  The oldest in line inherits, whatever replica it waits at; one that is paused only when all are, because it computes
//     nothing. The unique index of HELD rows decides between two replicas that give the same key away.
// Q3  Each statement here writes one table, and waits for no row another one locks: none of them is part of a deadlock.
import type { ExecutionState } from "../../core/execution-state.js";
import type { Queryable } from "../database/database.js";
import { bestEntry, type CachedPort, fingerprintCheck, hasHash, isShared, type WantedPort } from "./cache-lookup.js";
import { type CacheKey, FENCED, fenceParams, isOf, keyParams, type LookupFor, PIN_MORE } from "./cache-reservations.js";
import { IS_LIVE } from "./lease-watch.js";

/** Gets in line for keys the execution does not hold, and keeps its place where it is in line already. */
export async function joinLine(
  db: Queryable,
  by: LookupFor,
  ports: readonly Pick<WantedPort, "globalPortId" | "subdagHash">[],
): Promise<void> {
  await db.query(
    `with ${FENCED}
     insert into cache_waiter as w (project_id, namespace, subdag_hash, execution_id, epoch, global_port_id)
     select distinct on (u.subdag_hash) f.project_id, f.namespace, u.subdag_hash, f.id, f.epoch, u.global_port_id
       from fenced f, unnest(cast(:globalPortIds as text[]), cast(:subdagHashes as text[]))
                        as u (global_port_id, subdag_hash)
      where not exists (select from cache_reservation r
                         where r.execution_id = f.id and r.epoch = f.epoch and r.state = 'HELD'
                           and r.project_id = f.project_id and r.subdag_hash = u.subdag_hash)
      order by u.subdag_hash
     on conflict (project_id, namespace, subdag_hash, execution_id) do update set epoch = excluded.epoch
       where w.epoch < excluded.epoch`,
    {
      ...fenceParams(by),
      globalPortIds: ports.map((port) => port.globalPortId),
      subdagHashes: ports.map((port) => port.subdagHash),
    },
  );
}

/**
 * Gives each key, of these or of all, that nobody holds and no entry answers to the oldest in line whose execution is
 * live; returns who got which. Its place in line is still there, and worth nothing any more: see `leaveLine`.
 */
export async function inheritReservations(
  db: Queryable,
  keys?: readonly CacheKey[],
): Promise<(CacheKey & { executionId: string })[]> {
  return db.query(
    `insert into cache_reservation (project_id, namespace, subdag_hash, global_port_id, execution_id, epoch, expires_at)
     select distinct on (w.project_id, w.namespace, w.subdag_hash)
            w.project_id, w.namespace, w.subdag_hash, w.global_port_id, w.execution_id, w.epoch,
            case when e.lease_expires_at is null then now() + interval '1 minute' else now() end
       from cache_waiter w join execution e on e.id = w.execution_id and e.epoch = w.epoch and ${IS_LIVE}
      where ${isOf("w", keys)}
        and not exists (select from cache_reservation r
                         where r.state = 'HELD' and r.project_id = w.project_id and r.namespace = w.namespace
                           and r.subdag_hash = w.subdag_hash)
        and not exists (select from cache_reservation r
                         where r.execution_id = w.execution_id and r.epoch = w.epoch and r.created_at >= w.since
                           and r.project_id = w.project_id and r.namespace = w.namespace
                           and r.subdag_hash = w.subdag_hash)
        and not exists (select from cache_entry c
                         where ${hasHash("w.project_id")}
                           and (c.workflow_id = e.workflow_id or (w.namespace = '*' and c.shareable)))
      order by w.project_id, w.namespace, w.subdag_hash, e.state in ('PAUSING', 'PAUSED'), w.since, w.execution_id
     on conflict (project_id, namespace, subdag_hash) where state = 'HELD' do nothing
     returning project_id, subdag_hash, execution_id`,
    keys ? keyParams(keys) : {},
  );
}

/** Executions leave the line of keys: they were told how it came out, or hold them now. */
export async function leaveLine(db: Queryable, who: readonly (CacheKey & { executionId: string })[]): Promise<void> {
  await db.query(
    `delete from cache_waiter where ctid = any(array(
       select w.ctid from cache_waiter w
         join unnest(cast(:projectIds as text[]), cast(:hashes as text[]), cast(:executionIds as uuid[]))
                as u (project_id, subdag_hash, execution_id)
           on w.project_id = u.project_id and w.subdag_hash = u.subdag_hash and w.execution_id = u.execution_id
          for update of w skip locked))`,
    { ...keyParams(who), executionIds: who.map((one) => one.executionId) },
  );
}

/** One port somebody waits for. */
export interface Watch {
  executionId: string;
  epoch: bigint;
  port: WantedPort;
}

/** What there is to tell about a watch: its execution is not what it was, or one of the others. */
export interface LineAnswer extends Omit<CachedPort, "globalPortId" | "uri"> {
  /** Index among the watches asked about. */
  watch: number;
  /** Null when there is no such execution. */
  state: ExecutionState | null;
  currentEpoch: bigint;
  isLive: boolean;
  /** Null when no entry stands for the port; then so are its figures. */
  uri: string | null;
  /** Fencing number when the execution itself holds the key now; else null. */
  reservation: bigint | null;
}

const OF_WATCH = bestEntry({
  project: "e.project_id",
  workflow: "e.workflow_id",
  shared: "p.shared",
  subject: "e.created_by",
});

/**
 * What can be told of these watches now: those still to wait are left out. A watch with neither entry nor reservation is
 * one nobody computes for, because an entry is there that may not be used for it. What is found is pinned.
 */
export async function lineAnswers(db: Queryable, watches: readonly Watch[]): Promise<LineAnswer[]> {
  return db.query<LineAnswer>(
    `with watched as materialized (
       select u.*
         from unnest(cast(:executionIds as uuid[]), cast(:epochs as bigint[]), cast(:globalPortIds as text[]),
                     cast(:subdagHashes as text[]), cast(:checks as bytea[]))
                with ordinality as u (execution_id, epoch, global_port_id, subdag_hash, fingerprint_check, place)), answer as materialized (
     select cast(w.place - 1 as integer) as watch, w.execution_id, e.state, coalesce(e.epoch, 0) as current_epoch,
            coalesce(e.epoch = w.epoch and ${IS_LIVE}, false) as is_live, hit.*, r.fencing as reservation
       from watched w left join execution e on e.id = w.execution_id
       left join lateral (select ${isShared("e.project_id")} as shared) p on true
       left join lateral ${OF_WATCH} hit on true
       left join cache_reservation r on r.execution_id = e.id and r.epoch = w.epoch and r.state = 'HELD'
        and r.project_id = e.project_id and r.subdag_hash = w.subdag_hash
      where e.id is null or e.epoch <> w.epoch or not ${IS_LIVE} or hit.uri is not null or r.fencing is not null
         or (exists (select from cache_entry c
                      where ${hasHash("e.project_id")}
                        and (c.workflow_id = e.workflow_id or (p.shared and c.shareable)))
             and not exists (select from cache_reservation held
                              where held.state = 'HELD' and held.project_id = e.project_id
                                and held.namespace = case when p.shared then '*' else e.workflow_id end
                                and held.subdag_hash = w.subdag_hash))), pinned as (
       insert into cache_pin as p (execution_id, uris)
       select execution_id, array_agg(distinct uri) from answer where is_live and uri is not null
        group by execution_id order by execution_id ${PIN_MORE})
     select watch, state, current_epoch, is_live, uri, tuple_count, byte_count, compute_ms, source_execution_id, reservation
       from answer order by watch`,
    {
      executionIds: watches.map((one) => one.executionId),
      epochs: watches.map((one) => one.epoch),
      globalPortIds: watches.map((one) => one.port.globalPortId),
      subdagHashes: watches.map((one) => one.port.subdagHash),
      checks: watches.map((one) => fingerprintCheck(one.port)),
    },
  );
}

/** Removes places in line and pins of executions that have ended or gone on under another epoch meanwhile (R4). */
export async function forgetLeftovers(db: Queryable): Promise<void> {
  await db.query(
    `delete from cache_waiter where ctid = any(array(
       select w.ctid from cache_waiter w join execution e on e.id = w.execution_id
        where e.epoch <> w.epoch or not ${IS_LIVE} for update of w skip locked))`,
  );
  await db.query(
    `delete from cache_pin where ctid = any(array(
       select p.ctid from cache_pin p join execution e on e.id = p.execution_id
        where e.state in ('COMPLETED', 'FAILED', 'KILLED') for update of p skip locked))`,
  );
}
