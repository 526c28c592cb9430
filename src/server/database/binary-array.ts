// One-dimensional arrays as parameters in the binary format of Postgres (array_send): large ones are neither quoted here
// nor parsed there. An array is its number of dimensions, a flag for nulls, the type of its elements, length and lower
// bound, then of each element length and bytes, all big-endian:
// https://github.com/postgres/postgres/blob/master/src/backend/utils/adt/arrayfuncs.c

const HEADER_BYTES = 20;
/** Types by their OIDs in pg_type. */
const INT4 = 23;
const INT8 = 20;
const TEXT = 25;
const BYTEA = 17;
const TIMESTAMPTZ = 1184;
/** timestamptz counts microseconds from the year 2000. */
const MICROS_TO_2000 = 946_684_800_000_000;

function header(type: number, count: number, bytes: number): Buffer {
  const buffer = Buffer.allocUnsafe(HEADER_BYTES + 4 * count + bytes);
  buffer.writeInt32BE(1, 0);
  buffer.writeInt32BE(0, 4);
  buffer.writeInt32BE(type, 8);
  buffer.writeInt32BE(count, 12);
  buffer.writeInt32BE(1, 16);
  return buffer;
}

/** int4[]. */
export function int4Array(values: readonly number[]): Buffer {
  const buffer = header(INT4, values.length, 4 * values.length);
  let at = HEADER_BYTES;
  for (const value of values) {
    at = buffer.writeInt32BE(4, at);
    at = buffer.writeInt32BE(value, at);
  }
  return buffer;
}

function eightBytes(type: number, values: readonly number[], offset: number): Buffer {
  const buffer = header(type, values.length, 8 * values.length);
  let at = HEADER_BYTES;
  for (const value of values) {
    const shifted = value + offset;
    const high = Math.floor(shifted / 0x1_0000_0000);
    at = buffer.writeInt32BE(8, at);
    at = buffer.writeInt32BE(high, at);
    at = buffer.writeUInt32BE(shifted - high * 0x1_0000_0000, at);
  }
  return buffer;
}

/** int8[] of numbers that a double holds exactly. */
export const int8Array = (values: readonly number[]): Buffer => eightBytes(INT8, values, 0);

/** timestamptz[] of microseconds since 1970. */
export const timestamptzArray = (unixMicros: readonly number[]): Buffer =>
  eightBytes(TIMESTAMPTZ, unixMicros, -MICROS_TO_2000);

function byteStrings(type: number, values: readonly Uint8Array[]): Buffer {
  let bytes = 0;
  for (const value of values) bytes += value.length;
  const buffer = header(type, values.length, bytes);
  let at = HEADER_BYTES;
  for (const value of values) {
    at = buffer.writeInt32BE(value.length, at);
    buffer.set(value, at);
    at += value.length;
  }
  return buffer;
}

/** bytea[]. */
export const byteaArray = (values: readonly Uint8Array[]): Buffer => byteStrings(BYTEA, values);

/** text[] of texts encoded in UTF-8. */
export const textArray = (values: readonly Uint8Array[]): Buffer => byteStrings(TEXT, values);
