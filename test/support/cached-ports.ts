// Results in a project's cache, made without an executor: objects below the result root, rows of ledger and cache.
import { mkdir, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { fingerprints } from "../../src/core/fingerprint.js";
import { newExecutionId } from "../../src/core/ids.js";
import { globalPortId, type PhysicalPlan } from "../../src/core/plan.js";
import { writeLikeParquet } from "./parquet-file.js";
import { PROJECT, type TestServer, WORKFLOW } from "./test-server.js";

export interface CachedPortDraft {
  operatorId: string;
  rows?: number;
  bytes?: number;
  computeMs?: number;
}

/** The printed key of an operator's only output. */
export const outputPort = (operatorId: string): string =>
  globalPortId({ operatorId, layer: "main", portId: 0, internal: false, input: false });

/** Stores output ports of a plan as if an execution, deleted since, had computed them; returns their URIs by operator. */
export async function putIntoCache(
  { db, resultRoot }: TestServer,
  plan: PhysicalPlan,
  ports: CachedPortDraft[],
  {
    workflowId = WORKFLOW,
    sourceExecutionId = newExecutionId(),
  }: { workflowId?: string; sourceExecutionId?: string } = {},
): Promise<Map<string, string>> {
  const prints = fingerprints(plan);
  const uris = new Map<string, string>();
  for (const { operatorId, rows = 3, bytes = 1_000, computeMs = 500 } of ports) {
    const port = outputPort(operatorId);
    const print = prints.get(port);
    if (!print || !("hash" in print)) throw new Error(`Port ${port} cannot be cached.`);
    const uri = `${resultRoot}/${PROJECT}/${sourceExecutionId}/1/${operatorId}.parquet`;
    await mkdir(dirname(fileURLToPath(uri)), { recursive: true });
    await writeLikeParquet(fileURLToPath(uri), bytes);
    const row = { uri, projectId: PROJECT, executionId: sourceExecutionId, rows, bytes, computeMs };
    await db.query(
      `insert into blob (uri, project_id, execution_id, row_count, byte_count, compute_ms)
       values (:uri, :projectId, :executionId, :rows, :bytes, :computeMs)`,
      row,
    );
    await db.query(
      `insert into cache_entry (project_id, workflow_id, global_port_id, subdag_hash, fingerprint_json, result_uri,
                                tuple_count, byte_count, source_execution_id, compute_ms)
       values (:projectId, :workflowId, :port, :hash, :json, :uri, :rows, :bytes, :executionId, :computeMs)`,
      { ...row, workflowId, port, ...print },
    );
    uris.set(operatorId, uri);
  }
  return uris;
}

/** Deletes an object behind everybody's back. */
export const loseObject = (uri: string): Promise<void> => rm(fileURLToPath(uri));
