// Rows from a child as chunks for DuckDB. Here the types are checked: buffers by a pass over their numbers or lengths, and
// what came as cells value by value.
import {
  BIGINT,
  BLOB,
  BOOLEAN,
  DOUBLE,
  DuckDBDataChunk,
  type DuckDBType,
  INTEGER,
  TIMESTAMP,
  VARCHAR,
} from "@duckdb/node-api";
import type { AttributeType, Schema } from "../../core/plan.js";
import type { Batch, BatchColumn } from "./batch-encoder.js";
import { ENCODING } from "./column-frames.js";
import { setVectorBytes, setVectorNulls, type TextRun, writeTexts } from "./duckdb-text.js";
import { isMicros, parseMicros } from "./iso-time.js";
import type { OutputColumn, OutputRows } from "./reply-frame.js";
import { type Cell, ConversionError, decodeCell } from "./values.js";

/** Rows of one chunk: DuckDB's own vector size. */
const CHUNK_ROWS = 2_048;

const TYPES: Record<AttributeType, DuckDBType> = {
  string: VARCHAR,
  integer: INTEGER,
  long: BIGINT,
  double: DOUBLE,
  boolean: BOOLEAN,
  timestamp: TIMESTAMP,
  binary: BLOB,
  any: VARCHAR,
};

/** A value does not fit its column. */
export class WrongValue extends Error {
  constructor(
    override readonly cause: ConversionError,
    readonly column: string,
    /** Of the reply, from 0. */
    readonly row: number,
  ) {
    super(cause.message);
  }
}

/** The lengths of a column of texts do not add up: the child is not to be believed anything. */
export class UnreadableReply extends Error {}

/** Writes rows `from` to `to` into a column of a chunk. */
type WriteRows = (chunk: DuckDBDataChunk, column: number, from: number, to: number) => void;

/** Throws WrongValue for the first value that does not fit, before any chunk is given. */
export function* outputChunks(
  rows: OutputRows,
  schema: Schema,
  batch: Batch | undefined,
): Generator<DuckDBDataChunk, void> {
  const writers = schema.map(({ name, type }, c) => writerOf(rows.columns[c]!, { name, type }, rows, batch));
  const types = schema.map(({ type }) => TYPES[type]);
  for (let from = 0; from < rows.rows; from += CHUNK_ROWS) {
    const to = Math.min(from + CHUNK_ROWS, rows.rows);
    const chunk = DuckDBDataChunk.create(types, to - from);
    writers.forEach((write, column) => {
      write(chunk, column, from, to);
    });
    yield chunk;
  }
}

function writerOf(
  column: OutputColumn,
  { name, type }: { name: string; type: AttributeType },
  rows: OutputRows,
  batch: Batch | undefined,
): WriteRows {
  if (column.encoding === ENCODING.cells) return cellsWriter(column.cells, name, type);
  if (column.encoding === ENCODING.kept) return keptWriter(batch!.columns[column.input]!, rows);
  const { encoding, nulls, data } = column;
  const isNull = (row: number) => nulls !== undefined && nulls[row] === 1;
  const refuse = (row: number, cell: Cell): never => {
    try {
      decodeCell(type, cell);
    } catch (error) {
      if (error instanceof ConversionError) throw new WrongValue(error, name, row);
      throw error;
    }
    throw new UnreadableReply();
  };
  switch (encoding) {
    case ENCODING.longAsDouble:
      return fixedWriter(wholeNumbers(data, isNull, refuse), 8, nulls);
    case ENCODING.int64:
      if (type === "timestamp") checkTimes(data, isNull, refuse);
      return fixedWriter(data, 8, nulls);
    case ENCODING.double:
      return fixedWriter(data, 8, nulls);
    case ENCODING.int32:
      return fixedWriter(data, 4, nulls);
    case ENCODING.boolean:
      for (let i = 0; i < data.length; i++) if (data[i]! > 1) data[i] = 1;
      return fixedWriter(data, 1, nulls);
    default: {
      const run = textRun(data, rows.rows, encoding, type !== "binary");
      if (type === "timestamp") return fixedWriter(times(run, isNull, refuse), 8, nulls);
      return withNulls(nulls, (chunk, c, from, to) => writeTexts(chunk, c, run, from, to));
    }
  }
}

const withNulls = (nulls: Uint8Array | undefined, write: WriteRows): WriteRows =>
  nulls === undefined
    ? write
    : (chunk, column, from, to) => {
        write(chunk, column, from, to);
        setVectorNulls(chunk, column, nulls.subarray(from, to));
      };

const fixedWriter = (data: Uint8Array, width: number, nulls: Uint8Array | undefined): WriteRows =>
  withNulls(nulls, (chunk, column, from, to) => setVectorBytes(chunk, column, data.subarray(from * width, to * width)));

