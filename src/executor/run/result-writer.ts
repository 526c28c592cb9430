// Writes the rows of a materialised port as one Parquet file that exists only once it is whole.
import { portLabel } from "../../core/fingerprint-form.js";
import type { PortKey } from "../../core/plan.js";
import { quoteText } from "../../core/scan-sql.js";
import type { EngineConnection, RunOptions } from "./duckdb.js";
import { queryFailure, RunStopped } from "./failure.js";
import type { ObjectStore, Published } from "./object-store.js";

export interface WrittenPort extends Published {
  rowCount: bigint;
}

/** Name of a port's object below the result prefix. */
export const portFileName = (key: PortKey): string => `${key.operatorId}.${key.layer}.${portLabel(key)}.parquet`;

/** Runs the query into the port's file. What fails or is stopped leaves no file behind. */
export async function writePort(
  deps: { connection: EngineConnection; store: ObjectStore },
  port: PortKey,
  query: { sql: string; operatorIds: string[] },
  options: RunOptions,
): Promise<WrittenPort> {
  const name = portFileName(port);
  const staged = deps.store.stage(name);
  const copy = `COPY (\n${query.sql}\n) TO ${quoteText(staged.path)} (FORMAT parquet, USE_TMP_FILE false)`;
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
