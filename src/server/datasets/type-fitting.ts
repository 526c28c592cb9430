// The types of a file's columns, tried out: the file is scanned with exactly the statement a run uses, and a column whose
// values do not fit gets a wider type.
import type { DuckDBConnection } from "@duckdb/node-api";
import type { Attribute, AttributeType, FileFormat, Schema } from "../../core/plan.js";
import { jsonRows, malformedRowsSql, quoteText, type ScannedFile, scanSql } from "../../core/scan-sql.js";
import { duckdbType, quoteName } from "../../core/sql-text.js";
import { unreadable } from "./unreadable-file.js";

/** What a file holds and how it is read; `format` has nothing left open. */
export interface FileContent {
  format: FileFormat;
  schema: Schema;
  /** Rows that fit the schema. */
  rowCount: bigint;
  /** Rows a scan must leave out, or fails at. */
  malformedRowCount: bigint;
}

/** What is known before the file was read as a whole. */
export type Sniffed = Pick<FileContent, "format" | "schema">;

/** What a file holds as one way of reading it sees it. */
type Reading = Pick<ScannedFile, "path" | "format" | "schema" | "malformedRows">;

/** Scans the file with the types found; columns that cannot be read so get a wider type. */
export async function fitTypes(connection: DuckDBConnection, reading: Reading): Promise<FileContent> {
  const { format, schema } = reading;
  if (schema.length === 0) throw unreadable("it has no columns");
  const counted = (columns: Schema) => scan(connection, { ...reading, schema: columns }, columns);
  try {
    return { format, schema, ...(await counted(schema)) };
  } catch {
    // A broken file fails whatever the types, and says where.
    await counted(schema.map(({ name }) => ({ name, type: "string" })));
  }
  const fitted: Schema = [];
  for (const column of schema) fitted.push(await fitColumn(connection, reading, column));
  return { format, schema: fitted, ...(await counted(fitted)) };
}

const WIDER: Partial<Record<AttributeType, AttributeType>> = { integer: "long", long: "double" };

async function fitColumn(connection: DuckDBConnection, reading: Reading, column: Attribute): Promise<Attribute> {
  if (column.type === "string") return column;
  const schema = reading.schema.map((c) => (c.name === column.name ? column : { ...c, type: "string" as const }));
  try {
    await scan(connection, { ...reading, schema }, [column]);
    return column;
  } catch {
    // This type does not fit; the next one is tried, and text always fits.
    const wider = { name: column.name, type: WIDER[column.type] ?? "string" };
    return fitColumn(connection, reading, wider);
  }
}

const REJECTS = "rejects";

/** Reads every value of the columns asked for and counts rows; rejects when a value does not fit its column's type. */
export async function scan(
  connection: DuckDBConnection,
  reading: Reading,
  asked: Schema,
): Promise<Pick<FileContent, "rowCount" | "malformedRowCount">> {
  // Hashing keeps DuckDB from leaving out conversions whose outcome nobody needs.
  const values = asked.map(({ name }) => quoteName(name)).join(", ");
  const file = { ...reading, rejects: REJECTS };
  const skips = reading.malformedRows === "skip";
  if (skips && reading.format.kind === "csv") await forgetRejects(connection);
  const [result] = await rows<{ rowCount: bigint }>(
    connection,
    `select count(*) as "rowCount", bit_xor(hash(${values})) as seen from (${scanSql(file)})`,
  );
  if (skips) await requireConverted(connection, reading, asked);
  const counting = malformedRowsSql(file);
  const [malformed] = counting ? await rows<Record<string, bigint>>(connection, counting) : [];
  return { rowCount: result!.rowCount, malformedRowCount: Object.values(malformed ?? {})[0] ?? 0n };
}

async function forgetRejects(connection: DuckDBConnection): Promise<void> {
  for (const table of [REJECTS, `${REJECTS}_scans`]) await connection.run(`drop table if exists ${quoteName(table)}`);
}

/** Readers that skip malformed rows also skip values that do not fit, or make them null: the type was wrong then (DS3). */
async function requireConverted(connection: DuckDBConnection, reading: Reading, asked: Schema): Promise<void> {
  const checks = asked.filter(({ type }) => type !== "string" && type !== "timestamp" && type !== "any");
  if (checks.length === 0) return;
  const [lost] =
    reading.format.kind === "csv"
      ? await rows<{ count: bigint }>(
          connection,
          `select count(*) as count from ${quoteName(REJECTS)} where error_type = 'CAST'`,
        )
      : await rows<{ count: bigint }>(connection, unconverted(reading, checks));
  if (lost!.count > 0n) throw new Error("A value does not fit its column's type.");
}

/** How many values of JSON objects become null because they do not fit. */
function unconverted({ path }: Reading, columns: Schema): string {
  const wanted = JSON.stringify(Object.fromEntries(columns.map(({ name, type }) => [name, duckdbType(type)])));
  const text = JSON.stringify(Object.fromEntries(columns.map(({ name }) => [name, "VARCHAR"])));
  const differs = columns.map(({ name }) => `(v.${quoteName(name)} is null and t.${quoteName(name)} is not null)`);
  return `select count(*) as count from (
    select json_transform(json, ${quoteText(wanted)}) as v, json_transform(json, ${quoteText(text)}) as t
    from ${jsonRows(path)} where json_type(json) = 'OBJECT') where ${differs.join(" or ")}`;
}

/** The rows of one statement. */
export async function rows<Row>(connection: DuckDBConnection, sql: string): Promise<Row[]> {
  const reader = await connection.runAndReadAll(sql);
  return reader.getRowObjectsJS() as Row[];
}