function cellsWriter(cells: Cell[], name: string, type: AttributeType): WriteRows {
  const values = cells.map((cell, row) => {
    try {
      return decodeCell(type, cell);
    } catch (error) {
      if (error instanceof ConversionError) throw new WrongValue(error, name, row);
      throw error;
    }
  });
  return (chunk, column, from, to) => chunk.setColumnValues(column, values.slice(from, to));
}

/** What an output column has in common with its input row. */
function keptWriter({ type, nulls, data, at, length }: BatchColumn, { rows, origins }: OutputRows): WriteRows {
  if (origins === undefined) throw new UnreadableReply();
  const first = "first" in origins ? origins.first : -1;
  const originOf = "first" in origins ? (row: number) => first + row : (row: number) => origins.list[row]!;
  let outNulls = nulls;
  if (nulls !== undefined) {
    outNulls = new Uint8Array(rows);
    for (let row = 0; row < rows; row++) outNulls[row] = nulls[originOf(row)]!;
  }
  if (type === "string" || type === "any" || type === "binary") {
    const run: TextRun = { bytes: data, at: new Uint32Array(rows), length: new Uint32Array(rows) };
    for (let row = 0; row < rows; row++) {
      run.at[row] = at[originOf(row)]!;
      run.length[row] = length[originOf(row)]!;
    }
    return withNulls(outNulls, (chunk, column, from, to) => writeTexts(chunk, column, run, from, to));
  }
  const width = type === "integer" ? 4 : type === "boolean" ? 1 : 8;
  if (first >= 0) return fixedWriter(data.subarray(first * width, (first + rows) * width), width, outNulls);
  const gathered = new Uint8Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const from = originOf(row) * width;
    for (let i = 0; i < width; i++) gathered[row * width + i] = data[from + i]!;
  }
  return fixedWriter(gathered, width, outNulls);
}

type IsNull = (row: number) => boolean;
type Refuse = (row: number, cell: Cell) => never;

/** Doubles as 64-bit whole numbers, in two halves. */
function wholeNumbers(data: Uint8Array, isNull: IsNull, refuse: Refuse): Uint8Array {
  const doubles = new Float64Array(data.buffer, data.byteOffset, data.length / 8);
  const halves = new Int32Array(doubles.length * 2);
  for (let row = 0; row < doubles.length; row++) {
    const value = doubles[row]!;
    if (!Number.isSafeInteger(value)) {
      if (isNull(row)) continue;
      refuse(row, Number.isFinite(value) ? value : { $number: String(value) });
    }
    halves[row * 2] = value; // modulo 2^32, as assigning to an Int32Array does
    halves[row * 2 + 1] = Math.floor(value / 2 ** 32);
  }
  return new Uint8Array(halves.buffer);
}

function checkTimes(data: Uint8Array, isNull: IsNull, refuse: Refuse): void {
  const micros = new BigInt64Array(data.buffer, data.byteOffset, data.length / 8);
  for (let row = 0; row < micros.length; row++)
    if (!isMicros(micros[row]!) && !isNull(row)) refuse(row, { $other: "a time beyond what can be stored" });
}

function times({ bytes, at, length }: TextRun, isNull: IsNull, refuse: Refuse): Uint8Array {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const micros = new BigInt64Array(at.length);
  for (let row = 0; row < at.length; row++) {
    if (isNull(row)) continue;
    const value = text.toString("utf8", at[row]!, at[row]! + length[row]!);
    micros[row] = parseMicros(value) ?? refuse(row, value);
  }
  return new Uint8Array(micros.buffer);
}

/** Where each text lies; throws UnreadableReply when the lengths do not fit the bytes, or cut a character. */
function textRun(data: Uint8Array, rows: number, encoding: number, isText: boolean): TextRun {
  const units = new Uint32Array(data.buffer, data.byteOffset, rows);
  const bytes = data.subarray(4 * rows);
  const at = new Uint32Array(rows);
  let total = 0;
  for (let row = 0; row < rows; row++) {
    at[row] = total;
    total += units[row]!;
  }
  if (encoding === ENCODING.bytes || total === bytes.length) {
    if (total !== bytes.length) throw new UnreadableReply();
    if (isText) for (const from of at) if (from < total && (bytes[from]! & 0xc0) === 0x80) throw new UnreadableReply();
    return { bytes, at, length: units };
  }
  // Some characters have several bytes: count them.
  const pairs = encoding === ENCODING.textByUtf16;
  const length = new Uint32Array(rows);
  let position = 0;
  for (let row = 0; row < rows; row++) {
    at[row] = position;
    for (let left = units[row]!; left > 0; left--) {
      const lead = bytes[position];
      if (lead === undefined) throw new UnreadableReply();
      const size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
      if (size === 4 && pairs && --left === 0) throw new UnreadableReply();
      position += size;
    }
    length[row] = position - at[row]!;
  }
  if (position !== bytes.length) throw new UnreadableReply();
  return { bytes, at, length };
}
