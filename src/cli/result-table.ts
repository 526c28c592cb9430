// Rows of a materialised port as tables and as JSON.

import { AttributeType } from "../contract/postern/v1/plan.js";
import type { Cell, ReadPortResponse } from "../contract/postern/v1/port_registry.js";
import { attributeTypeFromWire } from "../rpc/plan-codec.js";
import type { TableContent } from "./table.js";
import { counted } from "./text.js";

const NUMBERS: ReadonlySet<AttributeType> = new Set([
  AttributeType.ATTRIBUTE_TYPE_INTEGER,
  AttributeType.ATTRIBUTE_TYPE_LONG,
  AttributeType.ATTRIBUTE_TYPE_DOUBLE,
]);
/** No cell is wider than this, even in a file. */
const WIDEST_CELL = 200;
/** The same for values in records: --json has them whole. */
const LONGEST_VALUE = 10_000;

export function resultTable({ schema, rows }: ReadPortResponse): TableContent {
  const attributes = schema?.attributes ?? [];
  return {
    head: attributes.map(({ name }) => name),
    right: attributes.map(({ type }) => NUMBERS.has(type)),
    rows: rows.map(({ cells }) => attributes.map((_, i) => cellText(cells[i]))),
  };
}

/** The same with values at a length that can be read below each other. */
export function resultRecords({ schema, rows }: ReadPortResponse): { head: string[]; rows: string[][] } {
  const attributes = schema?.attributes ?? [];
  return {
    head: attributes.map(({ name }) => name),
    rows: rows.map(({ cells }) => attributes.map((_, i) => cellText(cells[i], LONGEST_VALUE))),
  };
}

/** How much of the port, or of the rows that were asked for, is shown. */
export function rowsShown(reply: ReadPortResponse, { offset, where = "" }: { offset: bigint; where?: string }): string {
  const shown = BigInt(reply.rows.length);
  const all = where === "" ? "" : " meeting the filter";
  if (shown === reply.totalRows) return `${counted(shown, "row")}${all}`;
  if (shown === 0n) return `no rows from ${offset} on, of ${reply.totalRows}${all}`;
  return `rows ${offset + 1n} to ${offset + shown} of ${reply.totalRows}${all}`;
}

function cellText(cell: Cell | undefined, longest = WIDEST_CELL): string {
  const text = valueText(cell);
  return text.length > longest ? `${text.slice(0, longest - 1)}…` : text;
}

function valueText(cell: Cell | undefined): string {
  const value = cell?.value;
  switch (value?.$case) {
    case undefined:
      return "∅";
    case "doubleValue":
      return numberText(value.value);
    case "timestampMicros":
      return timestampText(value.value);
    case "binaryValue":
      return `0x${Buffer.from(value.value.subarray(0, WIDEST_CELL)).toString("hex")}`;
    default:
      return String(value!.value);
  }
}

/** Enough digits to tell values apart, few enough to read; --json has them all. */
function numberText(value: number): string {
  if (Number.isInteger(value) || !Number.isFinite(value)) return String(value);
  const digits = Math.max(6, Math.ceil(Math.log10(Math.abs(value))) + 2);
  return String(Number(value.toPrecision(Math.min(17, digits))));
}

function timestampText(micros: bigint): string {
  const floor = micros >= 0n || micros % 1000n === 0n ? micros / 1000n : micros / 1000n - 1n;
  const date = new Date(Number(floor));
  if (Number.isNaN(date.getTime())) return `${micros} µs`; // beyond the calendar of JavaScript
  const rest = micros - floor * 1000n;
  const text = date.toISOString().replace("T", " ").replace("Z", "");
  if (rest !== 0n) return `${text}${rest.toString().padStart(3, "0")}`;
  return text.endsWith(" 00:00:00.000") ? text.slice(0, -13) : text.replace(/\.000$/, "");
}

/** One object per row, keyed by column; 64-bit integers are strings as in proto3 JSON, timestamps RFC 3339. */
export function resultObjects({ schema, rows }: ReadPortResponse): Record<string, unknown>[] {
  const attributes = schema?.attributes ?? [];
  return rows.map(({ cells }) =>
    Object.fromEntries(attributes.map(({ name, type }, i) => [name, cellJson(cells[i], type)])),
  );
}

function cellJson(cell: Cell | undefined, type: AttributeType): unknown {
  const value = cell?.value;
  switch (value?.$case) {
    case undefined:
      return null;
    case "intValue":
      return type === AttributeType.ATTRIBUTE_TYPE_INTEGER ? Number(value.value) : value.value.toString();
    case "doubleValue":
      return Number.isFinite(value.value) ? value.value : String(value.value);
    case "timestampMicros":
      return timestampJson(value.value);
    case "binaryValue":
      return Buffer.from(value.value).toString("base64");
    default:
      return value!.value;
  }
}

function timestampJson(micros: bigint): string {
  const text = timestampText(micros);
  if (text.endsWith("µs")) return text;
  return `${text.includes(" ") ? text.replace(" ", "T") : `${text}T00:00:00`}Z`;
}

/** Columns as "name type, name type". */
export const columnsText = (schema: ReadPortResponse["schema"]): string =>
  (schema?.attributes ?? []).map(({ name, type }) => `${name} ${attributeTypeFromWire(type)}`).join(", ");
