// The database of the development stack: an embedded server that holds one database named "postern".
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { AppError } from "../core/app-error.js";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "./embedded-postgres.js";
import { EmbeddedPostgresError } from "./embedded-postgres-error.js";
import { findRunningProcess } from "./running-process.js";

const DATABASE = "postern";
const LOOK_MS = 1_000;

export interface StackDatabase {
  pid: number;
  /** For POSTERN_DATABASE_URL; holds no password. */
  url: string;
  /** For POSTERN_DATABASE_PASSWORD_FILE. */
  passwordFile: string;
  /** True when it was running already. */
  adopted: boolean;
  /** Resolves when the server's process is gone; never once the signal has aborted. */
  gone(signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
}

/** Starts the embedded server of a data directory and makes the database in it. */
export async function startStackDatabase(options: {
  dataDir: string;
  log: (line: string) => void;
  signal: AbortSignal;
}): Promise<StackDatabase> {
  const postgres = await startEmbeddedPostgres({ ...options, durable: true }).catch((error) => {
    if (!(error instanceof EmbeddedPostgresError)) throw error;
    throw new AppError("unavailable", "DATABASE_NOT_STARTED", error.message, { cause: error });
  });
  try {
    await createDatabase(postgres);
  } catch (error) {
    await postgres.stop();
    throw error;
  }
  const { host, port, user, passwordFile } = postgres.connection;
  const query = new URLSearchParams({ host, port: `${port}` });
  return {
    pid: postgres.pid,
    url: `postgres://${encodeURIComponent(user)}@/${DATABASE}?${query}`,
    passwordFile,
    adopted: postgres.adopted,
    gone: (signal) => processGone(postgres.pid, signal),
    stop: () => postgres.stop(),
  };
}

/** Looks once a second, because a server that was adopted is nobody's child here. */
async function processGone(pid: number, signal: AbortSignal): Promise<void> {
  const first = await findRunningProcess(pid);
  for (;;) {
    const now = await findRunningProcess(pid);
    if (now?.startedAt !== first?.startedAt || now === undefined) return;
    await delay(LOOK_MS, undefined, { signal, ref: false }).catch(() => new Promise<never>(() => {}));
  }
}

async function createDatabase(postgres: EmbeddedPostgres): Promise<void> {
  const { host, port, user, password, database } = postgres.connection;
  const client = new pg.Client({ host, port, user, password, database, ssl: false });
  await client.connect();
  try {
    const { rowCount } = await client.query("select from pg_database where datname = $1", [DATABASE]);
    if (rowCount === 0) await client.query(`create database ${DATABASE}`);
  } finally {
    await client.end();
  }
}
