// The development stack: embedded Postgres, one server, executors; each an operating-system process of its own.
//
// D1  Whatever has been started is stopped, last first, however far the start came: executors, server, Postgres.
// D2  An executor is told where the server is and where its serve token lies; it sees no other variable of ours, and
//     none of the caller's.
// D3  Every secret is a file only its owner can read.
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { AppError } from "../core/app-error.js";
import { bareEnvironment, userCodeEnvironment } from "./child-program.js";
import { removeClientFile, writeClientFile } from "./client-file.js";
import {
  createDevelopmentIssuer,
  DEVELOPMENT_AUDIENCE,
  DEVELOPMENT_ISSUER,
  DEVELOPMENT_SUBJECT,
  ensureKeyFile,
  USER_SCOPES,
} from "./development-issuer.js";
import { findRunningProcess } from "./running-process.js";
import { claimDirectory } from "./running-stack.js";
import { writeSecret } from "./secret-file.js";
import { stackAccess } from "./stack-access.js";
import { startStackDatabase } from "./stack-database.js";
import { type StackProcess, startStackProcess } from "./stack-process.js";

export const DEVELOPMENT_PROJECT = "dev";
export const DEVELOPMENT_COMPUTING_UNIT = "local";

export interface StackOptions {
  /** Everything the stack keeps lies below it. */
  dir: string;
  /** Number of executors. */
  executors: number;
  /** host:port of the server; port 0 for any free one. */
  listen: string;
  /** Directories whose files may be registered as datasets in place. */
  datasetRoots: string[];
  /** Told, a line each, what is going on. */
  log: (line: string) => void;
  /** Gives up starting; what has been started is stopped. */
  signal: AbortSignal;
}

export interface Stack {
  dir: string;
  /** host:port the server listens on. */
  address: string;
  database: { pid: number; adopted: boolean };
  server: StackProcess;
  executors: StackProcess[];
  resultRoot: string;
  /** Resolves, with a sentence, when a part of the stack ends by itself. */
  broken: Promise<string>;
  /** Stops executors, server and Postgres and makes sure none is left. Calling it again is harmless. */
  stop(): Promise<void>;
}

const USER_TOKEN_SECONDS = 24 * 3600;
const REFRESH_MS = 20 * 60 * 1000;

