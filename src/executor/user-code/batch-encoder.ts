// Gathers rows of DuckDB's chunks into batches, and gives each as a frame for a child.
import type { DuckDBDataChunk } from "@duckdb/node-api";
import type { AttributeType, Schema } from "../../core/plan.js";
import {
  ENCODING,
  type Encoding,
  emptyFrame,
  HEAD_BYTES,
  padded,
  REQUEST,
  SEPARATOR,
  writeHead,
} from "./column-frames.js";
import { readTexts, type TextPlaces, vectorBytes, vectorValidity } from "./duckdb-text.js";
import { formatMicros } from "./iso-time.js";

/** Rows that were sent, as they lie in their frame. */
export interface Batch {
  rows: number;
  columns: BatchColumn[];
}

export interface BatchColumn {
  type: AttributeType;
  /** 1 where there is no value; undefined: every row has one. */
  nulls: Uint8Array | undefined;
  /** Of fixed width; or the texts. */
  data: Uint8Array;
  /** Of texts: where each begins in `data`, and its bytes. */
  at: Uint32Array;
  length: Uint32Array;
}

const WIDTHS: Record<AttributeType, number> = {
  integer: 4,
  long: 8,
  double: 8,
  timestamp: 8,
  boolean: 1,
  string: 0,
  any: 0,
  binary: 0,
};
const FIXED: Partial<Record<AttributeType, Encoding>> = {
  integer: ENCODING.int32,
  long: ENCODING.int64,
  double: ENCODING.double,
  timestamp: ENCODING.int64,
  boolean: ENCODING.boolean,
};

/** Shorter texts are copied byte by byte, which is quicker than a call. */
const SHORT_TEXT = 48;

export class BatchEncoder {
  readonly #columns: ColumnGatherer[];
  #rows = 0;

  constructor(schema: Schema) {
    this.#columns = schema.map(({ type }) => (WIDTHS[type] > 0 ? new FixedColumn(type) : new TextColumn(type)));
  }

  get rows(): number {
    return this.#rows;
  }

  /** Bytes gathered so far, about. */
  get bytes(): number {
    return this.#columns.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Takes rows `from` to `to` of a chunk. */
  add(chunk: DuckDBDataChunk, from: number, to: number): void {
    const rows = chunk.rowCount;
    this.#columns.forEach((column, c) => {
      column.add(chunk, c, { rows, from, to });
    });
    this.#rows += to - from;
  }

  /** The rows gathered so far, which are forgotten. */
  take(port: number): { frame: Uint8Array; batch: Batch } {
    const rows = this.#rows;
    const parts = this.#columns.map((column) => column.measured(rows));
    const { frame, body } = emptyFrame(parts.reduce((sum, { bytes }) => sum + bytes, HEAD_BYTES));
    writeHead(body, { kind: REQUEST.rows, port, columns: parts.length, rows });
    let at = HEAD_BYTES;
    const columns = this.#columns.map((column, c) => {
      const { bytes, encoding } = parts[c]!;
      const written = column.write(body.subarray(at, at + bytes), rows, encoding);
      at += bytes;
      column.clear();
      return written;
    });
    this.#rows = 0;
    return { frame, batch: { rows, columns } };
  }
}

interface Slice {
  rows: number;
  from: number;
  to: number;
}

abstract class ColumnGatherer {
  /** Grows; 1 where there is no value. */
  protected nulls = new Uint8Array(2_048);
  protected hasNulls = false;
  protected count = 0;

  constructor(protected readonly type: AttributeType) {}

  abstract readonly bytes: number;
  abstract add(chunk: DuckDBDataChunk, column: number, slice: Slice): void;
  protected abstract dataBytes(rows: number): { encoding: Encoding; bytes: number };
  protected abstract writeData(data: Uint8Array, rows: number, encoding: Encoding): Omit<BatchColumn, "nulls" | "type">;

  measured(rows: number): { encoding: Encoding; bytes: number } {
    const { encoding, bytes } = this.dataBytes(rows);
    return { encoding, bytes: HEAD_BYTES + (this.hasNulls ? padded(rows) : 0) + padded(bytes) };
  }

  write(part: Uint8Array, rows: number, encoding: Encoding): BatchColumn {
    const view = new DataView(part.buffer, part.byteOffset, HEAD_BYTES);
    const { bytes } = this.dataBytes(rows);
    view.setUint8(0, encoding);
    view.setUint8(1, this.hasNulls ? 1 : 0);
    view.setUint32(4, bytes, true);
    let at = HEAD_BYTES;
    let nulls: Uint8Array | undefined;
    if (this.hasNulls) {
      nulls = part.subarray(at, at + rows);
      nulls.set(this.nulls.subarray(0, rows));
      at += padded(rows);
    }
    return { type: this.type, nulls, ...this.writeData(part.subarray(at, at + bytes), rows, encoding) };
  }

  clear(): void {
    if (this.hasNulls) this.nulls.fill(0, 0, this.count);
    this.hasNulls = false;
    this.count = 0;
  }

  /** Notes which rows of the slice have no value; gives that for the whole chunk. */
  protected addNulls(chunk: DuckDBDataChunk, column: number, { rows, from, to }: Slice): Uint8Array | undefined {
    this.nulls = grown(this.nulls, this.count + to - from);
    const bits = vectorValidity(chunk, column, rows);
    if (bits === undefined) return undefined;
    const nulls = new Uint8Array(rows);
    for (let row = 0; row < rows; row++) nulls[row] = (bits[row >> 3]! >> (row & 7)) & 1 ? 0 : 1;
    for (let row = from; row < to; row++)
      if (nulls[row] === 1) {
        this.nulls[this.count + row - from] = 1;
        this.hasNulls = true;
      }
    return nulls;
  }
}

