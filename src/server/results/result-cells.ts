// Rows of a Parquet file as cells of the contract.
import { DuckDBBlobValue, type DuckDBConnection, DuckDBTimestampValue, type DuckDBValue } from "@duckdb/node-api";
import type { Cell, Row } from "../../contract/postern/v1/port_registry.js";
import type { Attribute, Schema } from "../../core/plan.js";
import { quoteText } from "../../core/scan-sql.js";
import { quoteName } from "../../core/sql-text.js";

const PAGE_BYTES = 3 * 1024 * 1024;

/** A SELECT of these columns of the file. */
export const selectFrom = (path: string, schema: Schema): string =>
  `select ${schema.map(({ name }) => quoteName(name)).join(", ")} from read_parquet(${quoteText(path)})`;

/** The rows of a statement whose columns are those of the schema: as many as fit into PAGE_BYTES, one at least. */
export async function rowsOf(connection: DuckDBConnection, sql: string, schema: Schema): Promise<Row[]> {
  const rows: Row[] = [];
  let bytes = 0;
  const result = await connection.stream(sql);
  for (let chunk = await result.fetchChunk(); chunk && chunk.rowCount > 0; chunk = await result.fetchChunk()) {
    for (const values of chunk.getRows()) {
      const cells = values.map((value, i) => cellOf(value, schema[i]!));
      bytes += cells.reduce((sum, cell) => sum + cellBytes(cell), 0);
      if (bytes > PAGE_BYTES && rows.length > 0) return rows;
      rows.push({ cells });
    }
  }
  return rows;
}

function cellOf(value: DuckDBValue, { name, type }: Attribute): Cell {
  if (value === null) return { value: undefined };
  if (typeof value === "string") return { value: { $case: "stringValue", value } };
  if (typeof value === "bigint") return { value: { $case: "intValue", value } };
  if (typeof value === "boolean") return { value: { $case: "boolValue", value } };
  if (typeof value === "number") {
    return type === "double"
      ? { value: { $case: "doubleValue", value } }
      : { value: { $case: "intValue", value: BigInt(value) } };
  }
  if (value instanceof DuckDBTimestampValue) return { value: { $case: "timestampMicros", value: value.micros } };
  if (value instanceof DuckDBBlobValue) return { value: { $case: "binaryValue", value: Buffer.from(value.bytes) } };
  throw new Error(`Column ${name} of a stored result holds a value of an unexpected kind.`);
}

function cellBytes({ value }: Cell): number {
  if (value?.$case === "stringValue") return value.value.length * 2 + 8;
  if (value?.$case === "binaryValue") return value.value.length + 8;
  return 12;
}
