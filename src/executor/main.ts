// The executor program: the only place where its parts are put together.
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ExecutionSpec, ExecutionState } from "../contract/postern/v1/execution.js";
import { UserFunction_Language } from "../contract/postern/v1/plan.js";
import { AppError, invalid } from "../core/app-error.js";
import { connectExecutor } from "../executor-session/connect.js";
import { isFinal } from "../executor-session/live-stream.js";
import type { ExecutorConnection, ExecutorSession } from "../executor-session/session-api.js";
import { readSecretFile } from "../process/env.js";
import { createLogger, type Logger } from "../process/log.js";
import { release } from "../process/release.js";
import { createShutdown } from "../process/shutdown.js";
import { shareChannel } from "./cache/channel-share.js";
import { type ExecutorConfig, readExecutorConfig } from "./config.js";
import { type RunSessionDeps, runSession } from "./run-session.js";
import { tempShareMb } from "./temp-share.js";
import { findUserCodeHost } from "./user-code/host.js";

export { probeUserCode } from "./user-code/probe.js";

/** How long running executions may go on after SIGTERM, in milliseconds. */
const GRACE_MS = 20_000;

const SOFTWARE = `postern-executor/${release()}`;

const LANGUAGES = {
  python: UserFunction_Language.LANGUAGE_PYTHON,
  javascript: UserFunction_Language.LANGUAGE_JAVASCRIPT,
} as const;

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
    spareChildren: config.spareChildren && config.specFile === undefined,
    directory: workDirectory,
    log,
  });
  const connection = connectExecutor({
    servers: config.servers,
    executorId: config.executorId,
    software: SOFTWARE,
    sandboxLayers: host.layers,
    languages: host.languages.map((language) => LANGUAGES[language]),
    labels: config.labels,
    spill:
      config.spillMb > 0
        ? { directory: join(workDirectory, "outbox"), maxBytes: config.spillMb * 1024 * 1024 }
        : undefined,
    log,
  });
  const deps: RunSessionDeps = {
    host,
    memoryLimitMb: Math.max(64, Math.floor(config.memoryLimitMb / config.slots)),
    tempShareMb: () => tempShareMb(config, workDirectory),
    threads: Math.max(1, Math.floor(config.threads / config.slots)),
    workDirectory,
    cancelGraceMs: config.cancelGraceMs,
    holdChannel: shareChannel(() => connection.openChannel()),
    log,
  };
  const readToken = () => readSecretFile("POSTERN_TOKEN_FILE", config.tokenFile);
  try {
    if (config.specFile !== undefined) return await runSpecFile(deps, connection, config.specFile, readToken(), stop);
    const end = await connection.serve(
      {
        readToken,
        slots: config.slots,
        graceMs: GRACE_MS,
        onWelcome: sayReadyOnce(config.executorId),
        run: (session) => runSession(deps, session),
      },
      stop,
    );
    return end.kind === "refused" ? tellRefusal(end.error) : EXIT.done;
  } finally {
    await Promise.all([connection.close(), host.close()]);
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
async function runSpecFile(
  deps: RunSessionDeps,
  connection: ExecutorConnection,
  file: string,
  token: string,
  stop: AbortSignal,
): Promise<number> {
  const spec = await readSpec(file);
  let session: ExecutorSession;
  try {
    session = await connection.attach({ spec, token });
  } catch (error) {
    if (error instanceof AppError) return tellEnd(error);
    throw error;
  }
  const leave = () => void session.leave("the executor stops");
  let timer: NodeJS.Timeout | undefined;
  const onStop = () => {
    timer = setTimeout(leave, GRACE_MS);
  };
  if (stop.aborted) onStop();
  else stop.addEventListener("abort", onStop, { once: true });
  try {
    await session.complete(await runSession(deps, session));
  } catch (error) {
    if (!session.signal.aborted) throw error; // else the end below tells why
  } finally {
    clearTimeout(timer);
    stop.removeEventListener("abort", onStop);
  }
  const end = await session.ended;
  if (end.kind === "left") return EXIT.fault;
  if (end.kind !== "reported") return tellEnd(end.error);
  return end.state === ExecutionState.EXECUTION_STATE_COMPLETED ? EXIT.done : EXIT.notCompleted;
}

/** Why there is no report: refused for good, or no server to be reached. */
function tellEnd(error: AppError): number {
  const isRefusal: boolean = isFinal(error);
  if (isRefusal) return tellRefusal(error);
  process.stderr.write(`${error.message}\n`);
  return EXIT.fault;
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
