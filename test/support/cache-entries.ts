// Entries of the port cache as commits leave them, for tests of what becomes of them.
import { newId } from "../../src/core/ids.js";
import type { Queryable } from "../../src/server/database/database.js";
import { PROJECT, WORKFLOW } from "./test-server.js";

/** Printed key of an output port. */
export const outputPort = (operator: string, portId = 0): string =>
  `(logicalOpId=${operator},layerName=main,portId=${portId},isInternal=false,isInput=false)`;

/** A subdag hash. */
export const hashOf = (n: number): string => n.toString(16).padStart(64, "0");

/** What is not said is the same for all, but for hash and object. */
export interface Entry {
  workflowId?: string;
  port?: string;
  hash?: string;
  uri?: string;
  bytes?: number;
  computeMs?: number;
  hits?: number;
  unusedSeconds?: number;
  type?: string;
  datasets?: string[];
  fingerprint?: string;
  source?: string;
}

/** Stores entries, each with an object of its own unless it names one. */
export async function storeEntries(db: Queryable, ...entries: Entry[]): Promise<void> {
  for (const [i, e] of entries.entries()) {
    const row = {
      projectId: PROJECT,
      workflowId: e.workflowId ?? WORKFLOW,
      port: e.port ?? outputPort("order"),
      hash: e.hash ?? hashOf(i),
      uri: e.uri ?? `file:///results/${e.workflowId ?? ""}/${e.port ?? ""}/${e.hash ?? i}`,
      bytes: e.bytes ?? 100,
      computeMs: e.computeMs ?? 1_000,
      hits: e.hits ?? 0,
      unused: e.unusedSeconds ?? 0,
      type: e.type ?? "sort",
      datasets: e.datasets ?? [],
      fingerprint: e.fingerprint ?? "{}",
      source: e.source ?? newId(),
    };
    await db.query(
      `with object as (
           insert into blob (uri, project_id, execution_id, row_count, byte_count)
           values (:uri, :projectId, :source, 1, :bytes) on conflict do nothing)
         insert into cache_entry (project_id, workflow_id, global_port_id, subdag_hash, fingerprint_json, result_uri,
                                  tuple_count, byte_count, source_execution_id, compute_ms, hit_count, last_used_at,
                                  operator_type, dataset_versions)
         values (:projectId, :workflowId, :port, :hash, :fingerprint, :uri, 1, :bytes, :source, :computeMs, :hits,
                 now() - :unused * interval '1 second', :type, :datasets)`,
      row,
    );
  }
}

/** Takes away what tests have stored: entries, policies, executions and the ledger. */
export async function clearCache(db: Queryable): Promise<void> {
  for (const table of ["cache_entry", "cache_policy", "execution", "blob"]) await db.query(`delete from ${table}`);
}
