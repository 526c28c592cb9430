// The Postgres of a run: durable, so that kill -9 means something, with a user for each replica, so that a backend tells
// whose it is.
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../../src/dev/embedded-postgres.js";
import { findRunningProcess } from "../../src/dev/running-process.js";
import { signalProcess } from "./kept-process.js";

const DATABASE = "postern";

export interface ChaosDatabase {
  /** For POSTERN_DATABASE_URL of one replica. */
  urlOf(replica: number): string;
  passwordFile: string;
  /** Runs a statement; asks again while the database is away. */
  query<Row extends pg.QueryResultRow>(sql: string, values?: unknown[]): Promise<Row[]>;
  /** Runs a statement once; rejects when the database is away. */
  ask<Row extends pg.QueryResultRow>(sql: string, values?: unknown[]): Promise<Row[]>;
  /** kill -9 of the postmaster; `start` makes it recover. */
  kill(): Promise<void>;
  start(): Promise<void>;
  close(): Promise<void>;
}

const AWAY_MS = 60_000;

/** The user of one replica. */
export const databaseUserOf = (replica: number): string => `replica_${replica}`;

export async function startChaosDatabase(dataDir: string, replicas: number): Promise<ChaosDatabase> {
  let server: EmbeddedPostgres = await startEmbeddedPostgres({ dataDir, durable: true });
  const { host, port, user, password, passwordFile } = server.connection;
  const place = { host, port, user, password, ssl: false };
  const pool = new pg.Pool({ ...place, database: DATABASE, application_name: "chaos", max: 4 });
  pool.on("error", () => {}); // the next statement connects anew

  const ask = async <Row extends pg.QueryResultRow>(sql: string, values: unknown[] = []): Promise<Row[]> =>
    (await pool.query<Row>(sql, values)).rows;

  async function query<Row extends pg.QueryResultRow>(sql: string, values: unknown[] = []): Promise<Row[]> {
    for (const until = Date.now() + AWAY_MS; ; await delay(100)) {
      try {
        return await ask<Row>(sql, values);
      } catch (error) {
        if ((error instanceof pg.DatabaseError && error.severity === "ERROR") || Date.now() > until) throw error;
      }
    }
  }

  const maintenance = new pg.Client({ ...place, database: "postgres" });
  await maintenance.connect();
  await maintenance.query(`create database ${DATABASE}`);
  for (let replica = 0; replica < replicas; replica++)
    await maintenance.query(`create role ${databaseUserOf(replica)} superuser login password '${password}'`);
  await maintenance.end();

  // For runs that end without `close`, as with Ctrl-C.
  const endHastily = () => void signalProcess(server.pid, "SIGQUIT");
  process.once("exit", endHastily);

  const places = new URLSearchParams({ host, port: `${port}` });
  return {
    urlOf: (replica) => `postgres://${databaseUserOf(replica)}@/${DATABASE}?${places}`,
    passwordFile,
    ask,
    query,
    async kill() {
      const { pid } = server;
      signalProcess(pid, "SIGKILL");
      while (await findRunningProcess(pid)) await delay(5);
    },
    async start() {
      server = await startEmbeddedPostgres({ dataDir, durable: true });
    },
    async close() {
      await pool.end();
      await server.stop();
      process.off("exit", endHastily);
    },
  };
}
