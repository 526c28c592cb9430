// A real PostgreSQL for `postern dev`, the demo and the tests: the programs come with npm, no Docker is needed.
//
// The server is a process of its own that outlives us. Whoever starts on the same data directory next adopts it if it
// lives, and recovers if it was killed. It listens on a Unix socket only, in a directory nobody else can enter.
//
// E1  At most one process at a time prepares a data directory (start lock), and PostgreSQL's own pid file has the
//     last word on whether a second server may run.
// E2  A returned server has answered a query with the password of its data directory.
// E3  After `stop` the process is gone, and so is the socket directory unless a newer server already uses it.

import { spawn } from "node:child_process";
import { mkdir, open, readFile, realpath, rename, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createDataDirectory, holdsData, lastLines } from "./data-directory.js";
import { EmbeddedPostgresError, explainDiskProblem } from "./embedded-postgres-error.js";
import { preparePostgresBinaries } from "./postgres-binaries.js";
import { endPostmaster, findPostmaster, type Postmaster, recordedSocketDir, retirePidFile } from "./postmaster.js";
import { findRunningProcess } from "./running-process.js";
import { chooseServerAccount, giveToAccount, type ServerAccount, serverEnvironment } from "./server-account.js";
import { connectionTo, type EmbeddedPostgresConnection, waitUntilReady } from "./server-connection.js";
import { makeSocketDir, port, removeSocketDir, socketDirOf } from "./socket-directory.js";
import { withStartLock } from "./start-lock.js";

export interface EmbeddedPostgresOptions {
  /** Made on first use. The server's log, `<dataDir>.log`, lies beside it. */
  dataDir: string;
  /** False gives up crash safety for speed; meant for tests. */
  durable: boolean;
  /** Memory for pages, as Postgres writes it. Small by default: it is for laptops. */
  sharedBuffers?: string;
  /** Told, a line each, what takes time or may surprise. */
  log?: (line: string) => void;
  /** Gives up starting; a server that has been returned is not affected. */
  signal?: AbortSignal;
}

export interface EmbeddedPostgres {
  connection: EmbeddedPostgresConnection;
  pid: number;
  /** True when the server was already running. */
  adopted: boolean;
  /** Ends the server in order and waits until it is gone. Calling it again, or after a crash, is harmless. */
  stop(): Promise<void>;
}

/** Crash recovery is part of a start, so this is generous. */
const startTimeoutMs = 60_000;
const pauseMs = 100;

/** Starts the server of a data directory, or adopts the one that is running; first use makes the data directory. */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const path = resolve(options.dataDir);
  await mkdir(dirname(path), { recursive: true }).catch((error) => {
    throw explainDiskProblem(error, dirname(path));
  });
  const dataDir = await withoutSymbolicLinks(path);
  const deadline = Date.now() + startTimeoutMs;
  const start: Start = { ...options, dataDir, deadline };
  return withStartLock(lockOf(dataDir), { waitMs: startTimeoutMs, signal: options.signal }, async () => {
    for (;;) {
      options.signal?.throwIfAborted();
      const outcome = (await adopt(start)) ?? (await launch(start));
      if (outcome !== "again") return outcome;
      await delay(pauseMs);
    }
  });
}

/** Stops the server of a data directory, whoever started it, and removes its socket; false when none was running. */
export async function stopEmbeddedPostgres(dataDir: string): Promise<boolean> {
  const path = await withoutSymbolicLinks(resolve(dataDir));
  const postmaster = await findPostmaster(path);
  const recorded = await recordedSocketDir(path);
  if (postmaster) await endPostmaster(postmaster);
  const owner = await stat(path).catch(() => undefined);
  if (owner) await removeUnusedSocketDir(path, recorded || socketDirOf(path, owner));
  return postmaster !== undefined;
}

/** The path as the server's arguments and the socket's name will have it, one and the same however it was reached. */
async function withoutSymbolicLinks(path: string): Promise<string> {
  return realpath(path).catch(async () =>
    join(await realpath(dirname(path)).catch(() => dirname(path)), basename(path)),
  );
}

const lockOf = (dataDir: string) => `${dataDir}.starting`;

interface Start extends EmbeddedPostgresOptions {
  /** In milliseconds since the epoch. */
  deadline: number;
}

/** The server that is already running, once it answers; undefined when there is none or it ends meanwhile. */
async function adopt(start: Start): Promise<EmbeddedPostgres | undefined> {
  const { dataDir, durable, log } = start;
  // It may be starting, recovering or about to end; the answer is in asking again.
  const server = await waitUntilReady(start, () => findPostmaster(dataDir));
  if (!server) return undefined;
  if (durable && !server.durable)
    throw new EmbeddedPostgresError(
      `The PostgreSQL that runs on ${dataDir} (pid ${server.pid}) was started without crash safety: ` +
        `stop it (kill -INT ${server.pid}) and start again.`,
    );
  log?.(`PostgreSQL was still running on ${dataDir} (pid ${server.pid}); using it`);
  return embeddedPostgres(dataDir, server, { adopted: true });
}

