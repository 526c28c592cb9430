// The server, put together: configuration → database → services → listen → shutdown. Nothing is constructed elsewhere.
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { type AccessServiceServer, AccessServiceService } from "../contract/postern/v1/access.js";
import type { CacheServiceServer } from "../contract/postern/v1/cache.js";
import { type CompileServiceServer, CompileServiceService } from "../contract/postern/v1/compile.js";
import { type DatasetServiceServer, DatasetServiceService } from "../contract/postern/v1/dataset.js";
import { type PortRegistryServer, PortRegistryService } from "../contract/postern/v1/port_registry.js";
import { type WorkflowServiceServer, WorkflowServiceService } from "../contract/postern/v1/workflow.js";
import { AppError } from "../core/app-error.js";
import { newId } from "../core/ids.js";
import { createLogger, type Logger } from "../process/log.js";
import { release } from "../process/release.js";
import { createShutdown, type Shutdown } from "../process/shutdown.js";
import { type ExecutionServer, executionDefinition } from "../rpc/executor-frame.js";
import { cacheDefinition } from "../rpc/lookup-reply.js";
import { providerKeys } from "./access/token-keys.js";
import { createTokenVerifier } from "./access/token-verification.js";
import { createTokenIssuer } from "./access/tokens.js";
import { rememberBindings } from "./binding/binding-memory.js";
import { planCompiler } from "./binding/plan-compiler.js";
import { createSchemaBinder } from "./binding/schema-binder.js";
import { createWaitingLine } from "./cache/waiting-line.js";
import { readServerConfig, type ServerConfig } from "./config.js";
import { openDatabase, type PostgresDatabase } from "./database/database.js";
import { migrate } from "./database/migrate.js";
import { createWriterConnection } from "./database/writer-connection.js";
import { resolveDataset } from "./datasets/dataset-versions.js";
import { createGrpcServer, type MountedService, mount } from "./endpoint/grpc-server.js";
import { createConnectedExecutors } from "./executions/connected-executors.js";
import { DRAIN_GRACE_MS } from "./executions/drain.js";
import { createEventCommitter } from "./executions/event-committer.js";
import { createEventFeed, type EventFeed } from "./executions/event-feed.js";
import { createPlanMemory } from "./executions/execution-plan.js";
import { createQueueDispatcher, type QueueDispatcher } from "./executions/queue-dispatcher.js";
import { createStreamAttention } from "./executions/stream-attention.js";
import { keepHouse } from "./housekeeping.js";
import { createNotifications, type Notifications } from "./notifications.js";
import { workflowVersion } from "./repositories/workflows.js";
import { createResultReader } from "./results/result-reader.js";
import { createPlanScheduler } from "./scheduling/plan-scheduler.js";
import { accessService } from "./services/access-service.js";
import { cacheService } from "./services/cache-service.js";
import { compileService } from "./services/compile-service.js";
import { datasetService } from "./services/dataset-service.js";
import { executionService } from "./services/execution-service.js";
import { portRegistryService } from "./services/port-registry-service.js";
import { workflowService } from "./services/workflow-service.js";

const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;

/** Runs a server, configured by its environment, until it is asked to stop. */
export async function main(): Promise<void> {
  const config = readServerConfig();
  const log = createLogger("server", config.logLevel);
  const shutdown = createShutdown({ log });
  try {
    const address = await startServer(config, log, shutdown);
    log.info({ address, release: release() }, "ready");
    process.stdout.write(`${JSON.stringify({ ready: true, address })}\n`);
  } catch (error) {
    await shutdown.stop("the server could not start");
    throw error;
  }
  await shutdown.stopped;
}

/** Starts a server whose parts `shutdown` closes; returns the address it listens on. */
export async function startServer(config: ServerConfig, log: Logger, shutdown: Shutdown): Promise<string> {
  await requireResultRoot(config.resultRoot);
  const db = await openDatabase({
    url: config.databaseUrl,
    passwordFile: config.databasePasswordFile,
    poolSize: config.databasePoolSize,
  });
  shutdown.add("database", () => db.close());
  const applied = await migrate(db);
  if (applied.length > 0) log.info({ applied }, "schema brought up to date");

  const notifications = createNotifications({ sessionConnection: db.sessionConnection, log });
  runUntilStop(shutdown, "notifications", (signal) => notifications.run(signal));
  const feed = createEventFeed({
    db,
    hints: notifications,
    draining: shutdown.signal,
    log,
    rightEveryMs: config.watchRightMs,
  });
  runUntilStop(shutdown, "event feed", (signal) => feed.run(signal));
  const queues = createQueueDispatcher({ db, hints: notifications, log });
  runUntilStop(shutdown, "queue dispatcher", (signal) => queues.run(signal));

  const streams = await openStreams(config, notifications, feed, shutdown, log);
  const { services, verifyToken } = await createServices(
    config,
    db,
    notifications,
    feed,
    queues,
    streams,
    shutdown,
    log,
  );
  const server = createGrpcServer({
    services,
    verifyToken,
    log,
    tls: config.tls,
    allowPlaintext: config.allowPlaintext,
    maxMessageBytes: MAX_MESSAGE_BYTES,
  });
  shutdown.add("gRPC server", () => server.drain(DRAIN_GRACE_MS));
  const { address } = await server.listen(config.listen);
  // Not before: leases are watched only by a replica that executors can come back to.
  const house = { ...config, db, hints: notifications, now: () => new Date(), log };
  runUntilStop(shutdown, "housekeeping", (signal) => keepHouse(house, signal));
  return address;
}

