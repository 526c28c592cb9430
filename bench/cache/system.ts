// What the bench of the cache runs against: the base, a project, and clients of its server.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Client, credentials } from "@grpc/grpc-js";
import { AccessServiceClient } from "../../src/contract/postern/v1/access.js";
import { CacheServiceClient } from "../../src/contract/postern/v1/cache.js";
import { CostModel } from "../../src/contract/postern/v1/compile.js";
import { DatasetServiceClient } from "../../src/contract/postern/v1/dataset.js";
import {
  type CacheMode,
  ExecutionServiceClient,
  type PrepareExecutionResponse,
} from "../../src/contract/postern/v1/execution.js";
import { LogicalPlan } from "../../src/contract/postern/v1/plan.js";
import { WorkflowServiceClient } from "../../src/contract/postern/v1/workflow.js";
import { callUnary, STREAM_CHANNEL_OPTIONS, UNARY_CHANNEL_OPTIONS } from "../../src/rpc/channel.js";
import { type BaseSystem, CLI, type SystemOptions, startBaseSystem } from "../base-system.js";
import type * as bench from "../run-groups.js";
import type { Program } from "../stream/child.js";
import type { Scale } from "./arguments.js";

export const PROJECT = "bench";
const UNIT = "unit";
/** Rows of the dataset every workflow reads. */
const ROWS = 1_000;

export interface CacheSystem extends BaseSystem {
  clients: {
    caches: CacheServiceClient;
    datasets: DatasetServiceClient;
    executions: ExecutionServiceClient;
  };
  /** A pooled executor of the project's computing unit; `env` goes over the usual settings. */
  startExecutor(name: string, slots: number, env?: Record<string, string>): Promise<Program>;
  putWorkflow(workflowId: string, plan: unknown): Promise<void>;
  /** Prepares an execution; queued ones go to an executor. */
  prepare(workflowId: string, options: { queue: boolean; cache: CacheMode }): Promise<PrepareExecutionResponse>;
}

export type FigureGroup = bench.FigureGroup<CacheSystem, Scale>;

/** Short, so that a killed holder is missed soon. */
export const LEASE_MS = 2_000;

export async function startCacheSystem(options: SystemOptions): Promise<CacheSystem> {
  const base = await startBaseSystem(options);
  const { directory, userToken: token } = base;
  const server = await base.startServer({ leaseMs: LEASE_MS });
  const plain = credentials.createInsecure();
  const { address } = server;
  const access = new AccessServiceClient(address, plain);
  const workflows = new WorkflowServiceClient(address, plain);
  const clients = {
    caches: new CacheServiceClient(address, plain, UNARY_CHANNEL_OPTIONS),
    datasets: new DatasetServiceClient(address, plain),
    executions: new ExecutionServiceClient(address, plain, STREAM_CHANNEL_OPTIONS),
  };
  const all: Client[] = [access, workflows, ...Object.values(clients)];
  await options.undo.add(async () => {
    for (const client of all) client.close();
  });
  await callUnary(access, "createProject", { requestId: "", projectId: PROJECT, name: "" }, { token });
  await callUnary(access, "putComputingUnit", { projectId: PROJECT, computingUnitId: UNIT, name: "" }, { token });
  const file = join(directory, "rows.csv");
  const lines = Array.from({ length: ROWS }, (_, i) => `${i},${(i * 7_919) % 1_000},name ${i % 37}`);
  await writeFile(file, `id,weight,name\n${lines.join("\n")}\n`);
  const uri = pathToFileURL(file).href;
  const dataset = { requestId: "", projectId: PROJECT, name: "rows", uri, format: undefined };
  await callUnary(clients.datasets, "registerDataset", dataset, { token });

  return {
    ...base,
    clients,
    async startExecutor(name, slots, env) {
      const unit = { projectId: PROJECT, computingUnitId: UNIT };
      const { token: serveToken } = await callUnary(access, "createServeToken", unit, { token });
      const tokenFile = join(directory, `${name}.token`);
      await writeFile(tokenFile, serveToken, { mode: 0o600 });
      return base.startChild(name, [...base.profiling, CLI, "executor"], {
        POSTERN_SERVER: address,
        POSTERN_TOKEN_FILE: tokenFile,
        POSTERN_EXECUTOR_ID: name,
        POSTERN_WORK_DIR: join(directory, name),
        POSTERN_SLOTS: `${slots}`,
        POSTERN_THREADS: "1",
        POSTERN_LOG_LEVEL: "info",
        ...env,
      });
    },
    async putWorkflow(workflowId, plan) {
      const workflow = { requestId: "", projectId: PROJECT, workflowId, plan: LogicalPlan.fromJSON(plan), comment: "" };
      await callUnary(workflows, "putWorkflow", workflow, { token });
    },
    prepare: (workflowId, { queue, cache }) =>
      callUnary(
        clients.executions,
        "prepareExecution",
        {
          requestId: "",
          projectId: PROJECT,
          workflowId,
          workflowVersion: 0,
          computingUnitId: UNIT,
          name: "",
          queue,
          maxAttempts: 0,
          cache: { mode: cache, operators: {} },
          costModel: CostModel.COST_MODEL_UNSPECIFIED,
        },
        { token },
      ),
  };
}
