// The system under test, all of it real: one durable Postgres, replicas of the built server, executors over the built
// library, and between each executor and each replica a proxy that can be disturbed by itself.
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { AccessServiceClient } from "../../src/contract/postern/v1/access.js";
import { CostModel } from "../../src/contract/postern/v1/compile.js";
import { DatasetServiceClient } from "../../src/contract/postern/v1/dataset.js";
import { CacheMode, ExecutionServiceClient } from "../../src/contract/postern/v1/execution.js";
import { LogicalPlan } from "../../src/contract/postern/v1/plan.js";
import { WorkflowServiceClient } from "../../src/contract/postern/v1/workflow.js";
import { AppError } from "../../src/core/app-error.js";
import {
  createDevelopmentIssuer,
  DEVELOPMENT_AUDIENCE,
  DEVELOPMENT_ISSUER,
  ensureKeyFile,
  USER_SCOPES,
} from "../../src/dev/development-issuer.js";
import { callUnary, channelCredentials, STREAM_CHANNEL_OPTIONS } from "../../src/rpc/channel.js";
import { type ChaosDatabase, startChaosDatabase } from "./chaos-database.js";
import type { ChaosExecutorConfig } from "./chaos-executor.js";
import { type FaultProxy, startFaultProxy } from "./fault-proxy.js";
import { type KeptProcess, keepProcess } from "./kept-process.js";
import { type ObservedStreams, observeStreams } from "./observed-streams.js";

const PROJECT = "chaos";
const UNIT = "pool";
const WORKFLOW = "fruit";
const PLAN = {
  operators: [
    { id: "fruit", type: "scan", properties: { dataset: "fruit" } },
    { id: "heavy", type: "filter", properties: { predicate: "weight > 100" } },
    { id: "order", type: "sort", properties: { by: [{ column: "weight", descending: true }] } },
  ],
  links: [
    { from: "fruit", to: "heavy" },
    { from: "heavy", to: "order" },
  ],
};
const SOURCES = fileURLToPath(new URL("./", import.meta.url));

export interface ChaosExecutor {
  id: string;
  process: KeptProcess;
  /** One for each replica. */
  paths: FaultProxy[];
}

export interface ChaosReplica {
  process: KeptProcess;
  executions: ExecutionServiceClient;
}

export interface ChaosSystem {
  database: ChaosDatabase;
  replicas: ChaosReplica[];
  executors: ChaosExecutor[];
  streams: ObservedStreams;
  journals: string;
  userToken: string;
  leaseMs: number;
  /** Queues one more execution; tries again while no replica answers. */
  prepare(): Promise<string>;
  close(): Promise<void>;
}

export interface ChaosSystemOptions {
  directory: string;
  /** Compiled product to run. */
  build: string;
  seed: string;
  replicas: number;
  executors: number;
  slots: number;
  leaseMs: number;
  /** Events of one attempt. */
  events: number;
  restMs: number;
  say: (line: string) => void;
}

