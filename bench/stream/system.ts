// What a bench of streams runs against: the base, and executions made for it.
//
// Y1  Executions are copies, made by SQL, of one that was prepared through the API: what is measured begins at Attach.
//     They are RUNNING, their stored sequence is where the frames of a bench begin, and their tokens are signed with the
//     servers' key.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { credentials } from "@grpc/grpc-js";
import type pg from "pg";
import { AccessServiceClient } from "../../src/contract/postern/v1/access.js";
import { CostModel } from "../../src/contract/postern/v1/compile.js";
import { DatasetServiceClient } from "../../src/contract/postern/v1/dataset.js";
import { CacheMode, ExecutionServiceClient, type ExecutionSpec } from "../../src/contract/postern/v1/execution.js";
import { LogicalPlan } from "../../src/contract/postern/v1/plan.js";
import { WorkflowServiceClient } from "../../src/contract/postern/v1/workflow.js";
import { newExecutionId } from "../../src/core/ids.js";
import { callUnary } from "../../src/rpc/channel.js";
import { createTokenIssuer, type TokenIssuer } from "../../src/server/access/tokens.js";
import { type BaseSystem, type SystemOptions, startBaseSystem, TOKEN_SECONDS } from "../base-system.js";
import { benchProgram, type Load, type Program, startLoad } from "./child.js";
import type { Assigned } from "./load/attach-stream.js";
import { COPY_TABLE } from "./load/copy.js";
import { type PlanOperator, STORED_SEQUENCE } from "./load/event-frames.js";

export const PROJECT = "bench";
const UNIT = "unit";
const WORKFLOW = "fruit";

export interface BenchSystem extends BaseSystem {
  planDigest: string;
  operators: PlanOperator[];
  startEcho(replyBytes?: number): Promise<Program>;
  startAuthServer(replyBytes: number): Promise<Program>;
  startLoad(): Promise<Load>;
  makeExecutions(count: number): Promise<Assigned[]>;
  /** Empties the log and its yardstick and writes a checkpoint, so that every round begins alike. */
  sweep(): Promise<void>;
}

export async function startSystem(options: SystemOptions): Promise<BenchSystem> {
  const base = await startBaseSystem(options);
  const { directory, sql, userToken, jwksUrl, startServer, startChild, profiling } = base;
  const tokens = await createTokenIssuer({
    keyFile: base.executionKey,
    executionTokenSeconds: TOKEN_SECONDS,
    serveTokenSeconds: TOKEN_SECONDS,
  });
  const first = await startServer();
  const spec = await furnish(first.address, directory, userToken);
  await first.stop();
  await sql.query(`create table ${COPY_TABLE} (like execution_event including all)`);
  return {
    ...base,
    planDigest: spec.planDigest,
    operators: spec.plan!.operators.map(({ operatorId, layer }) => ({ operatorId, layer })),
    startEcho: (replyBytes = 0) => startChild("echo", benchProgram("echo", `${replyBytes}`)),
    startAuthServer: (replyBytes) =>
      startChild("auth", [...profiling, ...benchProgram("auth", jwksUrl, `${replyBytes}`)]),
    async startLoad() {
      const load = await startLoad();
      await options.undo.add(() => load.stop());
      return load;
    },
    makeExecutions: (count) => copyExecutions(sql, tokens, spec, count),
    async sweep() {
      await sql.query(`truncate execution_event, ${COPY_TABLE}`);
      await sql.query("checkpoint");
    },
  };
}

/** Project, computing unit, dataset, workflow, and one prepared execution of it. */
async function furnish(address: string, directory: string, token: string): Promise<ExecutionSpec> {
  const plain = credentials.createInsecure();
  const access = new AccessServiceClient(address, plain);
  const datasets = new DatasetServiceClient(address, plain);
  const workflows = new WorkflowServiceClient(address, plain);
  const executions = new ExecutionServiceClient(address, plain);
  try {
    await callUnary(access, "createProject", { requestId: "", projectId: PROJECT, name: "" }, { token });
    await callUnary(access, "putComputingUnit", { projectId: PROJECT, computingUnitId: UNIT, name: "" }, { token });
    const file = join(directory, "fruit.csv");
    await writeFile(file, "name,weight\napple,150\ncherry,8\nmelon,1900\n");
    const dataset = {
      requestId: "",
      projectId: PROJECT,
      name: "fruit",
      uri: pathToFileURL(file).href,
      format: undefined,
    };
    await callUnary(datasets, "registerDataset", dataset, { token });
    const workflow = { projectId: PROJECT, workflowId: WORKFLOW };
    await callUnary(workflows, "putWorkflow", { ...workflow, requestId: "", plan: PLAN, comment: "" }, { token });
    const { spec } = await callUnary(
      executions,
      "prepareExecution",
      {
        ...workflow,
        requestId: "",
        workflowVersion: 0,
        computingUnitId: UNIT,
        name: "",
        queue: false,
        maxAttempts: 0,
        cache: { mode: CacheMode.CACHE_MODE_SKIP, operators: {} },
        costModel: CostModel.COST_MODEL_UNSPECIFIED,
      },
      { token },
    );
    return spec!;
  } finally {
    for (const client of [access, datasets, workflows, executions]) client.close();
  }
}

const PLAN = LogicalPlan.fromJSON({
  operators: [
    { id: "fruit", type: "scan", properties: { dataset: "fruit" } },
    { id: "heavy", type: "filter", properties: { predicate: "weight > 100" } },
    { id: "order", type: "sort", properties: { by: [{ column: "weight", descending: true }] } },
  ],
  links: [
    { from: "fruit", to: "heavy" },
    { from: "heavy", to: "order" },
  ],
});

/** Running copies of a prepared execution, with their tokens (Y1). */
async function copyExecutions(
  sql: pg.Client,
  tokens: TokenIssuer,
  { executionId: source }: ExecutionSpec,
  count: number,
): Promise<Assigned[]> {
  const ids = Array.from({ length: count }, newExecutionId);
  await sql.query(
    `insert into execution
     select (jsonb_populate_record(e, jsonb_build_object(
              'id', u.id, 'state', 'RUNNING', 'started_at', now(), 'lease_expires_at', now() + interval '1 day',
              'last_sequence', $3::bigint, 'last_event_number', $3::bigint + 1))).*
       from execution e, unnest($2::uuid[]) as u(id) where e.id = $1`,
    [source, ids, STORED_SEQUENCE],
  );
  await sql.query(
    `insert into execution_plan (execution_id, plan)
     select u.id, p.plan from execution_plan p, unnest($2::uuid[]) as u(id) where p.execution_id = $1`,
    [source, ids],
  );
  return Promise.all(
    ids.map(async (executionId) => {
      const { token } = await tokens.mintExecutionToken({ executionId, attempt: 1, epoch: 1n });
      return { executionId, token };
    }),
  );
}

/** Refuses unless as many events are in the log as were acknowledged since the last `sweep`. */
export async function requireStored({ sql }: BenchSystem, acknowledged: number): Promise<void> {
  const { rows } = await sql.query<{ stored: number }>("select count(*)::integer as stored from execution_event");
  if (rows[0]!.stored !== acknowledged)
    throw new Error(`${acknowledged} events were acknowledged and ${rows[0]!.stored} are stored.`);
}