/** Starts everything, or nothing. */
export async function startStack(options: StackOptions): Promise<Stack> {
  const begun: Begun = { undo: [], processes: [] };
  const stop = once(async () => {
    await undoAll(begun.undo);
    await requireGone(begun.processes);
  });
  try {
    return await start({ ...options, dir: resolve(options.dir) }, begun, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What a start has begun so far. */
interface Begun {
  /** How to take it back, in the order of the steps. */
  undo: (() => Promise<void>)[];
  processes: Started[];
}
interface Started {
  name: string;
  pid: number;
  startedAt: string | undefined;
}

async function start(options: StackOptions, begun: Begun, stop: Stack["stop"]): Promise<Stack> {
  const { dir, log, signal } = options;
  const { undo } = begun;
  await makeDirectories(dir);
  undo.push(await claimDirectory(dir, signal));
  const paths = pathsIn(dir);

  const issuer = await createDevelopmentIssuer(dir);
  await ensureKeyFile(paths.executionKey);
  const mintUserToken = () =>
    issuer.mint({ subject: DEVELOPMENT_SUBJECT, scopes: USER_SCOPES, ttlSeconds: USER_TOKEN_SECONDS });

  const database = await startStackDatabase({ dataDir: join(dir, "postgres"), log, signal });
  await remember(begun, { name: "Postgres", ...database });
  log(`Postgres ${database.adopted ? "was running" : "runs"} (pid ${database.pid})`);

  const server = await startStackProcess({
    name: "server",
    args: ["server"],
    logFile: join(dir, "server.log"),
    signal,
    env: {
      ...bareEnvironment(),
      POSTERN_LISTEN: options.listen,
      POSTERN_DATABASE_URL: database.url,
      POSTERN_DATABASE_PASSWORD_FILE: database.passwordFile,
      POSTERN_EXECUTION_KEY_FILE: paths.executionKey,
      POSTERN_ISSUER: DEVELOPMENT_ISSUER,
      POSTERN_AUDIENCE: DEVELOPMENT_AUDIENCE,
      POSTERN_JWKS_URL: issuer.jwksUrl,
      POSTERN_RESULT_ROOT: pathToFileURL(paths.results).href,
      ...(options.datasetRoots.length > 0 ? { POSTERN_DATASET_ROOTS: options.datasetRoots.join(":") } : {}),
    },
  });
  await remember(begun, server);
  const address = String(server.ready.address);
  log(`server runs on ${address} (pid ${server.pid})`);

  const access = stackAccess({
    address,
    token: mintUserToken,
    project: DEVELOPMENT_PROJECT,
    computingUnit: DEVELOPMENT_COMPUTING_UNIT,
    signal,
  });
  undo.push(async () => access.close());
  await access.createWorkplace();
  const writeTokens = async () => {
    await writeSecret(paths.userToken, await mintUserToken());
    await writeSecret(paths.serveToken, await access.createServeToken());
  };
  await writeTokens();
  undo.push(refreshTokens(writeTokens, log));

  const executors = await startExecutors({ ...options, address, serveToken: paths.serveToken }, begun);
  await writeClientFile(dir, {
    server: address,
    tokenFile: paths.userToken,
    project: DEVELOPMENT_PROJECT,
    computingUnit: DEVELOPMENT_COMPUTING_UNIT,
  });
  undo.push(() => removeClientFile(dir));

  const watch = new AbortController();
  undo.push(async () => watch.abort());
  const broken = Promise.race([
    database
      .gone(watch.signal)
      .then(() => `Postgres (pid ${database.pid}) has gone; its log is ${join(dir, "postgres.log")}.`),
    ...[server, ...executors].map(async (p) => `${p.name} (pid ${p.pid}) ${await p.ended}; its log is ${p.logFile}.`),
  ]);
  return { dir, address, database, server, executors, resultRoot: paths.results, broken, stop };
}

async function startExecutors(
  options: StackOptions & { address: string; serveToken: string },
  begun: Begun,
): Promise<StackProcess[]> {
  const { dir, log, signal } = options;
  const starts = Array.from({ length: options.executors }, async (_, index) => {
    const name = `executor-${index + 1}`;
    const workDir = join(dir, name);
    await mkdir(workDir, { recursive: true });
    const executor = await startStackProcess({
      name: name.replace("-", " "),
      args: ["executor"],
      logFile: join(dir, `${name}.log`),
      signal,
      env: {
        ...bareEnvironment(),
        ...userCodeEnvironment(),
        POSTERN_SERVER: options.address,
        POSTERN_TOKEN_FILE: options.serveToken,
        POSTERN_WORK_DIR: workDir,
      },
    });
    await remember(begun, executor);
    log(`${executor.name} runs (pid ${executor.pid})`);
    return executor;
  });
  const outcomes = await Promise.allSettled(starts); // all of them, so that none is started behind our back
  const failed = outcomes.find((outcome) => outcome.status === "rejected");
  if (failed) throw failed.reason;
  return outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
}

/** Notes a process that has just been started, so that it is stopped and looked for afterwards. */
async function remember(begun: Begun, started: { name: string; pid: number; stop(): Promise<void> }): Promise<void> {
  begun.undo.push(() => started.stop());
  const { name, pid } = started;
  begun.processes.push({ name, pid, startedAt: (await findRunningProcess(pid))?.startedAt });
}

function pathsIn(dir: string) {
  return {
    executionKey: join(dir, "keys", "execution-key.pem"),
    userToken: join(dir, "user.token"),
    serveToken: join(dir, "serve.token"),
    results: join(dir, "results"),
  };
}

async function makeDirectories(dir: string): Promise<void> {
  try {
    await mkdir(join(dir, "results"), { recursive: true });
    await mkdir(join(dir, "keys"), { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new AppError(
      "invalid",
      "DIRECTORY_UNWRITABLE",
      `${dir} cannot be written (${(error as NodeJS.ErrnoException).code}): choose another directory with --dir.`,
      { cause: error },
    );
  }
}

/** Keeps both token files fresh, so that a program that starts or reconnects later finds a valid one. */
function refreshTokens(writeTokens: () => Promise<void>, log: (line: string) => void): () => Promise<void> {
  const timer = setInterval(() => {
    writeTokens().catch((error) => log(`tokens could not be renewed, trying again later: ${error.message}`));
  }, REFRESH_MS);
  timer.unref();
  return async () => clearInterval(timer);
}

/** Runs every undo step, last first, and fails only after all have been tried. */
async function undoAll(undo: (() => Promise<void>)[]): Promise<void> {
  const failures: unknown[] = [];
  for (let step = undo.pop(); step; step = undo.pop()) await step().catch((error) => failures.push(error));
  if (failures.length > 0) throw failures[0];
}

/** Fails when a process of the stack is alive after all; a recycled pid is not taken for one. */
async function requireGone(started: Started[]): Promise<void> {
  for (const { name, pid, startedAt } of started) {
    const found = await findRunningProcess(pid);
    if (found && found.startedAt === startedAt)
      throw new AppError("internal", "STILL_RUNNING", `The ${name} could not be stopped: end it with kill -9 ${pid}.`);
  }
}

function once(action: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  return () => (running ??= action());
}
