// What executions had from the cache: ports registered where another execution wrote them, decisions, and the summary.
import type { RunState } from "../../core/execution-state.js";
import { type Database, json, type Queryable } from "../database/database.js";
import { createSharedReads, oncePerDatabase } from "../database/shared-reads.js";
import type { ReusedPort } from "./ports.js";

/** A port that one execution takes over. */
export type TakenPort = Omit<ReusedPort, "executionId" | "attempt">;

/**
 * Registers ports at the objects another execution wrote, with the ledger's counts; from then on nobody sweeps those. An
 * object that has gone since it was looked up is left out: returns how many were registered.
 */
export async function registerCachedPorts(
  tx: Queryable,
  { executionId, attempt, ports }: { executionId: string; attempt: number; ports: TakenPort[] },
): Promise<number> {
  const rows = await tx.query(
    `with wanted as (
       select * from jsonb_to_recordset(cast(:ports as jsonb)) as p
         ("globalPortId" text, "operatorId" text, layer text, "portId" integer, internal boolean, input boolean,
          uri text, schema jsonb, "subdagHash" text, viewed boolean)),
     held as (select uri, row_count, byte_count from blob where uri in (select uri from wanted) for key share)
     insert into port_result (execution_id, global_port_id, operator_id, layer, port_id, internal, input, uri,
                              row_count, byte_count, schema, subdag_hash, viewed, attempt)
     select :executionId, w."globalPortId", w."operatorId", w.layer, w."portId", w.internal, w.input, w.uri,
            h.row_count, h.byte_count, w.schema, w."subdagHash", w.viewed, :attempt
       from wanted w join held h on h.uri = w.uri
     returning uri`,
    { executionId, attempt, ports: json(ports) },
  );
  return rows.length;
}

export interface ReuseRow {
  regions: number;
  regionsReused: number;
  portsLookedUp: number;
  portsReused: number;
  savedMs: bigint;
  savedBytes: bigint;
  /** Proto3 JSON of PortReuse, in plan order. */
  decisions: unknown[];
}

/**
 * Stores what an execution had from the cache, and notes that the entries with the `used` objects were used once more.
 * Those entries somebody else has locked are left out: a use that is not counted does no harm, and waiting for many of
 * them in any order might.
 */
export async function storeReuse(
  tx: Queryable,
  { reuse, ...of }: { executionId: string; projectId: string; used: string[]; reuse: ReuseRow },
): Promise<void> {
  await tx.query(
    `with used as (
       select workflow_id, global_port_id, subdag_hash from cache_entry
        where project_id = :projectId and result_uri = any(cast(:used as text[])) for no key update skip locked),
     counted as (
       update cache_entry c set hit_count = c.hit_count + 1, last_used_at = now() from used u
        where c.project_id = :projectId and c.workflow_id = u.workflow_id and c.global_port_id = u.global_port_id
          and c.subdag_hash = u.subdag_hash)
     insert into execution_reuse (execution_id, regions, regions_reused, ports_looked_up, ports_reused, saved_ms,
                                  saved_bytes, decisions)
     values (:executionId, :regions, :regionsReused, :portsLookedUp, :portsReused, :savedMs, :savedBytes,
             cast(:decisions as jsonb))
     on conflict (execution_id) do update
       set regions = excluded.regions, regions_reused = excluded.regions_reused,
           ports_looked_up = excluded.ports_looked_up, ports_reused = excluded.ports_reused,
           saved_ms = excluded.saved_ms, saved_bytes = excluded.saved_bytes, decisions = excluded.decisions`,
    { ...of, ...reuse, decisions: json(reuse.decisions) },
  );
}

/**
 * What an execution had from the cache; undefined for one that was prepared before there was a cache. Those who ask at the
 * same time share a statement and the row.
 */
export const executionReuse = (db: Database, executionId: string): Promise<ReuseRow | undefined> =>
  sharedReuse(db)(executionId);

const sharedReuse = oncePerDatabase((db) =>
  createSharedReads<string, ReuseRow & { executionId: string }>({
    read: (ids) =>
      db.query(
        `select execution_id, regions, regions_reused, ports_looked_up, ports_reused, saved_ms, saved_bytes, decisions
           from execution_reuse where execution_id = any(cast(:ids as uuid[]))`,
        { ids },
      ),
    keyOf: ({ executionId }) => executionId,
  }),
);

/** A registered port whose object another execution wrote. */
export interface ReusedObject {
  globalPortId: string;
  uri: string;
  rowCount: number;
  byteCount: number;
  computeMs: number;
  sourceExecutionId: string;
}

/** What is stored of an execution's reuse, as one moment sees it. */
export interface ReuseFacts {
  /** Proto3 JSON of PortReuse, as decided before it ran. */
  decisions: unknown[];
  operators: { operatorId: string; layer: string; state: RunState }[];
  reused: ReusedObject[];
}

export async function reuseFacts(tx: Queryable, executionId: string): Promise<ReuseFacts> {
  const [facts] = await tx.query<ReuseFacts>(
    `select coalesce((select decisions from execution_reuse where execution_id = :executionId), '[]') as decisions,
            (select coalesce(jsonb_agg(jsonb_build_object('operatorId', operator_id, 'layer', layer, 'state', state)), '[]')
               from operator_statistics where execution_id = :executionId) as operators,
            (select coalesce(jsonb_agg(jsonb_build_object(
                      'globalPortId', p.global_port_id, 'uri', b.uri, 'rowCount', b.row_count, 'byteCount', b.byte_count,
                      'computeMs', b.compute_ms, 'sourceExecutionId', b.execution_id)), '[]')
               from port_result p join blob b on b.uri = p.uri
              where p.execution_id = :executionId and b.execution_id <> p.execution_id) as reused`,
    { executionId },
  );
  return facts!;
}
