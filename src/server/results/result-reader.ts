// Rows of stored results, for people: pages out of the Parquet files executors wrote.
//
// R1  DuckDB may read below the result root and nowhere else, whatever the registry says.
// R2  A page holds at most 3 MiB of cells; whoever wants more asks again from where it ends.
// R3  A caller's expression is checked as one of a plan is, and runs in a process of its own that can be killed
//     (filtered-read.ts).
// R4  Whatever such an expression does, it never makes a result count as damaged: others may still use it.
import { access } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { DuckDBInstance } from "@duckdb/node-api";
import type { Row } from "../../contract/postern/v1/port_registry.js";
import { AppError, invalid } from "../../core/app-error.js";
import type { Schema } from "../../core/plan.js";
import { quoteText } from "../../core/scan-sql.js";
import type { BindSchemas } from "../../core/schema-binding.js";
import { createGate } from "../../process/gate.js";
import { type FilteredRead, readFiltered } from "./filtered-read.js";
import { rowsOf, selectFrom } from "./result-cells.js";

export interface StoredResult {
  uri: string;
  schema: Schema;
}

export interface ResultPage {
  offset: bigint;
  limit: number;
  /** All when none is named. */
  columns: string[];
  /** One expression over the columns; empty: every row. */
  where: string;
}

export interface ResultReader {
  /** Rows `offset` to `offset + limit`, fewer when they are large, of those that meet `where`; given up with the signal. */
  readRows(
    result: StoredResult,
    page: ResultPage,
    signal: AbortSignal,
  ): Promise<{
    schema: Schema;
    rows: Row[];
    /** How many rows meet `where`; undefined without one. */
    totalRows: bigint | undefined;
  }>;
  close(): void;
}

/** A reader for results below `resultRoot` (`file://` only). */
export async function createResultReader({
  resultRoot,
  bindSchemas,
}: {
  resultRoot: string;
  bindSchemas: BindSchemas;
}): Promise<ResultReader> {
  const directory = fileURLToPath(resultRoot);
  const instance = await DuckDBInstance.create(":memory:", {
    autoinstall_known_extensions: "false",
    autoload_known_extensions: "false",
    threads: "2",
    memory_limit: "512MB",
  });
  const setup = await instance.connect();
  await setup.run(`set allowed_directories = [${quoteText(directory)}]`);
  await setup.run("set enable_external_access = false");
  await setup.run("set lock_configuration = true");
  setup.closeSync();
  // Reading holds one of the process's four worker threads; see datasets/dataset-sniffing.ts.
  const reading = createGate(1);
  const filtering = createGate(1);

  async function readPage(path: string, schema: Schema, { offset, limit }: ResultPage): Promise<Row[]> {
    const connection = await instance.connect();
    try {
      return await reading(() =>
        rowsOf(connection, `${selectFrom(path, schema)} limit ${limit} offset ${offset}`, schema),
      );
    } finally {
      connection.closeSync();
    }
  }

  return {
    async readRows(result, page, signal) {
      const path = fileURLToPath(result.uri);
      const schema = chosen(result.schema, page.columns);
      const where =
        page.where.trim() === "" ? undefined : await checkedWhere(bindSchemas, result.schema, page.where, signal);
      await requireObject(path);
      try {
        if (where === undefined) return { schema, rows: await readPage(path, schema, page), totalRows: undefined };
        const { offset, limit } = page;
        const read: FilteredRead = { directory, path, schema: result.schema, columns: schema, where, offset, limit };
        const found = await filtering(() => readFiltered(read, signal), signal).catch(async (cause: unknown) => {
          if (cause instanceof AppError) throw cause;
          signal.throwIfAborted();
          // R4: if the file can be read without the expression, it was the expression.
          await readPage(path, result.schema, { ...page, offset: 0n });
          throw invalid("where: the rows cannot be filtered so; make it simpler, or read them without it.", cause);
        });
        return { schema, ...found };
      } catch (error) {
        if (error instanceof AppError || signal.aborted) throw error;
        throw unreadable("The stored result cannot be read; run the workflow again.", error);
      }
    },
    close: () => instance.closeSync(),
  };
}

/** R3 */
async function checkedWhere(
  bindSchemas: BindSchemas,
  schema: Schema,
  sql: string,
  signal: AbortSignal,
): Promise<string> {
  if (sql.length > LONGEST_WHERE || sql.includes("\0"))
    throw invalid(`where must be one expression of at most ${LONGEST_WHERE.toLocaleString("en")} characters.`);
  const expressions = [{ path: "where", sql, expect: "boolean" as const }];
  const bound = await bindSchemas(
    { inputs: [schema], expressions, statements: [], sql: "select * from input0" },
    signal,
  );
  if (bound.ok) return sql;
  throw invalid(`where: ${bound.findings.map(({ message }) => message).join(" ")}`);
}
const LONGEST_WHERE = 10_000;

/** True when reading failed for what is, or is not, in the object, and would fail again. */
export const isDamaged = (error: unknown): boolean =>
  error instanceof AppError &&
  error.reason === "RESULT_UNREADABLE" &&
  !/^(out of memory|io|interrupt|permission)\b/i.test((error.cause as Error | undefined)?.message ?? "") &&
  ((error.cause as NodeJS.ErrnoException | undefined)?.code ?? "ENOENT") === "ENOENT";

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
