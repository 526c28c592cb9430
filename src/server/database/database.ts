// The way to Postgres: a pool of connections (knex over pg), statements with named parameters, transactions.
//
// D1  A broken connection fails the statements under way and is replaced at the next one; it never ends the process.
// D2  int8 is bigint in this pool only: pg's process-wide type parsers stay untouched.
// D3  The password file is read for each new connection, so a rotated password needs no restart.
import { readFile } from "node:fs/promises";
import knexModule, { type Knex } from "knex";
import pg from "pg";
import { AppError } from "../../core/app-error.js";
import { explainDatabaseError, isRetryable } from "./database-error.js";
import { withNumbers, withPositions } from "./named-parameters.js";

/** Anything that takes a statement: the pool or a transaction. */
export interface Queryable {
  /**
   * Runs one statement. Parameters are named (`:projectId`): Date for timestamptz, Uint8Array for bytea, an array for
   * a Postgres array, another object for jsonb (a jsonb array goes through `json`). Rows come back with camelCase keys,
   * bigint for int8, Date for timestamptz and values for jsonb.
   */
  query<Row>(sql: string, params?: Record<string, unknown>): Promise<Row[]>;
}

export interface Database extends Queryable {
  /**
   * Runs `work` in one transaction; its rejection rolls back. After a serialization failure or deadlock `work` runs
   * once more, so it must do nothing but statements.
   */
  transaction<T>(work: (tx: Queryable) => Promise<T>): Promise<T>;
  /** Waits for statements under way, then ends every connection of the pool. */
  close(): Promise<void>;
}

/** Tells the pool from a transaction, which alone sees what it has written. */
export const isDatabase = (db: Queryable): db is Database => "transaction" in db;

export interface PostgresDatabase extends Database {
  /** For migrations only; statements go through `query`. */
  readonly knex: Knex;
  /**
   * A connection of its own, for LISTEN or for the group commit; the caller ends it. When it is lost it emits `end`,
   * after an `error` that is already handled. The name is what pg_stat_activity shows.
   */
  sessionConnection(applicationName?: string): Promise<pg.Client>;
}

export interface DatabaseOptions {
  /** `postgres://user@host:5432/name`, or `postgres://user@/name?host=/socket/directory`. */
  url: string;
  /** Holds the password alone, with or without a line end; undefined when the URL or the server needs none. */
  passwordFile?: string;
  poolSize: number;
  /** Shown in pg_stat_activity. */
  applicationName?: string;
  /** How long a statement waits for a lock before it is UNAVAILABLE. Default 10 s. */
  lockTimeoutMs?: number;
  /** How long a call waits for a free connection before it is UNAVAILABLE. Default 10 s. */
  acquireTimeoutMs?: number;
}

/**
 * A replica that freezes inside a transaction must not keep its row locks for ever: others would neither expire its
 * executions nor report on them.
 */
const sessionSettings = ({ lockTimeoutMs = 10_000 }: DatabaseOptions) =>
  `set time zone 'UTC'; set idle_in_transaction_session_timeout = '30s'; set lock_timeout = ${lockTimeoutMs}`;

/** Text for a jsonb parameter; needed for arrays, which would otherwise be taken for Postgres arrays. */
export const json = (value: unknown): string => JSON.stringify(value);

/** Opens the pool and makes sure that the database answers. */
export async function openDatabase(options: DatabaseOptions): Promise<PostgresDatabase> {
  const pool = knexModule.knex({
    client: "pg",
    connection: clientConfig(options),
    pool: {
      min: 0,
      max: options.poolSize,
      // A refused connection is an answer: do not ask again and again until the acquire timeout.
      propagateCreateError: true,
      afterCreate: (connection: pg.Client, done: (error: Error | null, connection: pg.Client) => void) => {
        connection.query(sessionSettings(options), (error) => done(error, connection));
      },
    } as Knex.PoolConfig,
    acquireConnectionTimeout: options.acquireTimeoutMs ?? 10_000,
    log: { warn: () => {}, error: () => {}, deprecate: () => {}, debug: () => {} }, // errors reach the caller
  });
  const database: PostgresDatabase = {
    knex: pool,
    query: (sql, params) => onPool(pool, sql, params),
    transaction: (work) => transaction(pool, work),
    sessionConnection: (applicationName) =>
      sessionConnection({ ...options, applicationName: applicationName ?? options.applicationName }),
    close: () => pool.destroy(),
  };
  try {
    await pool.raw("select 1");
  } catch (error) {
    await pool.destroy();
    throw explainFirstContact(error);
  }
  return database;
}

