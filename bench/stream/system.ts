// What a bench runs against: a durable Postgres, servers from dist, and executions made for it.
//
// Y1  Whatever was started is stopped, last first, also after Ctrl-C.
// Y2  Executions are copies, made by SQL, of one that was prepared through the API: what is measured begins at Attach.
//     They are RUNNING, their stored sequence is where the frames of a bench begin, and their tokens are signed with the
//     servers' key.
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { credentials } from "@grpc/grpc-js";
import pg from "pg";
import { AccessServiceClient } from "../../src/contract/postern/v1/access.js";
import { DatasetServiceClient } from "../../src/contract/postern/v1/dataset.js";
import { ExecutionServiceClient, type ExecutionSpec } from "../../src/contract/postern/v1/execution.js";
import { LogicalPlan } from "../../src/contract/postern/v1/plan.js";
import { WorkflowServiceClient } from "../../src/contract/postern/v1/workflow.js";
import { newExecutionId } from "../../src/core/ids.js";
import {
  createDevelopmentIssuer,
  DEVELOPMENT_AUDIENCE,
  DEVELOPMENT_ISSUER,
  ensureKeyFile,
  USER_SCOPES,
} from "../../src/dev/development-issuer.js";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../../src/dev/embedded-postgres.js";
import { callUnary } from "../../src/rpc/channel.js";
import { createTokenIssuer, type TokenIssuer } from "../../src/server/access/tokens.js";
import { makeTestDirectory, removeTestDirectory } from "../../test/support/test-directory.js";
import { benchProgram, type Load, type Program, startLoad, startProgram } from "./child.js";
import type { Assigned } from "./load/attach-stream.js";
import { COPY_TABLE } from "./load/copy.js";
import { type PlanOperator, STORED_SEQUENCE } from "./load/event-frames.js";
import type { Undo } from "./undo.js";

export const PROJECT = "bench";
const DATABASE = "postern";
const UNIT = "unit";
const WORKFLOW = "fruit";
const TOKEN_SECONDS = 24 * 3_600;

export interface BenchSystem {
  directory: string;
  postgresPid: number;
  /** As a superuser, to the database the servers use. */
  connection: pg.ClientConfig;
  sql: pg.Client;
  jwksUrl: string;
  /** A user token that may do everything. */
  userToken: string;
  planDigest: string;
  operators: PlanOperator[];
  startServer(settings?: { leaseMs?: number }): Promise<Program>;
  startEcho(replyBytes?: number): Promise<Program>;
  startAuthServer(replyBytes: number): Promise<Program>;
  startLoad(): Promise<Load>;
  makeExecutions(count: number): Promise<Assigned[]>;
  /** Empties the log and its yardstick and writes a checkpoint, so that every round begins alike. */
  sweep(): Promise<void>;
}

export interface SystemOptions {
  note: (line: string) => void;
  /** Gets what has to be taken back (Y1), also when starting fails. */
  undo: Undo;
  /** Where servers write CPU profiles when they stop. */
  profiles?: string;
}

export async function startSystem({ note, profiles, undo }: SystemOptions): Promise<BenchSystem> {
  const directory = await makeTestDirectory();
  await undo.add(() => removeTestDirectory(directory));
  const postgres = await startEmbeddedPostgres({ dataDir: join(directory, "postgres"), durable: true });
  await undo.add(() => postgres.stop());
  const { host, port, user, password, passwordFile } = postgres.connection;
  await withClient(postgres, (client) => client.query(`create database ${DATABASE}`));
  const connection = { host, port, user, password, database: DATABASE, ssl: false };

  const issuer = await createDevelopmentIssuer(directory);
  const executionKey = await ensureKeyFile(join(directory, "keys", "execution.pem"));
  const tokens = await createTokenIssuer({
    keyFile: executionKey,
    executionTokenSeconds: TOKEN_SECONDS,
    serveTokenSeconds: TOKEN_SECONDS,
  });
  const ttlSeconds = TOKEN_SECONDS;
  const userToken = await issuer.mint({ subject: "bench", scopes: USER_SCOPES, ttlSeconds });
  if (profiles) await mkdir(profiles, { recursive: true });

  let programs = 0;
  const startChild = async (name: string, args: string[], env?: Record<string, string>): Promise<Program> => {
    const program = await startProgram({ args, env, logFile: join(directory, `${name}-${++programs}.log`) });
    await undo.add(() => program.stop());
    return program;
  };
  const profiling = profiles ? ["--cpu-prof", `--cpu-prof-dir=${resolve(profiles)}`] : [];
  const startServer = ({ leaseMs = 15_000 } = {}) =>
    startChild("server", [...profiling, resolve("dist/src/cli/main.js"), "server"], {
      POSTERN_LISTEN: "127.0.0.1:0",
      POSTERN_DATABASE_URL: `postgres://${encodeURIComponent(user)}@/${DATABASE}?${new URLSearchParams({ host, port: `${port}` })}`,
      POSTERN_DATABASE_PASSWORD_FILE: passwordFile,
      POSTERN_EXECUTION_KEY_FILE: executionKey,
      POSTERN_ISSUER: DEVELOPMENT_ISSUER,
      POSTERN_AUDIENCE: DEVELOPMENT_AUDIENCE,
      POSTERN_JWKS_URL: issuer.jwksUrl,
      POSTERN_RESULT_ROOT: pathToFileURL(join(directory, "results")).href,
      POSTERN_DATASET_ROOTS: directory,
      POSTERN_EXECUTION_TOKEN_SECONDS: `${TOKEN_SECONDS}`,
      POSTERN_LEASE_MS: `${leaseMs}`,
    });

  const first = await startServer();
  const spec = await furnish(first.address, directory, userToken);
  await first.stop();
  const sql = new pg.Client(connection);
  await sql.connect();
  sql.on("error", () => {}); // Postgres is stopped before it when the bench is interrupted
  await undo.add(() => sql.end().catch(() => {}));
  await sql.query(`create table ${COPY_TABLE} (like execution_event including all)`);
  await sql.query(`alter system set max_wal_size = '8GB'`); // no checkpoint in the middle of a round
  await sql.query("select pg_reload_conf()");
  note(`Postgres (pid ${postgres.pid}, fsync and synchronous_commit on) lies in ${directory}`);

  return {
    directory,
    postgresPid: postgres.pid,
    connection,
    sql,
    jwksUrl: issuer.jwksUrl,
    userToken,
    planDigest: spec.planDigest,
    operators: spec.plan!.operators.map(({ operatorId, layer }) => ({ operatorId, layer })),
    startServer,
    startEcho: (replyBytes = 0) => startChild("echo", benchProgram("echo", `${replyBytes}`)),
    startAuthServer: (replyBytes) =>
      startChild("auth", [...profiling, ...benchProgram("auth", issuer.jwksUrl, `${replyBytes}`)]),
    async startLoad() {
      const load = await startLoad();
      await undo.add(() => load.stop());
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

/** Running copies of a prepared execution, with their tokens (Y2). */
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

async function withClient(postgres: EmbeddedPostgres, act: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const { host, port, user, password, database } = postgres.connection;
  const client = new pg.Client({ host, port, user, password, database, ssl: false });
  await client.connect();
  try {
    await act(client);
  } finally {
    await client.end();
  }
}
