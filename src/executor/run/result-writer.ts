// Writes the rows of a materialised port as one Parquet file that exists only once it is whole.
import { stat } from "node:fs/promises";
import { portLabel } from "../../core/fingerprint-form.js";
import type { PortKey } from "../../core/plan.js";
import { quoteText } from "../../core/scan-sql.js";
import type { EngineConnection, RunOptions } from "./duckdb.js";
import { queryFailure, RunStopped } from "./failure.js";
import type { ObjectStore, Published } from "./object-store.js";
import type { QueryShare } from "./query-share.js";

export interface WrittenPort extends Published {
  rowCount: bigint;
}

/** Name of a port's object below the result prefix. */
export const portFileName = (key: PortKey): string => `${key.operatorId}.${key.layer}.${portLabel(key)}.parquet`;

export interface WriteOptions {
  signal: AbortSignal;
  /** Called a few times a second with the share of the work done, as far as DuckDB can tell, and the file's bytes so far. */
  onProgress?: (share: QueryShare | undefined, writtenBytes: bigint) => void;
}

/** Runs the query into the port's file. What fails or is stopped leaves no file behind. */
export async function writePort(
  deps: { connection: EngineConnection; store: ObjectStore },
  port: PortKey,
  query: { sql: string; operatorIds: string[] },
  { signal, onProgress }: WriteOptions,
): Promise<WrittenPort> {
  const name = portFileName(port);
  const staged = deps.store.stage(name);
  const copy = `COPY (\n${query.sql}\n) TO ${quoteText(staged.path)} (FORMAT parquet, USE_TMP_FILE false)`;
  const size = watchSize(staged.path);
  const options: RunOptions = { signal, onProgress: (share) => onProgress?.(share, size.bytes()) };
  try {
    const [rows] = await deps.connection.run(copy, options);
    const published = await staged.publish();
    return { ...published, rowCount: BigInt(String(rows ?? 0)) };
  } catch (error) {
    await staged.discard();
    if (error instanceof RunStopped) throw error;
    throw queryFailure(error, {
      operatorIds: query.operatorIds,
      target: staged.path,
      shownAs: deps.store.pathOf(name),
    });
  }
}

/** Asks for a file's size beside what writes it, without waiting for the answer. */
function watchSize(path: string): { bytes(): bigint } {
  let bytes = 0n;
  let isAsking = false;
  return {
    /** The last answer; 0 before there is one. */
    bytes() {
      if (!isAsking) {
        isAsking = true;
        stat(path)
          .then(({ size }) => {
            bytes = BigInt(size);
          })
          .catch(() => {}) // DuckDB makes it once it has planned the query; figures are worth no failure
          .finally(() => {
            isAsking = false;
          });
      }
      return bytes;
    },
  };
}