async function onPool<Row>(pool: Knex, sql: string, params: Record<string, unknown> | undefined): Promise<Row[]> {
  try {
    const connection: pg.Client = await pool.client.acquireConnection();
    try {
      return await run(connection, sql, params);
    } finally {
      pool.client.releaseConnection(connection);
    }
  } catch (error) {
    throw explainDatabaseError(error);
  }
}

/** Runs a statement where it is; a way through knex would cost more than the statement. */
async function run<Row>(connection: pg.Client, sql: string, params: Record<string, unknown> = {}): Promise<Row[]> {
  const name = preparedNames.get(sql);
  const statement = name === undefined ? withPositions(sql, params) : { name, ...withNumbers(sql, params) };
  return camelCaseRows<Row>(await connection.query({ ...statement, rowMode: "array" }));
}

const preparedNames = new Map<string, string>();

/**
 * Marks a statement that every connection prepares at its first use: one that takes as long to plan as to run. A
 * parameter of it has one type, however often its name occurs.
 */
export function prepared(sql: string): string {
  preparedNames.set(sql, `postern_pool_${preparedNames.size + 1}`);
  return sql;
}

async function transaction<T>(pool: Knex, work: (tx: Queryable) => Promise<T>): Promise<T> {
  const once = () =>
    pool.transaction(async (trx) => {
      const connection: pg.Client = await trx.client.acquireConnection();
      return work({
        async query<Row>(sql: string, params?: Record<string, unknown>) {
          if (trx.isCompleted()) throw new Error("A statement came after the end of its transaction.");
          try {
            return await run<Row>(connection, sql, params);
          } catch (error) {
            throw explainDatabaseError(error);
          }
        },
      });
    });
  try {
    return await once().catch((error) => {
      if (isRetryable(error)) return once();
      throw error;
    });
  } catch (error) {
    throw explainDatabaseError(error);
  }
}

async function sessionConnection(options: DatabaseOptions): Promise<pg.Client> {
  const client = new pg.Client(clientConfig(options));
  client.on("error", () => {}); // `end` follows, and that is what its user watches
  try {
    await client.connect();
    await client.query(sessionSettings(options));
    return client;
  } catch (error) {
    await client.end().catch(() => {}); // it never was a connection
    throw explainDatabaseError(error);
  }
}

function clientConfig({ url, passwordFile, applicationName = "postern", acquireTimeoutMs = 10_000 }: DatabaseOptions) {
  // Beside `connectionString` a password would lose against the URL's empty one, so the URL is taken apart here.
  const { host, port, user, password, database, ssl } = new pg.Client(url);
  return {
    host,
    port,
    user,
    password: passwordFile ? () => readPassword(passwordFile) : password,
    database,
    ssl,
    application_name: applicationName,
    connectionTimeoutMillis: acquireTimeoutMs,
    keepAlive: true,
    types: { getTypeParser },
  };
}

async function readPassword(file: string): Promise<string> {
  try {
    return (await readFile(file, "utf8")).replace(/\r?\n$/, "");
  } catch (cause) {
    throw new AppError("unavailable", "UNAVAILABLE", "The database's password file cannot be read.", { cause });
  }
}

const int8 = 20;
const int8Array = 1016;

function getTypeParser(oid: number, format?: string) {
  if (format === "binary") return pg.types.getTypeParser(oid, "binary");
  if (oid === int8) return BigInt;
  const parse = pg.types.getTypeParser(oid, "text");
  if (oid === int8Array)
    return (text: string) => (parse(text) as (string | null)[]).map((one) => (one === null ? null : BigInt(one)));
  return parse;
}

const camelCase = (name: string) => name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** Column names are those of the schema, so there are few. */
const keys = new Map<string, string>();

function keyOf(name: string): string {
  const known = keys.get(name);
  if (known !== undefined) return known;
  const key = camelCase(name);
  if (keys.size < 1_000) keys.set(name, key);
  return key;
}

/** Rows as the code wants them, from rows as arrays: objects with camelCase keys. */
export function camelCaseRows<Row>({ fields, rows }: pg.QueryArrayResult): Row[] {
  const names = fields.map(({ name }) => keyOf(name));
  return rows.map((values) => {
    const row: Record<string, unknown> = {};
    for (let i = 0; i < names.length; i++) row[names[i]!] = values[i];
    return row as Row;
  });
}

function explainFirstContact(error: unknown): AppError {
  const reason = error instanceof Error ? error.message || String((error as NodeJS.ErrnoException).code) : error;
  return new AppError(
    "unavailable",
    "UNAVAILABLE",
    `The database does not answer (${reason}): check POSTERN_DATABASE_URL and POSTERN_DATABASE_PASSWORD_FILE, and that Postgres is running.`,
    { cause: error },
  );
}
