// Finished ports become entries of the cache.
//
// M1  A commit needs its reservation: of this execution under this epoch, for this hash, HELD. HELD is enough, whatever
//     became of the lease meanwhile: nobody else computes the key. One that is COMMITTED may be named again, which
//     changes nothing: the entry may have been forgotten on purpose since, or replaced by a newer one.
// M2  What is remembered is the server's: the fingerprint of the plan it issued, and counts of the registered port.
// M3  The port must be registered at an object the execution itself wrote; reused objects are remembered already.
// M4  Only trusted executions commit, and only what pooled executors made may be shared among workflows.
import { textArray } from "../database/binary-array.js";
import type { Queryable } from "../database/database.js";
import type { CacheKey } from "./cache-reservations.js";
import { portRecord, REPLACE_PORT, type ReusedPort } from "./ports.js";

/** A port offered to the cache, with what the server's plan says of it. */
export interface PortOffer {
  executionId: string;
  epoch: bigint;
  globalPortId: string;
  subdagHash: string;
  fingerprintJson: string;
  /** Fencing number; null for whichever of the execution is of the hash. */
  reservation: bigint | null;
  computeMs: bigint;
  operatorType: string;
  datasetVersions: string[];
}

/** COMMITTED: it is remembered, or was by an earlier offer. LOST: its reservation ended meanwhile. REFUSED: the execution never reserved it. */
export type OfferOutcome = "COMMITTED" | "LOST" | "REFUSED";

/**
 * Remembers registered ports by their reservations; the transaction has written the execution under its fence before.
 * The outcomes are in the order of the offers.
 */
export async function commitOffers(
  db: Queryable,
  offers: readonly PortOffer[],
): Promise<(CacheKey & { outcome: OfferOutcome })[]> {
  if (offers.length === 0) return [];
  return db.query(
    `with offer as materialized (
       select o.*, r.fencing, r.project_id,
              r.epoch = o.epoch and r.state = 'HELD' as stands, r.epoch = o.epoch and r.state = 'COMMITTED' as done
         from unnest(cast(:executionIds as uuid[]), cast(:epochs as bigint[]), cast(:globalPortIds as text[]),
                     cast(:subdagHashes as text[]), cast(:fingerprints as text[]), cast(:reservations as bigint[]),
                     cast(:computeMs as bigint[]), cast(:operatorTypes as text[]), cast(:datasets as text[]))
                with ordinality
                as o (execution_id, epoch, global_port_id, subdag_hash, fingerprint_json, reservation, compute_ms,
                      operator_type, datasets, place)
         left join lateral (
           select r.* from cache_reservation r
            where r.execution_id = o.execution_id and r.subdag_hash = o.subdag_hash
              and (o.reservation is null or r.fencing = o.reservation)
            order by r.epoch = o.epoch and r.state in ('HELD', 'COMMITTED') desc, r.fencing desc limit 1) r on true),
     committed as (
       update cache_reservation r set state = 'COMMITTED'
        where r.fencing in (select fencing from offer where stands) and r.state = 'HELD'
       returning r.fencing), remembered as (
       insert into cache_entry as c (project_id, workflow_id, global_port_id, subdag_hash, fingerprint_json, result_uri,
                                     tuple_count, byte_count, source_execution_id, compute_ms, operator_type,
                                     dataset_versions, shareable)
       select e.project_id, e.workflow_id, p.global_port_id, o.subdag_hash, o.fingerprint_json, p.uri, p.row_count,
              p.byte_count, e.id, o.compute_ms, o.operator_type, coalesce(string_to_array(nullif(o.datasets, ''), ','), '{}'), e.queued
         from offer o join committed on committed.fencing = o.fencing
         join execution e on e.id = o.execution_id and e.trusted
         join port_result p on p.execution_id = e.id and p.global_port_id = o.global_port_id
          and p.subdag_hash = o.subdag_hash
         join blob b on b.uri = p.uri and b.execution_id = e.id
        order by e.project_id, e.workflow_id, p.global_port_id, o.subdag_hash
       on conflict (project_id, workflow_id, global_port_id, subdag_hash) do update
         set fingerprint_json = excluded.fingerprint_json, result_uri = excluded.result_uri,
             tuple_count = excluded.tuple_count, byte_count = excluded.byte_count,
             source_execution_id = excluded.source_execution_id, compute_ms = excluded.compute_ms,
             operator_type = excluded.operator_type, dataset_versions = excluded.dataset_versions,
             shareable = excluded.shareable, updated_at = now(), last_used_at = now()
       returning c.source_execution_id, c.global_port_id)
     select coalesce(o.project_id, '') as project_id, o.subdag_hash,
            case when o.fencing is null then 'REFUSED' when o.done or m.global_port_id is not null then 'COMMITTED'
                 else 'LOST' end as outcome
       from offer o left join remembered m
         on m.source_execution_id = o.execution_id and m.global_port_id = o.global_port_id
      order by o.place`,
    {
      executionIds: offers.map((o) => o.executionId),
      epochs: offers.map((o) => o.epoch),
      globalPortIds: offers.map((o) => o.globalPortId),
      subdagHashes: offers.map((o) => o.subdagHash),
      fingerprints: textArray(offers.map((o) => Buffer.from(o.fingerprintJson))),
      reservations: offers.map((o) => o.reservation),
      computeMs: offers.map((o) => o.computeMs),
      operatorTypes: offers.map((o) => o.operatorType),
      // Ids and numbers: none of them holds a comma.
      datasets: offers.map((o) => o.datasetVersions.join(",")),
    },
  );
}

