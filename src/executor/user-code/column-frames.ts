// The form of rows on the pipes to and from a child: frames of column buffers. docs/user-functions.md does not tell of it:
// both ends belong to one release.
//
// A frame is four bytes of length, then a body. All numbers are little endian; every section begins at a multiple of
// eight bytes within the body, so that typed arrays can lie on it.
//
//   body    kind (1 byte), port (1), number of columns (2), rows (4), origin form (4), first origin (4), then in replies
//           origins (4 each) where the form says so, then the columns
//   column  encoding (1 byte), whether it has nulls (1), nothing (2), bytes of data (4), number of a column of the input
//           (4), nothing (4), then one byte a row, 1 where there is no value, where it has nulls; then data
//
// Settings, errors and "ready" are JSON instead of columns.

/** What a frame to a child says. The child answers each but the first with replies, the last of which is `done`. */
export const REQUEST = { settings: 0, rows: 1, endOfPort: 2, finish: 3 } as const;
export const REPLY = { ready: 0, rows: 1, done: 2, error: 3 } as const;

/** Which input row each output row comes from: one after the other, listed, or none. */
export const ORIGINS = { consecutive: 0, listed: 1, none: 2 } as const;

export const ENCODING = {
  int32: 0,
  int64: 1,
  double: 2,
  boolean: 3,
  /** Texts in UTF-8, with SEPARATOR between them; none of them holds it. */
  joined: 4,
  /** Lengths (4 bytes each), then texts or bytes one after the other. Lengths count bytes, code points or UTF-16 units. */
  bytes: 5,
  textByCodePoints: 6,
  textByUtf16: 7,
  /** Whole numbers as doubles, for languages that have no others. */
  longAsDouble: 8,
  /** A JSON list of cells (values.ts): slow, and able to tell of any value. */
  cells: 9,
  /** As in the input: of each row, what its origin has in the named column. No data. */
  kept: 10,
} as const;
export type Encoding = (typeof ENCODING)[keyof typeof ENCODING];

export const HEAD_BYTES = 16;
export const SEPARATOR = 0x1f;

/** Also of numbers beyond 2^31, which a child may send. */
export const padded = (bytes: number): number => Math.ceil(bytes / 8) * 8;

/** A frame with room for a body of this size; the body begins where typed arrays may. */
export function emptyFrame(bodyBytes: number): { frame: Uint8Array; body: Uint8Array } {
  const whole = new ArrayBuffer(8 + bodyBytes);
  new DataView(whole).setUint32(4, bodyBytes, true);
  return { frame: new Uint8Array(whole, 4), body: new Uint8Array(whole, 8) };
}

export function writeHead(body: Uint8Array, head: { kind: number; port: number; columns: number; rows: number }): void {
  const view = new DataView(body.buffer, body.byteOffset, HEAD_BYTES);
  view.setUint8(0, head.kind);
  view.setUint8(1, head.port);
  view.setUint16(2, head.columns, true);
  view.setUint32(4, head.rows, true);
}

/** A frame without rows. */
export function shortFrame(kind: number, port = 0): Uint8Array {
  const { frame, body } = emptyFrame(HEAD_BYTES);
  writeHead(body, { kind, port, columns: 0, rows: 0 });
  return frame;
}

/** A frame that says something in JSON. */
export function jsonFrame(kind: number, content: unknown): Uint8Array {
  const text = Buffer.from(JSON.stringify(content));
  const { frame, body } = emptyFrame(HEAD_BYTES + text.length);
  writeHead(body, { kind, port: 0, columns: 0, rows: 0 });
  body.set(text, HEAD_BYTES);
  return frame;
}
