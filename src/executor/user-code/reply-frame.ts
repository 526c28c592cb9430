// What a child may reply. Its word is not trusted: only frames of this form get through, with every length within bounds
// and every text valid UTF-8; values are checked against their column's type where they are stored (output-chunks.ts).
import { isUtf8 } from "node:buffer";
import type { AttributeType, Schema } from "../../core/plan.js";
import type { Batch } from "./batch-encoder.js";
import { ENCODING, type Encoding, HEAD_BYTES, ORIGINS, padded, REPLY } from "./column-frames.js";
import type { Cell } from "./values.js";

/** Rows from the function, for one output port. */
export interface OutputRows {
  port: number;
  rows: number;
  /** Size of the reply. */
  bytes: number;
  /** Of each row, the row of the batch it comes from; undefined when it comes from none. */
  origins: { first: number } | { list: Uint32Array } | undefined;
  columns: OutputColumn[];
}

export type OutputColumn =
  | { encoding: typeof ENCODING.cells; cells: Cell[] }
  | { encoding: typeof ENCODING.kept; input: number }
  | { encoding: Exclude<Encoding, 9 | 10 | 4>; nulls: Uint8Array | undefined; data: Uint8Array };

/** What the child says went wrong. */
export interface ChildError {
  kind: "exception" | "timeout" | "memory" | "output" | "packages";
  message: string;
  trace: string;
  /** Row of the batch, from 0; absent when no single row is to blame. */
  row?: number;
  /** Numbers of the rows a call over several was given, from 1. */
  rows?: { from: number; to: number };
}

export type Reply =
  | { kind: "ready" }
  | { kind: "rows"; rows: OutputRows }
  | { kind: "done" }
  | { kind: "error"; error: ChildError };

/** What a reply must fit. */
export interface Expected {
  outputs: readonly Schema[];
  /** The rows the child was given; undefined when it was given none. */
  batch: Batch | undefined;
}

/** Rows of one reply at most: a child sends more in several. */
export const MOST_REPLY_ROWS = 65_536;

/** A reply; undefined when it is none, or does not fit. The body must begin where typed arrays may. */
export function readReply(body: Uint8Array<ArrayBuffer>, expected: Expected): Reply | undefined {
  if (body.length < HEAD_BYTES) return undefined;
  switch (body[0]) {
    case REPLY.ready:
      return { kind: "ready" };
    case REPLY.done:
      return { kind: "done" };
    case REPLY.error:
      return errorIn(body);
    case REPLY.rows: {
      const rows = rowsIn(body, expected);
      return rows && { kind: "rows", rows };
    }
    default:
      return undefined;
  }
}

const KINDS = ["exception", "timeout", "memory", "output", "packages"] as const;

/** Longer errors are told without what they say: people are shown a few thousand characters. */
const MOST_ERROR_BYTES = 1 << 20;

function errorIn(body: Uint8Array): Reply {
  const content = body.length > MOST_ERROR_BYTES ? {} : parsed(body.subarray(HEAD_BYTES));
  const { kind, message, trace, row, from, to } = content as Record<string, unknown>;
  return {
    kind: "error",
    error: {
      kind: KINDS.find((known) => known === kind) ?? "exception",
      message: typeof message === "string" ? message : "an error without a message",
      trace: typeof trace === "string" ? trace : "",
      row: isCount(row) ? row : undefined,
      rows: isCount(from) && isCount(to) ? { from, to } : undefined,
    },
  };
}

const isCount = (value: unknown): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

/** The object a text holds; an empty one when it holds none. */
function parsed(bytes: Uint8Array): object {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8"));
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {}; // told as an error without a message
  }
}

