// The one way a dataset's file is read, at registration as in a run: with the types that were stored, guessing nothing.
//
// SC1  The columns come in the order and with the DuckDB types (core/sql-text.ts) of the schema.
// SC2  CSV is RFC 4180: `"` quotes, doubled inside; an empty field is null; a line of another width is an error.
// SC3  Instants with an offset are turned into UTC, those without are UTC: the connection must have run
//      `set TimeZone = 'UTC'`.
// SC4  Names found in directories (`year=2020/`) are no columns.
import type { AttributeType, FileFormat, Schema } from "./plan.js";
import { duckdbType, quoteName } from "./sql-text.js";

/** A SELECT of every column of the file at `path`. Its format is a stored one: delimiter and header are known. */
export function scanSql({ path, format, schema }: { path: string; format: FileFormat; schema: Schema }): string {
  switch (format.kind) {
    case "csv":
      return `select ${columns(schema, fromText)} from read_csv(${quoteText(path)}, columns = ${typesOf(schema)},
        auto_detect = false, header = ${format.header ?? true}, delim = ${quoteText(format.delimiter || ",")},
        ${CSV_DIALECT}, ${NO_HIVE})`;
    case "json":
      return `select ${columns(schema, fromText)} from read_json(${quoteText(path)}, columns = ${typesOf(schema)},
        records = 'true', ${NO_HIVE})`;
    case "parquet":
      return `select ${columns(schema, fromParquet)} from read_parquet(${quoteText(path)}, ${NO_HIVE})`;
  }
}

/** The rules of SC2 as arguments of DuckDB's CSV functions. */
export const CSV_DIALECT = `quote = '"', escape = '"', comment = '', skip = 0, strict_mode = true`;
/** SC4 as an argument of DuckDB's reading functions. */
export const NO_HIVE = "hive_partitioning = false";

/** Text as a literal of SQL. */
export const quoteText = (text: string): string => `'${text.replaceAll("'", "''")}'`;

const columns = (schema: Schema, expression: (name: string, type: AttributeType) => string): string =>
  schema.map(({ name, type }) => `${expression(quoteName(name), type)} as ${quoteName(name)}`).join(", ");

// Instants come as text, because DuckDB's CSV reader drops an offset (TIMESTAMP) or makes what it cannot read null
// (TIMESTAMPTZ).
const typesOf = (schema: Schema): string =>
  `{${schema.map(({ name, type }) => `${quoteText(name)}: '${type === "timestamp" ? "VARCHAR" : duckdbType(type)}'`).join(", ")}}`;

const fromText = (name: string, type: AttributeType): string =>
  type === "timestamp" ? `timezone('UTC', cast(${name} as TIMESTAMPTZ))` : name;

const fromParquet = (name: string, type: AttributeType): string =>
  type === "any" ? `to_json(${name})` : `cast(${name} as ${duckdbType(type)})`;
