// Single values from user code: what no buffer of its column's type can hold comes as JSON cells, in which what JSON
// lacks is text or a one-key object. What comes is a stranger's word: every value is checked against its column's type
// here, for both languages alike, with a sentence for people.
import { blobValue, type DuckDBValue, timestampValue } from "@duckdb/node-api";
import type { AttributeType } from "../../core/plan.js";
import { parseMicros } from "./iso-time.js";

/** JSON as it crosses the pipe. */
export type Cell = null | boolean | number | string | { [kind: string]: unknown };

/** A value cannot be what its column declares. `message` continues a sentence that names column and row. */
export class ConversionError extends Error {}

const INT32 = 2 ** 31;
const INT64 = 2n ** 63n;

/** One value from the child as DuckDB stores it; throws ConversionError. */
export function decodeCell(type: AttributeType, cell: Cell): DuckDBValue {
  if (cell === null) return null;
  const value = unboxed(cell);
  switch (type) {
    case "string":
      if (typeof value === "string") return value;
      break;
    case "integer":
      if (typeof value === "number" && Number.isInteger(value) && value >= -INT32 && value < INT32) return value;
      if (typeof value === "number" && Number.isInteger(value))
        throw new ConversionError(`${value} does not fit into 32 bits`);
      break;
    case "long":
      return decodeLong(value);
    case "double":
      if (typeof value === "number") return value;
      if (typeof value === "bigint") return Number(value);
      break;
    case "boolean":
      if (typeof value === "boolean") return value;
      break;
    case "timestamp":
      return decodeTimestamp(value);
    case "binary":
      if (value instanceof Uint8Array) return blobValue(value);
      break;
    case "any":
      if (value instanceof JsonText) return value.text;
      break;
  }
  throw new ConversionError(`expected ${EXPECTED[type]}, got ${described(value)}`);
}

function decodeLong(value: Unboxed): bigint {
  if (typeof value === "bigint") {
    if (value >= -INT64 && value < INT64) return value;
    throw new ConversionError(`${value} does not fit into 64 bits`);
  }
  if (typeof value === "number" && Number.isSafeInteger(value)) return BigInt(value);
  if (typeof value === "number" && Number.isInteger(value))
    throw new ConversionError(`${value} is beyond 2^53, where numbers lose digits; return a BigInt`);
  throw new ConversionError(`expected ${EXPECTED.long}, got ${described(value)}`);
}

function decodeTimestamp(value: Unboxed): DuckDBValue {
  if (typeof value !== "string") throw new ConversionError(`expected ${EXPECTED.timestamp}, got ${described(value)}`);
  const micros = parseMicros(value);
  if (micros === undefined) throw new ConversionError(`expected ${EXPECTED.timestamp}, got ${described(value)}`);
  return timestampValue(micros);
}

const EXPECTED: Record<AttributeType, string> = {
  string: "text (string)",
  integer: "a whole number (integer)",
  long: "a whole number (long)",
  double: "a number (double)",
  boolean: "true or false (boolean)",
  timestamp: 'a time such as "2026-01-31T12:00:00Z" (timestamp)',
  binary: "bytes (binary)",
  any: "a JSON value (any)",
};

class JsonText {
  constructor(readonly text: string) {}
}
class Unknown {
  constructor(readonly what: string) {}
}
type Unboxed = null | boolean | number | string | bigint | Uint8Array | JsonText | Unknown;

/** Opens the one-key objects the children make: $long, $number, $bytes, $json, $other. */
function unboxed(cell: Exclude<Cell, null>): Unboxed {
  if (typeof cell !== "object") return cell;
  const [[kind, content] = ["", ""]] = Object.entries(cell);
  const text = typeof content === "string" ? content : "";
  if (kind === "$long" && /^-?\d{1,400}$/.test(text)) return BigInt(text);
  if (kind === "$number") return Number(text);
  if (kind === "$bytes" && text.length % 2 === 0 && /^[0-9a-f]*$/.test(text)) return Buffer.from(text, "hex");
  if (kind === "$json") return new JsonText(text);
  return new Unknown(kind === "$other" ? text.slice(0, 100) : "something unreadable");
}

function described(value: Unboxed): string {
  if (value instanceof Unknown) return value.what;
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (value instanceof JsonText) return "JSON";
  if (typeof value === "string") return `the text ${JSON.stringify(value.slice(0, 80))}`;
  if (typeof value === "bigint" || typeof value === "number") return `the number ${value}`;
  return String(value);
}