function rowsIn(body: Uint8Array<ArrayBuffer>, { outputs, batch }: Expected): OutputRows | undefined {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const port = view.getUint8(1);
  const rows = view.getUint32(4, true);
  const schema = outputs[port];
  if (schema === undefined || view.getUint16(2, true) !== schema.length) return undefined;
  // Nobody has a reason to send none, and they would count against no limit.
  if (rows === 0 || rows > MOST_REPLY_ROWS) return undefined;
  const inputRows = batch?.rows ?? 0;
  let at = HEAD_BYTES;
  let origins: OutputRows["origins"];
  switch (view.getUint32(8, true)) {
    case ORIGINS.consecutive: {
      const first = view.getUint32(12, true);
      if (first + rows > inputRows) return undefined;
      origins = { first };
      break;
    }
    case ORIGINS.listed: {
      if (at + padded(4 * rows) > body.length) return undefined;
      const list = new Uint32Array(body.buffer, body.byteOffset + at, rows);
      for (const origin of list) if (origin >= inputRows) return undefined;
      origins = { list };
      at += padded(4 * rows);
      break;
    }
    case ORIGINS.none:
      break;
    default:
      return undefined;
  }
  const columns: OutputColumn[] = [];
  for (const { type } of schema) {
    if (at + HEAD_BYTES > body.length) return undefined;
    const encoding = body[at]!;
    const hasNulls = body[at + 1] === 1;
    const bytes = view.getUint32(at + 4, true);
    const input = view.getUint32(at + 8, true);
    at += HEAD_BYTES;
    const nullBytes = hasNulls ? padded(rows) : 0;
    if (at + nullBytes + padded(bytes) > body.length) return undefined;
    const nulls = hasNulls ? body.subarray(at, at + rows) : undefined;
    const data = body.subarray(at + nullBytes, at + nullBytes + bytes);
    at += nullBytes + padded(bytes);
    if (encoding === ENCODING.kept) {
      if (origins === undefined || batch?.columns[input]?.type !== type) return undefined;
      columns.push({ encoding, input });
    } else if (encoding === ENCODING.cells) {
      const cells = isFlatList(data, rows) ? cellsIn(data) : undefined;
      if (cells?.length !== rows) return undefined;
      columns.push({ encoding, cells });
    } else if (!fits(encoding, type, data, rows)) return undefined;
    else columns.push({ encoding: encoding as 0, nulls, data });
  }
  return { port, rows, bytes: body.length, origins, columns };
}

/**
 * Whether a JSON text has no more lists, objects and values than so many cells have. Empty objects take three bytes to
 * send and a hundred to keep: without this a child could use up the memory of this process.
 */
function isFlatList(data: Uint8Array, rows: number): boolean {
  let [lists, objects, commas] = [0, 0, 0];
  for (let at = 0; at < data.length; at++)
    switch (data[at]) {
      case QUOTE:
        while (++at < data.length && data[at] !== QUOTE) if (data[at] === BACKSLASH) at++;
        break;
      case LIST:
        if (++lists > 1) return false;
        break;
      case OBJECT:
        if (++objects > rows) return false;
        break;
      case COMMA:
        if (++commas >= rows) return false;
    }
  return true;
}

const [QUOTE, BACKSLASH, LIST, OBJECT, COMMA] = Buffer.from('"\\[{,');

function cellsIn(data: Uint8Array): Cell[] | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.length).toString("utf8"));
    return Array.isArray(value) ? value : undefined;
  } catch {
    return undefined; // the reply is refused
  }
}

const WIDTHS: Partial<Record<number, number>> = {
  [ENCODING.int32]: 4,
  [ENCODING.int64]: 8,
  [ENCODING.double]: 8,
  [ENCODING.longAsDouble]: 8,
  [ENCODING.boolean]: 1,
};

const TEXTS = [ENCODING.bytes, ENCODING.textByCodePoints, ENCODING.textByUtf16];
const ENCODINGS: Record<AttributeType, readonly number[]> = {
  string: TEXTS,
  integer: [ENCODING.int32],
  long: [ENCODING.int64, ENCODING.longAsDouble],
  double: [ENCODING.double],
  boolean: [ENCODING.boolean],
  timestamp: [ENCODING.int64, ...TEXTS],
  binary: [ENCODING.bytes],
  any: TEXTS,
};

function fits(encoding: number, type: AttributeType, data: Uint8Array, rows: number): boolean {
  if (!ENCODINGS[type].includes(encoding)) return false;
  const width = WIDTHS[encoding];
  if (width !== undefined) return data.length === rows * width;
  return data.length >= 4 * rows && (type === "binary" || isUtf8(data.subarray(4 * rows)));
}
