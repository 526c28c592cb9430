// Reaching an embedded server: its connection parameters, and asking until it answers.

import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { AppError } from "../core/app-error.js";
import { readPassword, superuser } from "./data-directory.js";
import { EmbeddedPostgresError } from "./embedded-postgres-error.js";
import type { Postmaster } from "./postmaster.js";
import { port } from "./socket-directory.js";

const pollMs = 10;

/** How a superuser connects. */
export interface EmbeddedPostgresConnection {
  /** The socket directory. */
  host: string;
  port: number;
  user: string;
  password: string;
  passwordFile: string;
  database: "postgres";
}

/**
 * Asks until the server that `find` sees answers; undefined when there is none, or none any more.
 * `deadline` is in milliseconds since the epoch.
 */
export async function waitUntilReady(
  { dataDir, deadline, signal }: { dataDir: string; deadline: number; signal?: AbortSignal },
  find: () => Promise<Postmaster | undefined>,
): Promise<(Postmaster & { durable: boolean }) | undefined> {
  let problem: unknown = new Error("it has not opened its socket");
  for (;;) {
    signal?.throwIfAborted();
    const server = await find();
    if (!server) return undefined;
    try {
      if (server.socketDir) return { ...server, durable: await isDurable(dataDir, server.socketDir) };
    } catch (error) {
      if (error instanceof AppError) throw error;
      problem = error;
    }
    if (Date.now() > deadline)
      throw new EmbeddedPostgresError(
        `PostgreSQL on ${dataDir} (pid ${server.pid}) did not answer in time: see its log beside the data directory.`,
        { cause: problem },
      );
    await delay(pollMs);
  }
}

async function isDurable(dataDir: string, socketDir: string): Promise<boolean> {
  const connection = await connectionTo(dataDir, socketDir);
  const client = new pg.Client({ ...connection, ssl: false, connectionTimeoutMillis: 2_000, query_timeout: 2_000 });
  client.on("error", () => {}); // a server that ends now is noticed by the next look at its process
  try {
    await client.connect();
    const { rows } = await client.query<{ fsync: string }>("show fsync");
    return rows[0]?.fsync === "on";
  } catch (error) {
    const sqlState = (error as { code?: string }).code ?? "";
    if (!sqlState.startsWith("28")) throw error;
    throw new EmbeddedPostgresError(
      `PostgreSQL on ${dataDir} refuses the password in ${connection.passwordFile}: restore the file, or choose another data directory.`,
      { cause: error },
    );
  } finally {
    await client.end().catch(() => {}); // the answer, or the problem, is already known
  }
}

/** How to reach the server that listens in `socketDir`, with the password of its data directory. */
export async function connectionTo(dataDir: string, socketDir: string): Promise<EmbeddedPostgresConnection> {
  return { host: socketDir, port, user: superuser, ...(await readPassword(dataDir)), database: "postgres" };
}
