// A real PostgreSQL for tests: one server per run, one database per test file, cloned from a template.
//
// The server is the embedded one, or the one that POSTERN_TEST_DATABASE_URL names (its user must be allowed to create
// databases). Nothing is started until the first test asks, and nothing remains after the run.

import { randomBytes } from "node:crypto";
import { join } from "node:path";
import pg from "pg";
import { startEmbeddedPostgres } from "../../src/dev/embedded-postgres.js";
import { makeTestDirectory, removeAbandonedTestDirectories, removeTestDirectory } from "./test-directory.js";

export interface TestConnection {
  /** A name, an address, or the directory of a Unix socket. */
  host: string;
  port: number;
  user: string;
  password: string;
  database: string;
}

export interface TestServer {
  /** A user who may create databases, in a database that always exists. */
  connection: TestConnection;
}

export interface TestDatabase {
  connection: TestConnection;
  url: string;
  /** Removes the database and cuts off whoever is still connected. */
  drop(): Promise<void>;
}

/** Brings an empty database into the state that clones start from, and closes its connections. */
export type Template = (url: string) => Promise<void>;

interface UsedServer extends TestServer {
  /** How `create database` copies fastest here. */
  copying: string;
  release(): Promise<void>;
}

const databasePrefix = `postern_test_${randomBytes(4).toString("hex")}`;
let databaseCount = 0;
let server: Promise<UsedServer> | undefined;
const templates = new Map<Template, Promise<string>>();

/** The server of this run, started by the first caller. */
export function sharedPostgres(): Promise<TestServer> {
  return usedServer();
}

function usedServer(): Promise<UsedServer> {
  server ??= process.env.POSTERN_TEST_DATABASE_URL
    ? Promise.resolve(serverAt(process.env.POSTERN_TEST_DATABASE_URL))
    : startServer();
  return server;
}

/**
 * A database of its own for a test file. `template` runs once per run and function: pass the same function everywhere,
 * not a new closure each time, and every further database is a fast clone.
 */
export async function createTestDatabase({ template }: { template?: Template } = {}): Promise<TestDatabase> {
  const source = template ? await templateDatabase(template) : "template0";
  const connection = await createDatabase(source);
  const drop = () => asAdministrator((client) => client.query(dropStatement(connection.database)));
  return { connection, url: databaseUrl(connection), drop: async () => void (await drop()) };
}

/** Ends the server of this run, if one was started, and removes this run's databases from a server of others. */
export async function stopSharedPostgres(): Promise<void> {
  const started = server && (await server.catch(() => undefined)); // why it failed was told to whoever asked for it
  await started?.release();
  server = undefined;
  templates.clear();
}

/** The connection as a URL that pg, knex and libpq understand, also for a socket directory. */
export function databaseUrl({ host, port, user, password, database }: TestConnection): string {
  const login = [user, ...(password ? [password] : [])].map(encodeURIComponent).join(":");
  const place = host.startsWith("/") ? encodeURIComponent(host) : host;
  return `postgresql://${login}@${place}:${port}/${encodeURIComponent(database)}`;
}

async function startServer(): Promise<UsedServer> {
  await removeAbandonedTestDirectories();
  const directory = await makeTestDirectory();
  const { connection, pid } = await startEmbeddedPostgres({ dataDir: join(directory, "postgres"), durable: false });
  // For runs that end without the teardown, as with Ctrl-C; the next run removes the directory.
  const endHastily = () => {
    try {
      process.kill(pid, "SIGQUIT");
    } catch {
      // It has ended already, which is all we want.
    }
  };
  const exit = () => process.exit(1);
  process.once("exit", endHastily).once("SIGINT", exit).once("SIGTERM", exit);
  const release = async () => {
    process.off("exit", endHastily).off("SIGINT", exit).off("SIGTERM", exit);
    await removeTestDirectory(directory);
  };
  // Copying files waits for checkpoints, but those cost next to nothing without fsync, and the buffers stay as they are.
  return { connection, copying: "strategy file_copy", release };
}

function serverAt(url: string): UsedServer {
  const { host, port, user = "", password, database = "postgres" } = new pg.Client(url);
  const connection = { host, port, user, password: password ?? "", database };
  const release = () =>
    asAdministrator(async (client) => {
      const ours = "select datname from pg_database where starts_with(datname, $1)";
      const { rows } = await client.query<{ datname: string }>(ours, [databasePrefix]);
      for (const { datname } of rows) await client.query(dropStatement(datname));
    });
  return { connection, copying: "", release };
}

function templateDatabase(template: Template): Promise<string> {
  const known = templates.get(template);
  if (known) return known;
  const made = makeTemplate(template);
  templates.set(template, made);
  return made;
}

async function makeTemplate(template: Template): Promise<string> {
  const connection = await createDatabase("template0");
  await template(databaseUrl(connection));
  // A forgotten connection would make every clone fail, much later and without saying whose it is.
  await asAdministrator((client) => client.query(`alter database ${connection.database} allow_connections false`));
  return connection.database;
}

async function createDatabase(source: string): Promise<TestConnection> {
  const { connection, copying } = await usedServer();
  const database = `${databasePrefix}_${++databaseCount}`;
  const statement = `create database ${database} template ${source} encoding 'UTF8' ${copying}`;
  await asAdministrator((client) => client.query(statement));
  return { ...connection, database };
}

const dropStatement = (database: string) => `drop database if exists ${database} with (force)`;

async function asAdministrator<T>(action: (client: pg.Client) => Promise<T>): Promise<T> {
  const { connection } = await usedServer();
  const client = new pg.Client(connection);
  await client.connect();
  try {
    return await action(client);
  } finally {
    await client.end();
  }
}