/** How long a schedule nobody runs is searched at most. */
const USUAL_SCHEDULE_MS = 1_000;

/** Connections that executors share among themselves: clients who list and prepare cannot keep a lease waiting. */
const STREAM_POOL_SIZE = 8;

/** What all attached executors of this replica share. */
async function openStreams(
  config: ServerConfig,
  hints: Notifications,
  feed: EventFeed,
  shutdown: Shutdown,
  log: Logger,
) {
  const db = await openDatabase({
    url: config.databaseUrl,
    passwordFile: config.databasePasswordFile,
    poolSize: STREAM_POOL_SIZE,
    applicationName: "postern-streams",
    // A row that somebody holds for long must not use these connections up.
    lockTimeoutMs: 1_000,
  });
  shutdown.add("database of the streams", () => db.close());
  const attention = createStreamAttention({ db, hints, log });
  runUntilStop(shutdown, "stream attention", (signal) => attention.run(signal));
  const line = createWaitingLine({ db, hints, log });
  runUntilStop(shutdown, "waiting line of the cache", (signal) => line.run(signal));
  const committer = createEventCommitter({
    connection: createWriterConnection({
      connect: () => db.sessionConnection("postern-writer"),
      patienceMs: Math.max(1_000, config.leaseMs / 3),
    }),
    onCommitted(committed) {
      feed.committed(committed.executionId, committed);
      hints.executionChanged(committed.executionId, committed.lastNumber);
      hints.cacheChanged(committed.cacheKeys);
    },
    log,
    now: Date.now,
  });
  shutdown.add("event committer", () => committer.close(DRAIN_GRACE_MS));
  return { db, attention, line, committer, planOf: createPlanMemory(db) };
}

/** Something that runs for as long as the server does; closing it waits for its last step. */
function runUntilStop(shutdown: Shutdown, name: string, run: (signal: AbortSignal) => Promise<void>): void {
  const stop = new AbortController();
  const running = run(stop.signal);
  shutdown.add(name, () => {
    stop.abort();
    return running;
  });
}

async function createServices(
  config: ServerConfig,
  db: PostgresDatabase,
  hints: ReturnType<typeof createNotifications>,
  feed: EventFeed,
  queues: QueueDispatcher,
  streams: Awaited<ReturnType<typeof openStreams>>,
  shutdown: Shutdown,
  log: Logger,
): Promise<{ services: MountedService[]; verifyToken: ReturnType<typeof createTokenVerifier> }> {
  const tokens = await createTokenIssuer({
    keyFile: config.executionKeyFile,
    executionTokenSeconds: config.executionTokenSeconds,
    serveTokenSeconds: config.serveTokenSeconds,
  });
  const verifyToken = createTokenVerifier({
    issuer: config.issuer,
    audience: config.audience,
    providerKeys: providerKeys(config.jwksUrl),
    ownKeys: tokens.publicKeys,
  });
  const binder = await createSchemaBinder();
  shutdown.add("schema binder", () => binder.close());
  const bindSchemas = rememberBindings(binder.bindSchemas);
  const results = await createResultReader({ resultRoot: config.resultRoot, bindSchemas });
  shutdown.add("result reader", () => results.close());
  const scheduler = createPlanScheduler({ log });
  shutdown.add("plan scheduler", () => scheduler.close());
  const { schedule } = scheduler;
  const compile = planCompiler({
    bindSchemas,
    schedule: async (plan, viewed) =>
      (await schedule(plan, viewed, { cost: "ports", deadlineMs: USUAL_SCHEDULE_MS })).plan,
  });
  const connected = createConnectedExecutors();
  const execution = executionService({
    db,
    hints,
    feed,
    streams,
    tokens,
    connected,
    queues,
    compile,
    schedule,
    resolveDataset,
    resultRoot: config.resultRoot,
    leaseMs: config.leaseMs,
    attachWithinMs: config.attachWithinMs,
    executionTokenMs: config.executionTokenSeconds * 1_000,
    rotateStreamsMs: config.rotateStreamsMs,
    maxAttempts: config.maxAttempts,
    maxMessageBytes: MAX_MESSAGE_BYTES,
    release: release(),
    serverId: newId(),
    draining: shutdown.signal,
    now: () => new Date(),
  });
  const access = accessService({ db, connectedExecutors: connected.of, mintServeToken: tokens.mintServeToken });
  const datasets = datasetService({ db, ...config });
  const compiler = compileService({ db, compile, schedule, resolveDataset, workflowVersion });
  return {
    verifyToken,
    services: [
      mount<ExecutionServer>(executionDefinition, execution),
      mount<PortRegistryServer>(
        PortRegistryService,
        portRegistryService({ db, resultRoot: config.resultRoot, results }),
      ),
      mount<CacheServiceServer>(
        cacheDefinition,
        cacheService({
          ...config,
          db,
          hints,
          compile,
          schedule,
          resolveDataset,
          line: streams.line,
          planOf: streams.planOf,
        }),
      ),
      mount<WorkflowServiceServer>(WorkflowServiceService, workflowService({ db })),
      mount<CompileServiceServer>(CompileServiceService, compiler),
      mount<DatasetServiceServer>(DatasetServiceService, datasets),
      mount<AccessServiceServer>(AccessServiceService, access),
    ],
  };
}

async function requireResultRoot(resultRoot: string): Promise<void> {
  const directory = fileURLToPath(resultRoot);
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new AppError(
      "unavailable",
      "UNAVAILABLE",
      `POSTERN_RESULT_ROOT ${directory} cannot be made: ${(cause as Error).message}. Make it, or name another.`,
      { cause },
    );
  }
}
