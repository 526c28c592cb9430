// Statements the executor makes around the plan's own SQL: casts to a port's schema, readers, tables. Names and types are
// those of core/sql-text.ts, but for `any`, which is kept as text everywhere in a run.
import type { AttributeType, DatasetScan, Schema } from "../../core/plan.js";
import { quoteText, scanSql } from "../../core/scan-sql.js";
import { duckdbType, quoteName } from "../../core/sql-text.js";

const storedType = (type: AttributeType): string => (type === "any" ? "VARCHAR" : duckdbType(type));

/** `relation`, its columns cast in order to the schema and named by it. */
export function castTo(schema: Schema, relation: string): string {
  const columns = schema.map(({ name, type }, i) => `CAST(c${i} AS ${storedType(type)}) AS ${quoteName(name)}`);
  const names = schema.map((_, i) => `c${i}`);
  return `SELECT ${columns.join(", ")} FROM (\n${relation}\n) AS result(${names.join(", ")})`;
}

export const readParquet = (path: string): string => `SELECT * FROM read_parquet(${quoteText(path)})`;

/**
 * Reads a dataset's file as it was understood at registration, and gives the columns of `schema`; what does not fit and is
 * left out goes to the table `rejects`.
 */
export function readDataset(
  { format, fileSchema, offset, limit, malformedRows }: DatasetScan,
  { path, rejects }: { path: string; rejects: string },
  schema: Schema,
): string {
  const columns = schema.map(({ name }, i) => {
    const file = fileSchema.find((c) => c.name.toLowerCase() === name.toLowerCase()) ?? fileSchema[i];
    return quoteName(file?.name ?? name);
  });
  const rows = `${limit === undefined ? "" : ` LIMIT ${limit}`}${offset > 0n ? ` OFFSET ${offset}` : ""}`;
  const file = scanSql({ path, format, schema: fileSchema, malformedRows, rejects });
  return castTo(schema, `SELECT ${columns.join(", ")} FROM (${file}) AS file${rows}`);
}

/** A table with the columns of `schema`. */
export const createTable = (table: string, schema: Schema): string =>
  `CREATE TABLE ${quoteName(table)} (${schema.map(({ name, type }) => `${quoteName(name)} ${storedType(type)}`).join(", ")})`;
