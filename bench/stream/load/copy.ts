// What Postgres alone can do: binary COPY of event rows over one connection, and the commit of a single row.
import { finished } from "node:stream/promises";
import pg from "pg";
import { from as copyFrom } from "pg-copy-streams";
import { percentile } from "../../statistics.js";
import { type PlanOperator, sampleEvent } from "./event-frames.js";

export interface CopyLoad {
  connection: pg.ClientConfig;
  /** The executions whose rows take turns, `batch` rows at a time. */
  executionIds: string[];
  operators: PlanOperator[];
  batch: number;
}

export const COPY_TABLE = "copy_yardstick";
const ROWS_PER_TRANSACTION = 1_024;

export interface CopySession {
  /** Copies for `seconds`; returns rows per second. */
  measure(seconds: number): Promise<{ rows: number; seconds: number }>;
  /** Commits single rows, one after the other. */
  commits(count: number): Promise<{ p50Ms: number; p99Ms: number }>;
  close(): Promise<void>;
}

/** Connects; the table has the columns and the key of `execution_event`. */
export async function openCopySession({ connection, executionIds, operators, batch }: CopyLoad): Promise<CopySession> {
  const client = new pg.Client(connection);
  await client.connect();
  const samples = Array.from({ length: 48 }, (_, i) => sampleEvent(i, operators));
  const ids = executionIds.map((id) => Buffer.from(id.replaceAll("-", ""), "hex"));
  const numbers = ids.map(() => 0);
  let turn = 0;

  const rows = (count: number): Buffer => {
    const parts: Buffer[] = [HEADER];
    for (let left = count; left > 0; turn++) {
      const n = turn % ids.length;
      for (let i = Math.min(batch, left); i > 0; i--, left--) parts.push(row(ids[n]!, ++numbers[n]!, samples));
    }
    parts.push(TRAILER);
    return Buffer.concat(parts);
  };
  const copy = async (bytes: Buffer) => {
    const stream = client.query(copyFrom(`copy ${COPY_TABLE} from stdin (format binary)`));
    stream.end(bytes);
    await finished(stream);
  };

  return {
    async measure(seconds) {
      // Making the rows is not counted.
      const startedAt = performance.now();
      let [copied, busyMs] = [0, 0];
      while (performance.now() - startedAt < seconds * 1_000) {
        const bytes = rows(ROWS_PER_TRANSACTION);
        const from = performance.now();
        await copy(bytes);
        busyMs += performance.now() - from;
        copied += ROWS_PER_TRANSACTION;
      }
      return { rows: copied, seconds: busyMs / 1_000 };
    },
    async commits(count) {
      const took: number[] = [];
      for (let i = 0; i < count; i++) {
        const bytes = rows(1);
        const from = performance.now();
        await copy(bytes);
        took.push(performance.now() - from);
      }
      return { p50Ms: percentile(took, 0.5), p99Ms: percentile(took, 0.99) };
    },
    close: () => client.end(),
  };
}

const HEADER = Buffer.concat([Buffer.from("PGCOPY\n\xff\r\n\0", "latin1"), Buffer.alloc(8)]);
const TRAILER = Buffer.from([0xff, 0xff]);
/** Microseconds from 2000 to a moment in 2026. */
const OCCURRED_AT = 841_581_296_789_000n;

/** One row: execution_id, number, attempt, sequence, occurred_at, kind, body. */
function row(executionId: Buffer, number: number, samples: Buffer[]): Buffer {
  const body = samples[number % samples.length]!;
  const kind = number % 16 === 15 ? "operatorStatistics" : "consoleMessage";
  const out = Buffer.allocUnsafe(2 + 7 * 4 + 16 + 8 + 4 + 8 + 8 + kind.length + body.length);
  let at = out.writeInt16BE(7, 0);
  at = out.writeInt32BE(16, at);
  at += executionId.copy(out, at);
  at = out.writeInt32BE(8, at);
  at = out.writeBigInt64BE(BigInt(number), at);
  at = out.writeInt32BE(4, at);
  at = out.writeInt32BE(1, at);
  at = out.writeInt32BE(8, at);
  at = out.writeBigInt64BE(BigInt(number), at);
  at = out.writeInt32BE(8, at);
  at = out.writeBigInt64BE(OCCURRED_AT, at);
  at = out.writeInt32BE(kind.length, at);
  at += out.write(kind, at, "latin1");
  at = out.writeInt32BE(body.length, at);
  body.copy(out, at);
  return out;
}