const NONE = new Uint32Array(0);

class FixedColumn extends ColumnGatherer {
  readonly #width = WIDTHS[this.type];
  #data = new Uint8Array(2_048 * 8);

  get bytes(): number {
    return this.count * this.#width;
  }

  add(chunk: DuckDBDataChunk, column: number, slice: Slice): void {
    const { rows, from, to } = slice;
    const width = this.#width;
    this.addNulls(chunk, column, slice);
    this.#data = grown(this.#data, (this.count + to - from) * width);
    const data = vectorBytes(chunk, column, rows * width).subarray(from * width, to * width);
    const at = this.count * width;
    this.#data.set(data, at);
    // Beneath a missing value lies anything.
    if (this.type === "boolean")
      for (let i = at; i < at + data.length; i++) this.#data[i] = this.#data[i] === 1 ? 1 : 0;
    this.count += to - from;
  }

  protected dataBytes(rows: number) {
    return { encoding: FIXED[this.type]!, bytes: rows * this.#width };
  }

  protected writeData(data: Uint8Array, rows: number) {
    data.set(this.#data.subarray(0, rows * this.#width));
    return { data, at: NONE, length: NONE };
  }
}

class TextColumn extends ColumnGatherer {
  /** Every text with SEPARATOR after it. */
  #text = new Uint8Array(64 * 1024);
  #size = 0;
  #length = new Uint32Array(2_048);
  #hasSeparator = false;

  get bytes(): number {
    return this.#size;
  }

  add(chunk: DuckDBDataChunk, column: number, slice: Slice): void {
    const { from, to } = slice;
    const nulls = this.addNulls(chunk, column, slice);
    const texts = readTexts(chunk, column, slice, nulls);
    let bytes = to - from;
    for (let row = from; row < to; row++) bytes += texts.length[row]!;
    this.#text = grown(this.#text, this.#size + bytes);
    if (this.#length.length < this.count + to - from) {
      const longer = new Uint32Array(2 * (this.count + to - from));
      longer.set(this.#length.subarray(0, this.count));
      this.#length = longer;
    }
    for (let row = from; row < to; row++) this.#addText(texts, row);
  }

  #addText({ parts, part, at, length }: TextPlaces, row: number): void {
    const text = this.#text;
    const source = parts[part[row]!]!;
    const start = at[row]!;
    const size = length[row]!;
    let to = this.#size;
    if (size < SHORT_TEXT)
      for (let i = start; i < start + size; i++) {
        const byte = source[i]!;
        if (byte === SEPARATOR) this.#hasSeparator = true;
        text[to++] = byte;
      }
    else {
      const bytes = source.subarray(start, start + size);
      text.set(bytes, to);
      if (bytes.includes(SEPARATOR)) this.#hasSeparator = true;
      to += size;
    }
    text[to++] = SEPARATOR;
    this.#size = to;
    this.#length[this.count++] = size;
  }

  override clear(): void {
    super.clear();
    this.#size = 0;
    this.#hasSeparator = false;
  }

  protected dataBytes(rows: number) {
    if (this.type === "binary" || this.#hasSeparator)
      return { encoding: ENCODING.bytes, bytes: 4 * rows + this.#size - rows };
    return { encoding: ENCODING.joined, bytes: Math.max(0, this.#size - 1) };
  }

  protected writeData(data: Uint8Array, rows: number, encoding: Encoding) {
    const length = this.#length.slice(0, rows);
    const at = new Uint32Array(rows);
    if (encoding === ENCODING.joined) {
      data.set(this.#text.subarray(0, data.length));
      for (let row = 0, next = 0; row < rows; row++) {
        at[row] = next;
        next += length[row]! + 1;
      }
      return { data, at, length };
    }
    data.set(new Uint8Array(length.buffer, 0, 4 * rows));
    for (let row = 0, from = 0, to = 4 * rows; row < rows; row++) {
      const size = length[row]!;
      at[row] = to;
      data.set(this.#text.subarray(from, from + size), to);
      from += size + 1;
      to += size;
    }
    return { data, at, length };
  }
}

/** The same bytes with room for as many. */
function grown(bytes: Uint8Array<ArrayBuffer>, size: number): Uint8Array<ArrayBuffer> {
  if (bytes.length >= size) return bytes;
  const larger = new Uint8Array(2 * size);
  larger.set(bytes);
  return larger;
}

/** One value of a batch as people read it. */
export function shownValue({ type, nulls, data, at, length }: BatchColumn, row: number): unknown {
  if (nulls?.[row] === 1) return null;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  switch (type) {
    case "integer":
      return view.getInt32(row * 4, true);
    case "long": {
      const value = view.getBigInt64(row * 8, true);
      return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : String(value);
    }
    case "double": {
      const value = view.getFloat64(row * 8, true);
      return Number.isFinite(value) ? value : String(value);
    }
    case "boolean":
      return data[row] === 1;
    case "timestamp":
      return formatMicros(view.getBigInt64(row * 8, true));
    default: {
      const bytes = Buffer.from(data.buffer, data.byteOffset + at[row]!, length[row]!);
      return bytes.toString(type === "binary" ? "hex" : "utf8");
    }
  }
}
