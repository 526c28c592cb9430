// The port registry: rows of materialised ports, and console files. Each names its object in the ledger (blobs.ts).
import type { Schema } from "../../core/plan.js";
import type { Queryable } from "../database/database.js";
import { isNamed, upsertBlobs } from "./blobs.js";

export interface PortRow {
  executionId: string;
  globalPortId: string;
  operatorId: string;
  layer: string;
  portId: number;
  internal: boolean;
  input: boolean;
  uri: string;
  rowCount: bigint;
  byteCount: bigint;
  schema: Schema;
  subdagHash: string;
  viewed: boolean;
  attempt: number;
  registeredAt: Date;
  /** What computing it took, with everything it was made from; 0 when unknown. */
  computeMs: bigint;
}

/** A port of an execution whose rows are another execution's object: the counts are that one's. */
export type ReusedPort = Omit<PortRow, "rowCount" | "byteCount" | "registeredAt" | "computeMs">;

export interface ConsoleRow {
  operatorId: string;
  worker: number;
  uri: string;
  lineCount: bigint;
  byteCount: bigint;
}

/** The end of an insert into port_result: the last registration of a port is the one that counts. */
export const REPLACE_PORT = `on conflict (execution_id, global_port_id) do update
       set uri = excluded.uri, row_count = excluded.row_count, byte_count = excluded.byte_count,
           schema = excluded.schema, subdag_hash = excluded.subdag_hash, viewed = excluded.viewed,
           attempt = excluded.attempt, registered_at = now()`;

/** A port as a row for jsonb_to_recordset, but for its counts. */
export const portRecord = (p: Omit<PortRow, "rowCount" | "byteCount" | "computeMs" | "registeredAt">) => ({
  execution_id: p.executionId,
  global_port_id: p.globalPortId,
  operator_id: p.operatorId,
  layer: p.layer,
  port_id: p.portId,
  internal: p.internal,
  input: p.input,
  uri: p.uri,
  schema: p.schema,
  subdag_hash: p.subdagHash,
  viewed: p.viewed,
  attempt: p.attempt,
});

/**
 * Registers ports, replacing earlier registrations of the same ports, and their objects in the ledger; takes
 * `portParams`. At most one row per port. Two parts of a `with`, because they write two tables.
 */
export const UPSERT_PORTS = `reported_ports as (
     select * from jsonb_to_recordset(cast(:ports as jsonb)) as p
       (execution_id uuid, global_port_id text, operator_id text, layer text, port_id integer, internal boolean,
        input boolean, uri text, row_count bigint, byte_count bigint, schema jsonb, subdag_hash text, viewed boolean,
        attempt integer, compute_ms bigint)), port_blobs as (${upsertBlobs("reported_ports")}), ports as (
     insert into port_result (execution_id, global_port_id, operator_id, layer, port_id, internal, input, uri,
                              row_count, byte_count, schema, subdag_hash, viewed, attempt)
     select execution_id, global_port_id, operator_id, layer, port_id, internal, input, uri,
            row_count, byte_count, schema, subdag_hash, viewed, attempt from reported_ports
     ${REPLACE_PORT})`;

export const portParams = (ports: Omit<PortRow, "registeredAt">[]) => ({
  ports: JSON.stringify(
    ports.map((p) => ({
      ...portRecord(p),
      row_count: p.rowCount.toString(),
      byte_count: p.byteCount.toString(),
      compute_ms: p.computeMs.toString(),
    })),
  ),
});

export async function upsertPorts(db: Queryable, ports: Omit<PortRow, "registeredAt">[]): Promise<void> {
  await db.query(`with ${UPSERT_PORTS} select 1`, portParams(ports));
}

/** Registers console files and their objects in the ledger, replacing earlier ones of the same operator and worker. */
export async function upsertConsoles(db: Queryable, executionId: string, consoles: ConsoleRow[]): Promise<void> {
  await db.query(
    `with reported as (
       select cast(:executionId as uuid) as execution_id, u.*, u.line_count as row_count, 0 as compute_ms
         from unnest(cast(:operatorIds as text[]), cast(:workers as integer[]), cast(:uris as text[]),
                     cast(:lineCounts as bigint[]), cast(:byteCounts as bigint[]))
                as u (operator_id, worker, uri, line_count, byte_count)), blobs as (${upsertBlobs("reported")})
     insert into console_result (execution_id, operator_id, worker, uri, line_count, byte_count)
     select execution_id, operator_id, worker, uri, line_count, byte_count from reported
     on conflict (execution_id, operator_id, worker) do update
       set uri = excluded.uri, line_count = excluded.line_count, byte_count = excluded.byte_count`,
    {
      executionId,
      operatorIds: consoles.map((c) => c.operatorId),
      workers: consoles.map((c) => c.worker),
      uris: consoles.map((c) => c.uri),
      lineCounts: consoles.map((c) => c.lineCount),
      byteCounts: consoles.map((c) => c.byteCount),
    },
  );
}

const PORTS = "select p.*, b.compute_ms from port_result p join blob b on b.uri = p.uri";

export async function listPorts(db: Queryable, executionId: string): Promise<PortRow[]> {
  return db.query<PortRow>(`${PORTS} where p.execution_id = :executionId order by p.global_port_id`, { executionId });
}

export async function listConsoles(db: Queryable, executionId: string): Promise<ConsoleRow[]> {
  return db.query<ConsoleRow>(
    `select operator_id, worker, uri, line_count, byte_count from console_result
      where execution_id = :executionId order by operator_id, worker`,
    { executionId },
  );
}

/** Ports by their printed keys. */
export async function portsByGlobalId(db: Queryable, executionId: string, globalPortIds: string[]): Promise<PortRow[]> {
  return db.query<PortRow>(`${PORTS} where p.execution_id = :executionId and p.global_port_id = any(:globalPortIds)`, {
    executionId,
    globalPortIds,
  });
}

/** External output ports by operator and number, whichever layer has them. */
export async function portsByLogicalPort(
  db: Queryable,
  executionId: string,
  ports: { operatorId: string; portId: number }[],
): Promise<PortRow[]> {
  return db.query<PortRow>(
    `${PORTS} where p.execution_id = :executionId and not p.internal and not p.input
        and (p.operator_id, p.port_id) in (select * from unnest(cast(:operatorIds as text[]), cast(:portIds as integer[])))`,
    { executionId, operatorIds: ports.map((p) => p.operatorId), portIds: ports.map((p) => p.portId) },
  );
}

/** Forgets ports and consoles of executions; `released` are the URIs that no port, console, entry or pin names then. */
export async function deletePorts(
  db: Queryable,
  executionIds: string[],
): Promise<{ forgotten: number; released: string[] }> {
  const [row] = await db.query<{ forgotten: number; released: string[] }>(
    `with ports as (delete from port_result where execution_id = any(cast(:executionIds as uuid[])) returning uri),
          consoles as (delete from console_result where execution_id = any(cast(:executionIds as uuid[])) returning uri),
          gone as (select uri from ports union all select uri from consoles)
     select cast(count(*) as integer) as forgotten,
            coalesce(array_agg(distinct uri order by uri) filter (where not ${isNamed("gone.uri", "execution_id <> all(cast(:executionIds as uuid[]))")}), '{}') as released
       from gone`,
    { executionIds },
  );
  return row!;
}
