// The one way a dataset's file is read, at registration as in a run: with the types that were stored, guessing nothing.
//
// SC1  The columns come in the order and with the DuckDB types (core/sql-text.ts) of the schema.
// SC2  CSV is RFC 4180: `"` quotes, doubled inside; an empty field is null; a line of another width is an error.
// SC3  Instants with an offset are turned into UTC, those without are UTC: the connection must have run
//      `set TimeZone = 'UTC'`.
// SC4  Names found in directories (`year=2020/`) are no columns.
// SC5  Which rows are malformed follows from the file alone, not from the columns a query needs: a reader that skips them
//      always looks at every column. It also reads CSV with one thread, because DuckDB's parallel reader loses well-formed
//      rows behind a broken quote.
import type { AttributeType, FileFormat, MalformedRows, Schema } from "./plan.js";
import { duckdbType, quoteName } from "./sql-text.js";

/** A file and how it is read. */
export interface ScannedFile {
  path: string;
  /** As stored: delimiter and header are known. */
  format: FileFormat;
  /** Every column of the file. */
  schema: Schema;
  /** Default "fail": the first malformed row fails the statement. */
  malformedRows?: MalformedRows;
  /**
   * Of CSV whose malformed rows are skipped: a table of the connection's own that keeps what was left out, so that
   * `malformedRowsSql` can count it. Letters, digits and `_`; left out: nothing is kept.
   */
  rejects?: string;
}

/** A SELECT of every column and every row of the file, in the file's order. */
export function scanSql({ path, format, schema, malformedRows, rejects }: ScannedFile): string {
  const skip = malformedRows === "skip";
  switch (format.kind) {
    case "csv": {
      const from = `select ${columns(schema, fromText)} from read_csv(${quoteText(path)}, columns = ${typesOf(schema)},
        auto_detect = false, header = ${format.header ?? true}, delim = ${quoteText(format.delimiter || ",")},
        ${CSV_DIALECT}, ${encodingOf(format)}, ${NO_HIVE}`;
      if (!skip) return `${from})`;
      const keep =
        rejects === undefined
          ? "ignore_errors = true"
          : `store_rejects = true, rejects_table = ${quoteText(rejects)}, rejects_scan = ${quoteText(`${rejects}_scans`)}`;
      return `${from}, parallel = false, ${keep}) where hash(${names(schema)}) is not null`;
    }
    case "json":
      if (!skip)
        return `select ${columns(schema, fromText)} from read_json(${quoteText(path)}, columns = ${typesOf(schema)},
          records = 'true', ${NO_HIVE})`;
      return `select ${columns(schema, fromText)} from (
        select unnest(json_transform(json, ${quoteText(JSON.stringify(Object.fromEntries(textTypes(schema))))}))
        from ${jsonRows(path)} where json_type(json) = 'OBJECT')`;
    case "parquet":
      return `select ${columns(schema, fromParquet)} from read_parquet(${quoteText(path)}, ${NO_HIVE})`;
  }
}

/**
 * A SELECT of how many rows a scan that skips them has left out, one BIGINT. For CSV it counts in the table `rejects`, so
 * it comes after the scan and on the same connection, and says what was left out so far however often the file was read;
 * for JSON it reads the file. Undefined when there is nothing to count: the scan fails at such rows, or they cannot be.
 */
export function malformedRowsSql({ path, format, malformedRows, rejects }: ScannedFile): string | undefined {
  if (malformedRows !== "skip") return undefined;
  switch (format.kind) {
    case "csv":
      return rejects === undefined ? undefined : `select count(distinct line) from ${quoteName(rejects)}`;
    case "json":
      return `select count(*) from ${jsonRows(path)} where json_type(json) is distinct from 'OBJECT'`;
    case "parquet":
      return undefined;
  }
}

/** The rules of SC2 as arguments of DuckDB's CSV functions. */
export const CSV_DIALECT = `quote = '"', escape = '"', comment = '', skip = 0, strict_mode = true`;
/** SC4 as an argument of DuckDB's reading functions. */
export const NO_HIVE = "hive_partitioning = false";

/** The file's encoding as an argument of DuckDB's CSV functions. */
export const encodingOf = ({ encoding }: FileFormat): string => `encoding = ${quoteText(encoding || "utf-8")}`;

/** Every value of a JSON file, as the column `json`; null where a line is no JSON. */
export const jsonRows = (path: string): string =>
  `read_json_objects(${quoteText(path)}, ignore_errors = true, ${NO_HIVE})`;

/** Text as a literal of SQL. */
export const quoteText = (text: string): string => `'${text.replaceAll("'", "''")}'`;

const columns = (schema: Schema, expression: (name: string, type: AttributeType) => string): string =>
  schema.map(({ name, type }) => `${expression(quoteName(name), type)} as ${quoteName(name)}`).join(", ");

const names = (schema: Schema): string => schema.map(({ name }) => quoteName(name)).join(", ");

// Instants come as text, because DuckDB's CSV reader drops an offset (TIMESTAMP) or makes what it cannot read null
// (TIMESTAMPTZ).
const textTypes = (schema: Schema): [name: string, type: string][] =>
  schema.map(({ name, type }) => [name, type === "timestamp" ? "VARCHAR" : duckdbType(type)]);

const typesOf = (schema: Schema): string =>
  `{${textTypes(schema)
    .map(([name, type]) => `${quoteText(name)}: '${type}'`)
    .join(", ")}}`;

const fromText = (name: string, type: AttributeType): string =>
  type === "timestamp" ? `timezone('UTC', cast(${name} as TIMESTAMPTZ))` : name;

const fromParquet = (name: string, type: AttributeType): string =>
  type === "any" ? `to_json(${name})` : `cast(${name} as ${duckdbType(type)})`;
