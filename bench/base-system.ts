// What every bench of whole programs runs against: a durable embedded Postgres, a development issuer, and servers from
// dist. Whatever was started is stopped, last first, also after Ctrl-C.
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import pg from "pg";
import {
  createDevelopmentIssuer,
  DEVELOPMENT_AUDIENCE,
  DEVELOPMENT_ISSUER,
  ensureKeyFile,
  USER_SCOPES,
} from "../src/dev/development-issuer.js";
import { startEmbeddedPostgres } from "../src/dev/embedded-postgres.js";
import { makeTestDirectory, removeTestDirectory } from "../test/support/test-directory.js";
import { type Program, startProgram } from "./stream/child.js";
import type { Undo } from "./undo.js";

const DATABASE = "postern";
/** What a Postgres is given that holds a million entries; with the few megabytes of a laptop's, pages come and go. */
const SHARED_BUFFERS = "1GB";
export const TOKEN_SECONDS = 24 * 3_600;
/** The command line that users run, as it was built. */
export const CLI = resolve("dist/src/cli/main.js");

export interface BaseSystem {
  directory: string;
  postgresPid: number;
  /** As a superuser, to the database the servers use. */
  connection: pg.ClientConfig;
  sql: pg.Client;
  jwksUrl: string;
  /** Signs execution tokens. */
  executionKey: string;
  /** A user token that may do everything. */
  userToken: string;
  startServer(settings?: { leaseMs?: number }): Promise<Program>;
  /** Starts `node <args>`; what it says on standard error goes to a file of that name. */
  startChild(name: string, args: string[], env?: Record<string, string>): Promise<Program>;
  /** Arguments that make Node write a CPU profile; none unless profiles were asked for. */
  profiling: string[];
}

export interface SystemOptions {
  note: (line: string) => void;
  /** Gets what has to be taken back, also when starting fails. */
  undo: Undo;
  /** Where servers write CPU profiles when they stop. */
  profiles?: string;
}

export async function startBaseSystem({ note, profiles, undo }: SystemOptions): Promise<BaseSystem> {
  const directory = await makeTestDirectory();
  await undo.add(() => removeTestDirectory(directory));
  const dataDir = join(directory, "postgres");
  const postgres = await startEmbeddedPostgres({ dataDir, durable: true, sharedBuffers: SHARED_BUFFERS });
  await undo.add(() => postgres.stop());
  const { host, port, user, password, database: own, passwordFile } = postgres.connection;
  const login = { host, port, user, password, ssl: false };
  await createDatabase({ ...login, database: own });
  const connection = { ...login, database: DATABASE };

  const issuer = await createDevelopmentIssuer(directory);
  const executionKey = await ensureKeyFile(join(directory, "keys", "execution.pem"));
  const userToken = await issuer.mint({ subject: "bench", scopes: USER_SCOPES, ttlSeconds: TOKEN_SECONDS });
  if (profiles) await mkdir(profiles, { recursive: true });
  const profiling = profiles ? ["--cpu-prof", `--cpu-prof-dir=${resolve(profiles)}`] : [];

  let programs = 0;
  const startChild: BaseSystem["startChild"] = async (name, args, env) => {
    const program = await startProgram({ args, env, logFile: join(directory, `${name}-${++programs}.log`) });
    await undo.add(() => program.stop());
    return program;
  };
  const startServer: BaseSystem["startServer"] = ({ leaseMs = 15_000 } = {}) =>
    startChild("server", [...profiling, CLI, "server"], {
      POSTERN_LISTEN: "127.0.0.1:0",
      POSTERN_DATABASE_URL: `postgres://${encodeURIComponent(user)}@/${DATABASE}?${new URLSearchParams({ host, port: `${port}` })}`,
      POSTERN_DATABASE_PASSWORD_FILE: passwordFile,
      POSTERN_EXECUTION_KEY_FILE: executionKey,
      POSTERN_ISSUER: DEVELOPMENT_ISSUER,
      POSTERN_AUDIENCE: DEVELOPMENT_AUDIENCE,
      POSTERN_JWKS_URL: issuer.jwksUrl,
      POSTERN_RESULT_ROOT: pathToFileURL(join(directory, "results")).href,
      POSTERN_DATASET_ROOTS: directory,
      POSTERN_EXECUTION_TOKEN_SECONDS: `${TOKEN_SECONDS}`,
      POSTERN_LEASE_MS: `${leaseMs}`,
    });

  const sql = new pg.Client(connection);
  await sql.connect();
  sql.on("error", () => {}); // Postgres is stopped before it when the bench is interrupted
  await undo.add(() => sql.end().catch(() => {}));
  await sql.query("alter system set max_wal_size = '8GB'"); // no checkpoint in the middle of a round
  await sql.query("select pg_reload_conf()");
  note(
    `Postgres (pid ${postgres.pid}, fsync and synchronous_commit on, ${SHARED_BUFFERS} of buffers) lies in ${directory}`,
  );
  return {
    directory,
    postgresPid: postgres.pid,
    connection,
    sql,
    jwksUrl: issuer.jwksUrl,
    executionKey,
    userToken,
    startServer,
    startChild,
    profiling,
  };
}

async function createDatabase(login: pg.ClientConfig): Promise<void> {
  const client = new pg.Client(login);
  await client.connect();
  try {
    await client.query(`create database ${DATABASE}`);
  } finally {
    await client.end();
  }
}
