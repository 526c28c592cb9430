// The tables that figures read, as Parquet.
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { DatasetScan } from "../../src/core/plan.js";
import { columns, dataset } from "../../test/support/plans.js";
import type { ExecutorSystem } from "./system.js";

export interface Table {
  path: string;
  dataset: DatasetScan;
}

/** Writes the rows of a query as a dataset of that name. */
export async function table(system: ExecutorSystem, name: string, schema: string, sql: string): Promise<Table> {
  const path = join(system.directory, `${name}.parquet`);
  const [[rows]] = (await system.bare(async (connection) =>
    (await connection.run(`COPY (${sql}) TO '${path}' (FORMAT parquet)`)).getRowsJson(),
  )) as [[string]];
  const { size } = await stat(path);
  const file = { uri: pathToFileURL(path).href, rowCount: BigInt(rows), byteCount: BigInt(size) };
  return { path, dataset: { ...dataset(name, columns(schema)), ...file } };
}

export const CUSTOMERS = 100_000;

export const orders = (system: ExecutorSystem, rows: number): Promise<Table> =>
  table(
    system,
    "orders",
    "id: long, customer: integer, amount: double, quantity: integer, at: timestamp",
    `SELECT range AS id, (hash(range) % ${CUSTOMERS})::integer AS customer, (hash(range + 1) % 100000) / 100.0 AS amount,
       (hash(range + 2) % 9 + 1)::integer AS quantity,
       TIMESTAMP '2026-01-01' + to_seconds(range % 31536000) AS at FROM range(${rows})`,
  );

export const customers = (system: ExecutorSystem): Promise<Table> =>
  table(
    system,
    "customers",
    "id: integer, name: string, region: integer",
    `SELECT range::integer AS id, 'customer ' || range AS name, (hash(range) % 500)::integer AS region FROM range(${CUSTOMERS})`,
  );
