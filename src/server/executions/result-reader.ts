// Rows of stored results, for people: pages out of the Parquet files executors wrote.
//
// R1  DuckDB may read below the result root and nowhere else, whatever the registry says.
// R2  A page holds at most PAGE_BYTES of cells; whoever wants more asks again from where it ends.
import { access } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import {
  DuckDBBlobValue,
  type DuckDBConnection,
  DuckDBInstance,
  DuckDBTimestampValue,
  type DuckDBValue,
} from "@duckdb/node-api";
import type { Cell, Row } from "../../contract/postern/v1/port_registry.js";
import { AppError, invalid } from "../../core/app-error.js";
import type { Attribute, Schema } from "../../core/plan.js";
import { createGate } from "../../process/gate.js";

const PAGE_BYTES = 3 * 1024 * 1024;

export interface StoredResult {
  uri: string;
  schema: Schema;
}

export interface ResultReader {
  /** Rows `offset` to `offset + limit`, fewer when they are large; the columns named, all when none is. */
  readRows(
    result: StoredResult,
    page: { offset: bigint; limit: number; columns: string[] },
  ): Promise<{ schema: Schema; rows: Row[] }>;
  close(): void;
}

/** A reader for results below `resultRoot` (`file://` only). */
export async function createResultReader(resultRoot: string): Promise<ResultReader> {
  const instance = await DuckDBInstance.create(":memory:", {
    autoinstall_known_extensions: "false",
    autoload_known_extensions: "false",
    threads: "2",
    memory_limit: "512MB",
  });
  const setup = await instance.connect();
  await setup.run(`set allowed_directories = [${quoted(fileURLToPath(resultRoot))}]`);
  await setup.run("set enable_external_access = false");
  await setup.run("set lock_configuration = true");
  setup.closeSync();
  // Reading holds one of the process's four worker threads; see datasets/dataset-sniffing.ts.
  const reading = createGate(1);

  return {
    async readRows(result, { offset, limit, columns }) {
      const path = fileURLToPath(result.uri);
      const schema = chosen(result.schema, columns);
      await requireObject(path);
      const connection = await instance.connect();
      try {
        const list = schema.map((a) => `"${a.name.replaceAll('"', '""')}"`).join(", ");
        const sql = `select ${list} from read_parquet(${quoted(path)}) limit ${limit} offset ${offset}`;
        return { schema, rows: await reading(() => rowsOf(connection, sql, schema)) };
      } catch (error) {
        throw unreadable("The stored result cannot be read; run the workflow again.", error);
      } finally {
        connection.closeSync();
      }
    },
    close: () => instance.closeSync(),
  };
}

/** True when reading failed for what is, or is not, in the object, and would fail again. */
export const isDamaged = (error: unknown): boolean =>
  error instanceof AppError &&
  error.reason === "RESULT_UNREADABLE" &&
  !/^(out of memory|io|interrupt|permission)\b/i.test((error.cause as Error | undefined)?.message ?? "") &&
  ((error.cause as NodeJS.ErrnoException | undefined)?.code ?? "ENOENT") === "ENOENT";

const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`;

const unreadable = (message: string, cause: unknown): AppError =>
  new AppError("not-found", "RESULT_UNREADABLE", message, { cause });

async function requireObject(path: string): Promise<void> {
  try {
    await access(path);
  } catch (cause) {
    throw unreadable("The port is registered, but its stored rows are gone; run the workflow again.", cause);
  }
}

function chosen(schema: Schema, columns: string[]): Schema {
  if (columns.length === 0) return schema;
  const byName = new Map(schema.map((a) => [a.name.toLowerCase(), a]));
  return columns.map((name) => {
    const attribute = byName.get(name.toLowerCase());
    if (attribute) return attribute;
    throw invalid(`The result has no column ${JSON.stringify(name)}; it has ${schema.map((a) => a.name).join(", ")}.`);
  });
}

async function rowsOf(connection: DuckDBConnection, sql: string, schema: Schema): Promise<Row[]> {
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
