// A server of this release on a loopback port, with a database, an issuer and a result root of its own: what tests of
// whole calls talk to. Further replicas share all of that with the first.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { AccessServiceClient } from "../../src/contract/postern/v1/access.js";
import { CacheServiceClient } from "../../src/contract/postern/v1/cache.js";
import { CostModel } from "../../src/contract/postern/v1/compile.js";
import { DatasetServiceClient } from "../../src/contract/postern/v1/dataset.js";
import {
  ExecutionServiceClient,
  type PrepareExecutionRequest,
  type PrepareExecutionResponse,
} from "../../src/contract/postern/v1/execution.js";
import { LogicalPlan } from "../../src/contract/postern/v1/plan.js";
import { PortRegistryClient } from "../../src/contract/postern/v1/port_registry.js";
import { WorkflowServiceClient } from "../../src/contract/postern/v1/workflow.js";
import {
  createDevelopmentIssuer,
  DEVELOPMENT_AUDIENCE,
  DEVELOPMENT_ISSUER,
  type DevelopmentIssuer,
  ensureKeyFile,
  USER_SCOPES,
} from "../../src/dev/development-issuer.js";
import { createLogger } from "../../src/process/log.js";
import { createShutdown } from "../../src/process/shutdown.js";
import { callUnary, channelCredentials, STREAM_CHANNEL_OPTIONS } from "../../src/rpc/channel.js";
import type { ServerConfig } from "../../src/server/config.js";
import { startServer } from "../../src/server/main.js";
import { createMigratedDatabase, type MigratedDatabase } from "./migrated-database.js";
import { makeTestDirectory, removeTestDirectory } from "./test-directory.js";

export interface TestServer extends Awaited<ReturnType<typeof startAt>> {}

/** What the replicas of one test have in common. */
interface Site {
  directory: string;
  database: MigratedDatabase;
  issuer: DevelopmentIssuer;
}

/** Project, computing unit and workflow that `prepare` uses. */
export const PROJECT = "lab";
export const UNIT = "bench";
export const WORKFLOW = "fruit";

/** Scan → filter → sort over three rows of fruit. */
export const FRUIT_PLAN = {
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

/** A server with everything of its own; stopping it removes that, so replicas of it are stopped before. */
export async function startTestServer(overrides: Partial<ServerConfig> = {}): Promise<TestServer> {
  const directory = await makeTestDirectory();
  const database = await createMigratedDatabase();
  const issuer = await createDevelopmentIssuer(directory);
  return startAt({ directory, database, issuer }, overrides, async () => {
    await database.close();
    await removeTestDirectory(directory);
  });
}

/** One more server on the database, keys, issuer and directories of another. */
export const startReplica = (of: TestServer, overrides: Partial<ServerConfig> = {}): Promise<TestServer> =>
  startAt(of.site, overrides, async () => {});

async function startAt(site: Site, overrides: Partial<ServerConfig>, removeSite: () => Promise<void>) {
  const { directory, database, issuer } = site;
  const log = createLogger("test-server", process.env.POSTERN_TEST_LOG ?? "silent");
  const shutdown = createShutdown({ log, signals: [] });
  const resultRoot = pathToFileURL(join(directory, "results")).href;
  const address = await startServer(
    {
      listen: "127.0.0.1:0",
      databaseUrl: database.url,
      databasePasswordFile: undefined,
      databasePoolSize: 8,
      executionKeyFile: await ensureKeyFile(join(directory, "keys", "execution.pem")),
      issuer: DEVELOPMENT_ISSUER,
      audience: DEVELOPMENT_AUDIENCE,
      jwksUrl: new URL(issuer.jwksUrl),
      resultRoot,
      datasetRoots: [directory],
      tls: undefined,
      allowPlaintext: false,
      leaseMs: 15_000,
      attachWithinMs: 5_000,
      cancelGraceMs: 10_000,
      executionTokenSeconds: 600,
      serveTokenSeconds: 3_600,
      rotateStreamsMs: 3_600_000,
      watchRightMs: 60_000,
      maxAttempts: 3,
      maxUploadBytes: 1024 ** 2,
      sweepGraceMs: 600_000,
      logLevel: "silent",
      ...overrides,
    },
    log,
    shutdown,
  );

  const credentials = channelCredentials({ address });
  const client = {
    access: new AccessServiceClient(address, credentials),
    caches: new CacheServiceClient(address, credentials),
    datasets: new DatasetServiceClient(address, credentials),
    executions: new ExecutionServiceClient(address, credentials, STREAM_CHANNEL_OPTIONS),
    ports: new PortRegistryClient(address, credentials),
    workflows: new WorkflowServiceClient(address, credentials),
  };
  const userToken = (subject: string, scopes: readonly string[] = USER_SCOPES, ttlSeconds = 600) =>
    issuer.mint({ subject, scopes, ttlSeconds });
  const owner = await userToken("owner");

  /** Project, computing unit, dataset and workflow; once per server. */
  async function furnish(): Promise<void> {
    const token = owner;
    await callUnary(client.access, "createProject", { requestId: "", projectId: PROJECT, name: "" }, { token });
    const unit = { projectId: PROJECT, computingUnitId: UNIT, name: "" };
    await callUnary(client.access, "putComputingUnit", unit, { token });
    const file = join(directory, "fruit.csv");
    await writeFile(file, "name,weight\napple,150\ncherry,8\nmelon,1900\n");
    const uri = pathToFileURL(file).href;
    const dataset = { requestId: "", projectId: PROJECT, name: "fruit", uri, format: undefined };
    await callUnary(client.datasets, "registerDataset", dataset, { token });
    const plan = LogicalPlan.fromJSON(FRUIT_PLAN);
    const workflow = { requestId: "", projectId: PROJECT, workflowId: WORKFLOW, plan, comment: "" };
    await callUnary(client.workflows, "putWorkflow", workflow, { token });
  }

  /** A new execution of the fruit workflow. */
  const prepare = (request: Partial<PrepareExecutionRequest> = {}, token = owner) =>
    callUnary(
      client.executions,
      "prepareExecution",
      {
        requestId: "",
        projectId: PROJECT,
        workflowId: WORKFLOW,
        workflowVersion: 0,
        computingUnitId: UNIT,
        name: "",
        queue: false,
        maxAttempts: 0,
        cache: undefined,
        costModel: CostModel.COST_MODEL_UNSPECIFIED,
        ...request,
      },
      { token },
    ) as Promise<PrepareExecutionResponse>;

  const execution = async (executionId: string, token = owner) =>
    (await callUnary(client.executions, "getExecution", { executionId }, { token })).execution!;

  /** As SIGTERM does; clients stay open. */
  const drain = () => shutdown.stop("the test asked for it");

  async function stop(): Promise<void> {
    for (const one of Object.values(client)) one.close();
    await shutdown.stop("the test is over");
    await removeSite();
  }

  return {
    site,
    address,
    directory,
    resultRoot,
    client,
    db: database.db,
    owner,
    userToken,
    furnish,
    prepare,
    execution,
    drain,
    stop,
  };
}