/**
 * Registers ports at objects their execution was told of: those it pins, and those it has registered before. Counts are
 * the ledger's. Returns the ports that were registered; at most one row per port.
 */
export async function registerReusedPorts(
  db: Queryable,
  ports: readonly ReusedPort[],
): Promise<{ executionId: string; globalPortId: string }[]> {
  return db.query(
    `insert into port_result (execution_id, global_port_id, operator_id, layer, port_id, internal, input, uri, row_count,
                              byte_count, schema, subdag_hash, viewed, attempt)
     select r.execution_id, r.global_port_id, r.operator_id, r.layer, r.port_id, r.internal, r.input, b.uri,
            b.row_count, b.byte_count, r.schema, r.subdag_hash, r.viewed, r.attempt
       from jsonb_to_recordset(cast(:ports as jsonb)) as r
              (execution_id uuid, global_port_id text, operator_id text, layer text, port_id integer, internal boolean,
               input boolean, uri text, schema jsonb, subdag_hash text, viewed boolean, attempt integer)
       join blob b on b.uri = r.uri
      where exists (select from cache_pin pin where pin.execution_id = r.execution_id and r.uri = any(pin.uris))
         or exists (select from port_result known where known.execution_id = r.execution_id and known.uri = r.uri
                       and known.global_port_id = r.global_port_id)
     ${REPLACE_PORT}
     returning execution_id, global_port_id`,
    { ports: JSON.stringify(ports.map(portRecord)) },
  );
}

/** An offer that was turned away, as the audit log keeps it. */
export interface RefusedOffer {
  executionId: string;
  globalPortId: string;
  subdagHash: string;
  uri: string;
  /** A sentence. */
  why: string;
}

/** Writes down offers that were turned away; `actor` is null for the executions themselves. */
export async function auditRefusedOffers(
  db: Queryable,
  refused: readonly RefusedOffer[],
  actor: string | null = null,
): Promise<void> {
  await db.query(
    `insert into audit_log (actor, action, project_id, resource, detail)
     select coalesce(cast(:actor as text), 'execution ' || e.id), 'CacheCommitRefused', e.project_id,
            'execution "' || e.id || '"', r.detail
       from jsonb_to_recordset(cast(:refused as jsonb)) as r (execution_id uuid, detail jsonb)
       join execution e on e.id = r.execution_id`,
    {
      actor,
      refused: JSON.stringify(refused.map(({ executionId, ...detail }) => ({ execution_id: executionId, detail }))),
    },
  );
}
