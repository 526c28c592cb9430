// Connections that commit one cache entry and its object after the other, without a pause or at a rate, until they are told
// to stop.
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import pg from "pg";
import { ENTRY_COLUMNS, FINGERPRINT_BYTES } from "./entry-columns.js";

export interface WriterThread {
  connection: pg.ClientConfig;
  project: string;
  writers: number;
  /** From one commit of a writer to its next, in milliseconds; 0 for none at all. */
  everyMs: number;
}

const { connection, project, writers, everyMs } = workerData as WriterThread;
const clients = await Promise.all(
  Array.from({ length: writers }, async () => {
    const client = new pg.Client(connection);
    await client.connect();
    return client;
  }),
);
const { rows } = await clients[0]!.query<{ id: string }>("select id from workflow where project_id = $1 limit 1", [
  project,
]);
let stopped = false;
let commits = 0;

async function write(client: pg.Client, writer: number): Promise<void> {
  const tag = `${writer}-${randomBytes(4).toString("hex")}`;
  const startedAt = performance.now() + (everyMs * writer) / writers; // not all at the same moment
  for (let n = 0; !stopped; n++) {
    if (everyMs > 0) await delay(Math.max(0, startedAt + n * everyMs - performance.now()));
    await client.query({
      name: "commit",
      text: `with object as (
               insert into blob (uri, project_id, execution_id, row_count, byte_count, compute_ms)
               values ($3, $1, gen_random_uuid(), 1000, 4096, 5))
             insert into cache_entry (${ENTRY_COLUMNS})
             values ($1, $2, $3, encode(sha256(convert_to($3, 'UTF8')), 'hex'), repeat('x', ${FINGERPRINT_BYTES}), $3,
                     1000, 4096, gen_random_uuid(), 'filter', 5)`,
      values: [project, rows[0]!.id, `file:///none/${tag}/${n}`],
    });
    commits++;
  }
}

parentPort!.on("message", () => (stopped = true));
const writing = clients.map(write);
parentPort!.postMessage("ready");
await Promise.all(writing);
await Promise.all(clients.map((client) => client.end()));
parentPort!.postMessage(commits);
