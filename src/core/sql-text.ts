// Pieces of DuckDB SQL: how names are quoted, and which DuckDB type stands for which column type.
import type { AttributeType } from "./plan.js";

export const quoteName = (name: string): string => `"${name.replaceAll('"', '""')}"`;

const DUCKDB_TYPES: Record<AttributeType, string> = {
  string: "VARCHAR",
  integer: "INTEGER",
  long: "BIGINT",
  double: "DOUBLE",
  boolean: "BOOLEAN",
  timestamp: "TIMESTAMP",
  binary: "BLOB",
  any: "JSON",
};

/** The DuckDB type of a column. `any` is JSON, which is VARCHAR underneath; in results it is kept as VARCHAR. */
export const duckdbType = (type: AttributeType): string => DUCKDB_TYPES[type];

const ATTRIBUTE_TYPES: Record<string, AttributeType> = {
  BOOLEAN: "boolean",
  TINYINT: "integer",
  SMALLINT: "integer",
  INTEGER: "integer",
  UTINYINT: "integer",
  USMALLINT: "integer",
  UINTEGER: "long",
  BIGINT: "long",
  UBIGINT: "long",
  HUGEINT: "long",
  UHUGEINT: "long",
  BIGNUM: "long",
  FLOAT: "double",
  DOUBLE: "double",
  DATE: "timestamp",
  TIMESTAMP: "timestamp",
  TIMESTAMP_S: "timestamp",
  TIMESTAMP_MS: "timestamp",
  TIMESTAMP_NS: "timestamp",
  "TIMESTAMP WITH TIME ZONE": "timestamp",
  BLOB: "binary",
  VARCHAR: "string",
  UUID: "string",
  TIME: "string",
  TIME_NS: "string",
  "TIME WITH TIME ZONE": "string",
  INTERVAL: "string",
  BIT: "string",
  JSON: "any",
  '"NULL"': "string",
};

/** The column type for a type as DuckDB's DESCRIBE prints it: what does not fit a scalar type is `any`. */
export function attributeTypeOf(printed: string): AttributeType {
  if (printed.endsWith("]")) return "any";
  if (printed.startsWith("DECIMAL(")) return "double";
  if (printed.startsWith("ENUM(")) return "string";
  return ATTRIBUTE_TYPES[printed] ?? "any";
}

/** True when a value must be turned into JSON text before it can be stored in an `any` column. */
export const needsJsonText = (printed: string): boolean => attributeTypeOf(printed) === "any" && printed !== "JSON";