/** A new server; "again" when it gave way because remains of another one still occupy the data directory. */
async function launch(start: Start): Promise<EmbeddedPostgres | "again"> {
  const { dataDir, log, signal } = start;
  const { initdb, postgres } = await preparePostgresBinaries(`${dataDir}.programs-`);
  const account = await chooseServerAccount(dataDir, postgres);
  const socketDir = socketDirOf(dataDir, account);
  if (await holdsData(dataDir)) {
    await giveToAccount(dataDir, account);
    const former = await recordedSocketDir(dataDir);
    if (former !== socketDir) await removeSocketDir(former); // TMPDIR was another one then
    await retirePidFile(dataDir, account);
  } else {
    log?.(`making a new PostgreSQL database in ${dataDir}`);
    await createDataDirectory({ dataDir, initdb, account, signal }).catch((error) => {
      throw signal?.aborted ? error : explainDiskProblem(error, dataDir);
    });
  }
  await makeSocketDir(socketDir, account);

  const logFile = await openLog(dataDir, account);
  const [command, ...args] = [...account.prefix, postgres, "-D", dataDir, ...settings(socketDir, start)];
  const child = spawn(command!, args, {
    ...account.spawnAs,
    cwd: "/", // ours may be unreadable to the account
    env: serverEnvironment(),
    stdio: ["ignore", logFile.fd, logFile.fd],
    detached: true, // a session of its own: Ctrl-C in our terminal is ours to answer
  });
  let hasEnded = false;
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(`failed: ${error.message}`));
    child.once("exit", (code, killedBy) => resolve(`ended with ${killedBy ?? code}`));
  }).finally(() => (hasEnded = true));
  const running = await findRunningProcess(child.pid ?? 0);
  await logFile.close();

  try {
    const find = async () => (running && !hasEnded ? { ...running, socketDir } : undefined);
    const server = await waitUntilReady(start, find);
    if (server) {
      child.unref(); // it outlives us
      return await embeddedPostgres(dataDir, server, { adopted: false });
    }
  } catch (error) {
    if (running) await endPostmaster(running);
    await removeSocketDir(socketDir);
    throw error;
  }
  const how = await ended;
  const said = await logFile.readNew();
  // Backends of a killed server take a moment to notice; a server that was started by other means has been quicker.
  const isOccupied = /pre-existing shared memory block|lock file "[^"]*" already exists/.test(said);
  if (isOccupied && Date.now() < start.deadline) return "again";
  await removeSocketDir(socketDir);
  if (/No space left on device/.test(said)) throw explainDiskProblem(said, dataDir);
  throw new EmbeddedPostgresError(
    `PostgreSQL did not start on ${dataDir} (it ${how}). The end of ${logOf(dataDir)}:\n${lastLines(said)}`,
  );
}

function settings(socketDir: string, { durable, sharedBuffers = "64MB" }: Start): string[] {
  const values = {
    listen_addresses: "",
    port,
    unix_socket_directories: socketDir,
    unix_socket_permissions: "0700",
    max_connections: 200,
    shared_buffers: sharedBuffers,
    ...(durable ? {} : { fsync: "off", synchronous_commit: "off", full_page_writes: "off" }),
  };
  return Object.entries(values).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
}

const logOf = (dataDir: string) => `${dataDir}.log`;
const logBytesBeforeRotation = 8 * 1024 * 1024;

/** Opens the server's log for appending; `readNew` returns what was written since. */
async function openLog(dataDir: string, account: ServerAccount) {
  const path = logOf(dataDir);
  try {
    const formerSize = (await stat(path).catch(() => undefined))?.size ?? 0;
    if (formerSize > logBytesBeforeRotation) await rename(path, `${path}.old`);
    const file = await open(path, "a", 0o600);
    await giveToAccount(path, account); // so that an ordinary user can go on where root began
    const { size } = await file.stat();
    const readNew = async () => (await readFile(path)).subarray(size).toString("utf8");
    return { fd: file.fd, close: () => file.close(), readNew };
  } catch (error) {
    throw explainDiskProblem(error, path);
  }
}

async function embeddedPostgres(
  dataDir: string,
  server: Postmaster,
  { adopted }: { adopted: boolean },
): Promise<EmbeddedPostgres> {
  let stopped: Promise<void> | undefined;
  const stop = async () => {
    await endPostmaster(server);
    await removeUnusedSocketDir(dataDir, server.socketDir);
  };
  return {
    connection: await connectionTo(dataDir, server.socketDir),
    pid: server.pid,
    adopted,
    stop: () => (stopped ??= stop()),
  };
}

async function removeUnusedSocketDir(dataDir: string, socketDir: string): Promise<void> {
  const parent = await stat(dirname(dataDir)).catch(() => undefined);
  if (!parent) return removeSocketDir(socketDir); // whoever deleted everything will not start it again
  await withStartLock(lockOf(dataDir), { waitMs: startTimeoutMs }, async () => {
    if (!(await findPostmaster(dataDir))) await removeSocketDir(socketDir);
  });
}
