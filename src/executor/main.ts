// The executor program: the only place where its parts are put together.
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ExecutionServiceClient, ExecutionSpec, ExecutionState } from "../contract/postern/v1/execution.js";
import { type AppError, invalid } from "../core/app-error.js";
import { readSecretFile } from "../process/env.js";
import { createLogger, type Logger } from "../process/log.js";
import { createShutdown } from "../process/shutdown.js";
import { bearer, channelCredentials, openDuplex, STREAM_CHANNEL_OPTIONS } from "../rpc/channel.js";
import { type ExecutorConfig, readExecutorConfig } from "./config.js";
import { serve } from "./stream/serve.js";
import { runExecution, type SessionDeps } from "./stream/session.js";
import { findUserCodeHost } from "./user-code/host.js";

/** How long running executions may go on after SIGTERM, in milliseconds. */
const GRACE_MS = 20_000;

/** What the process ends with; scripts may rely on it. */
export const EXIT = { done: 0, fault: 1, misconfigured: 2, refused: 3, notCompleted: 4 } as const;

/** Runs the executor until it is told to stop; sets the exit code. Rejects with AppError when it cannot start. */
export async function main(): Promise<void> {
  const config = readExecutorConfig();
  const log = createLogger("executor", config.logLevel);
  const shutdown = createShutdown({ log, deadlineMs: GRACE_MS + 10_000 });
  const workDirectory = await makeWorkDirectory(config);
  const running = runUntilStopped(config, log, workDirectory, shutdown.signal).finally(() =>
    rm(workDirectory, { recursive: true, force: true }),
  );
  // Its failure is told by the line below; here it only has to be over.
  shutdown.add("executions", () => running.catch(() => {}));
  try {
    process.exitCode = await running;
  } finally {
    await shutdown.stop("nothing left to do");
  }
}

async function runUntilStopped(
  config: ExecutorConfig,
  log: Logger,
  workDirectory: string,
  stop: AbortSignal,
): Promise<number> {
  const host = await findUserCodeHost({
    python: config.python,
    policy: config.sandbox,
    path: config.path,
    isRoot: process.getuid?.() === 0,
    memoryBytes: Math.max(128, Math.floor(config.memoryLimitMb / 2 / config.slots)) * 1024 * 1024,
    log,
  });
  const client = new ExecutionServiceClient(
    config.server.address,
    channelCredentials(config.server),
    STREAM_CHANNEL_OPTIONS,
  );
  const sessionDeps: SessionDeps = {
    openAttach: (token) => openDuplex(client.attach(bearer(token))),
    executorId: config.executorId,
    host,
    memoryLimitMb: Math.max(64, Math.floor(config.memoryLimitMb / config.slots)),
    threads: Math.max(1, Math.floor(config.threads / config.slots)),
    workDirectory,
    log,
  };
  const readToken = () => readSecretFile("POSTERN_TOKEN_FILE", config.tokenFile);
  try {
    if (config.specFile !== undefined) return await runSpecFile(sessionDeps, config.specFile, readToken(), stop);
    const end = await serve(
      {
        ...sessionDeps,
        openServe: (token) => openDuplex(client.serve(bearer(token))),
        readToken,
        slots: config.slots,
        onWelcome: sayReadyOnce(config.executorId),
        graceMs: GRACE_MS,
      },
      stop,
    );
    return end.kind === "refused" ? tellRefusal(end.error) : EXIT.done;
  } finally {
    client.close();
  }
}

/** One line on standard output, for whoever started this process. */
function sayReadyOnce(executorId: string): (computingUnitId: string) => void {
  let said = false;
  return (computingUnitId) => {
    if (said) return;
    said = true;
    process.stdout.write(`${JSON.stringify({ ready: true, executorId, computingUnitId })}\n`);
  };
}

function tellRefusal(error: AppError): number {
  process.stderr.write(`The server refuses this executor: ${error.message}\n`);
  return EXIT.refused;
}

/** The single mode: one execution, prepared by whoever started this process. */
async function runSpecFile(deps: SessionDeps, file: string, token: string, stop: AbortSignal): Promise<number> {
  const spec = await readSpec(file);
  const leave = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const onStop = () => {
    timer = setTimeout(() => leave.abort(new Error("the executor stops")), GRACE_MS);
  };
  if (stop.aborted) onStop();
  else stop.addEventListener("abort", onStop, { once: true });
  const end = await runExecution(deps, { spec, token }, leave.signal);
  clearTimeout(timer);
  stop.removeEventListener("abort", onStop);
  switch (end.kind) {
    case "reported":
      return end.state === ExecutionState.EXECUTION_STATE_COMPLETED ? EXIT.done : EXIT.notCompleted;
    case "refused":
      return tellRefusal(end.error);
    case "lost":
      process.stderr.write("The server could not be reached for so long that the execution is lost; run it again.\n");
      return EXIT.fault;
    case "left":
      return EXIT.fault;
  }
}

async function readSpec(file: string): Promise<ExecutionSpec> {
  try {
    return ExecutionSpec.fromJSON(JSON.parse(await readFile(file, "utf8")));
  } catch (cause) {
    throw invalid(`POSTERN_SPEC_FILE names ${file}, which holds no ExecutionSpec in JSON (${String(cause)}).`, cause);
  }
}

async function makeWorkDirectory({ workDirectory }: ExecutorConfig): Promise<string> {
  if (workDirectory === undefined) return mkdtemp(join(tmpdir(), "postern-executor-"));
  try {
    await mkdir(workDirectory, { recursive: true, mode: 0o700 });
    return await mkdtemp(join(workDirectory, "run-"));
  } catch (cause) {
    throw invalid(`POSTERN_WORK_DIR names ${workDirectory}, where nothing can be written (${String(cause)}).`, cause);
  }
}