export async function startChaosSystem(options: ChaosSystemOptions): Promise<ChaosSystem> {
  const undo: (() => Promise<void> | void)[] = [];
  const close = async () => {
    for (let step = undo.pop(); step; step = undo.pop()) await step();
  };
  try {
    return { ...(await start(options, undo)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function start(
  options: ChaosSystemOptions,
  undo: (() => Promise<void> | void)[],
): Promise<Omit<ChaosSystem, "close">> {
  const { directory, leaseMs } = options;
  const journals = join(directory, "journals");
  await mkdir(journals, { recursive: true });
  const issuer = await createDevelopmentIssuer(directory);
  const userToken = await issuer.mint({ subject: "chaos", scopes: USER_SCOPES, ttlSeconds: 24 * 3_600 });
  const database = await startChaosDatabase(join(directory, "postgres"), options.replicas);
  undo.push(() => database.close());

  const ports = await freePorts(options.replicas);
  const key = await ensureKeyFile(join(directory, "keys", "execution.pem"));
  const replicas = ports.map((port, i): ChaosReplica => {
    const process = keepProcess({
      name: `server ${i}`,
      command: [globalThis.process.execPath, join(options.build, "src/cli/main.js"), "server"],
      env: serverEnvironment(options, { port, database, replica: i, key, jwksUrl: issuer.jwksUrl }),
      logFile: join(directory, `server-${i}.log`),
      say: options.say,
    });
    undo.push(() => process.close());
    const address = `127.0.0.1:${port}`;
    const executions = new ExecutionServiceClient(address, channelCredentials({ address }), CHANNEL);
    undo.push(() => executions.close());
    return { process, executions };
  });
  for (const { process } of replicas) process.start();
  await Promise.all(replicas.map(({ process }) => process.untilReady()));
  await furnish(`127.0.0.1:${ports[0]}`, directory, userToken);
  const tokenFile = await serveTokenFile(`127.0.0.1:${ports[0]}`, directory, userToken);

  const streams = observeStreams();
  const executors: ChaosExecutor[] = [];
  for (let i = 0; i < options.executors; i++) {
    const paths: FaultProxy[] = [];
    for (const [replica, targetPort] of ports.entries()) {
      // Every other path leads through a proxy that cuts what is silent for 5 seconds.
      const idleMs = (i + replica) % 2 === 0 ? 5_000 : 0;
      const proxy = await startFaultProxy({ targetPort, idleMs, listener: streams.listenerOf(replica) });
      undo.push(() => proxy.close());
      paths.push(proxy);
    }
    const id = `executor-${i}`;
    const servers = paths.map((_, turn) => paths[(i + turn) % paths.length]!.address);
    const process = await startExecutor(options, { id, servers, tokenFile, journals });
    undo.push(() => process.close());
    executors.push({ id, process, paths });
  }
  await Promise.all(executors.map(({ process }) => process.untilReady()));
  const prepare = () => prepareExecution(replicas, userToken);
  return { database, replicas, executors, streams, journals, userToken, leaseMs, prepare };
}

/** A replica that was killed comes back soon. */
const CHANNEL = {
  ...STREAM_CHANNEL_OPTIONS,
  "grpc.initial_reconnect_backoff_ms": 50,
  "grpc.max_reconnect_backoff_ms": 500,
};

function serverEnvironment(
  { directory, leaseMs }: ChaosSystemOptions,
  of: { port: number; database: ChaosDatabase; replica: number; key: string; jwksUrl: string },
): Record<string, string> {
  return {
    POSTERN_LISTEN: `127.0.0.1:${of.port}`,
    POSTERN_DATABASE_URL: of.database.urlOf(of.replica),
    POSTERN_DATABASE_PASSWORD_FILE: of.database.passwordFile,
    POSTERN_EXECUTION_KEY_FILE: of.key,
    POSTERN_ISSUER: DEVELOPMENT_ISSUER,
    POSTERN_AUDIENCE: DEVELOPMENT_AUDIENCE,
    POSTERN_JWKS_URL: of.jwksUrl,
    POSTERN_RESULT_ROOT: pathToFileURL(join(directory, "results")).href,
    POSTERN_DATASET_ROOTS: directory,
    POSTERN_LEASE_MS: `${leaseMs}`,
    POSTERN_ATTACH_WITHIN_MS: "2000",
    POSTERN_EXECUTION_TOKEN_SECONDS: "20",
  };
}

async function startExecutor(
  options: ChaosSystemOptions,
  of: { id: string; servers: string[]; tokenFile: string; journals: string },
): Promise<KeptProcess> {
  const { directory, build, seed, slots, events, restMs, say } = options;
  const config: ChaosExecutorConfig = {
    seed,
    executorId: of.id,
    library: pathToFileURL(join(build, "src/executor-session/connect.js")).href,
    servers: of.servers,
    tokenFile: of.tokenFile,
    journals: of.journals,
    spill: join(directory, `spill-${of.id}`),
    slots,
    events,
    restMs,
  };
  await mkdir(config.spill, { recursive: true });
  const process = keepProcess({
    name: of.id,
    command: [globalThis.process.execPath, "--import", "tsx", join(SOURCES, "chaos-executor.ts")],
    env: { CHAOS_EXECUTOR: JSON.stringify(config) },
    logFile: join(directory, `${of.id}.log`),
    say,
  });
  process.start();
  return process;
}

/** Ports nobody listens on now. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  return ports;
}

async function furnish(address: string, directory: string, token: string): Promise<void> {
  const credentials = channelCredentials({ address });
  const access = new AccessServiceClient(address, credentials);
  const datasets = new DatasetServiceClient(address, credentials);
  const workflows = new WorkflowServiceClient(address, credentials);
  try {
    await callUnary(access, "createProject", { requestId: "", projectId: PROJECT, name: "" }, { token });
    await callUnary(access, "putComputingUnit", { projectId: PROJECT, computingUnitId: UNIT, name: "" }, { token });
    const file = join(directory, "fruit.csv");
    await writeFile(file, "name,weight\napple,150\ncherry,8\n");
    const uri = pathToFileURL(file).href;
    const dataset = { requestId: "", projectId: PROJECT, name: "fruit", uri, format: undefined };
    await callUnary(datasets, "registerDataset", dataset, { token });
    const plan = LogicalPlan.fromJSON(PLAN);
    const workflow = { requestId: "", projectId: PROJECT, workflowId: WORKFLOW, plan, comment: "" };
    await callUnary(workflows, "putWorkflow", workflow, { token });
  } finally {
    for (const client of [access, datasets, workflows]) client.close();
  }
}

async function serveTokenFile(address: string, directory: string, token: string): Promise<string> {
  const access = new AccessServiceClient(address, channelCredentials({ address }));
  try {
    const unit = { projectId: PROJECT, computingUnitId: UNIT };
    const reply = await callUnary(access, "createServeToken", unit, { token });
    const file = join(directory, "serve.token");
    await writeFile(file, reply.token, { mode: 0o600 });
    return file;
  } finally {
    access.close();
  }
}

const MANY_ATTEMPTS = 100;
const NO_ANSWER_MS = 60_000;
let requests = 0;

async function prepareExecution(replicas: ChaosReplica[], token: string): Promise<string> {
  const request = {
    requestId: `chaos-${process.pid}-${++requests}`,
    projectId: PROJECT,
    workflowId: WORKFLOW,
    workflowVersion: 0,
    computingUnitId: UNIT,
    name: "",
    queue: true,
    maxAttempts: MANY_ATTEMPTS,
    cache: { mode: CacheMode.CACHE_MODE_SKIP, operators: {} },
    costModel: CostModel.COST_MODEL_UNSPECIFIED,
  };
  for (let turn = 0, until = Date.now() + NO_ANSWER_MS; ; turn++) {
    const { executions } = replicas[turn % replicas.length]!;
    try {
      const reply = await callUnary(executions, "prepareExecution", request, { token, deadlineMs: 2_000 });
      return reply.execution!.id;
    } catch (error) {
      if (Date.now() > until || (error instanceof AppError && error.code === "invalid")) throw error;
      await delay(100);
    }
  }
}
