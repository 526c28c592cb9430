// Texts and bytes in and out of DuckDB's vectors, thousands at a time. Its own accessors make one native call for each
// text longer than twelve bytes, which would cost more than all else that happens to a row here.
//
// A vector of texts is a list of 16-byte entries: the length in bytes, then either up to twelve bytes of text, or its
// first four bytes and a pointer.
//
// T1  Memory is only read where a text of this vector lies, or on a page a text of this vector lies on: such a page is
//     mapped as long as its chunk lives. What lies beside the texts is copied along and never looked at.
// T2  A pointer is only written into the vector that owns the text it points to.
import { createRequire } from "node:module";
import type { DuckDBDataChunk } from "@duckdb/node-api";

type Bindings = typeof import("@duckdb/node-bindings");
/** DuckDB's bindings are a package of its package. */
const bindings = createRequire(createRequire(import.meta.url).resolve("@duckdb/node-api"))(
  "@duckdb/node-bindings",
) as Bindings;

const ENTRY_BYTES = 16;
const INLINE_BYTES = 12;
const PAGE_BYTES = 4_096;
/** Longer texts are fetched one by one. */
const SHORT_BYTES = PAGE_BYTES / 2;
/** A native call for a page costs as much as those for so many texts. */
const TEXTS_PER_PAGE = 5;
const MOST_SPAN_PAGES = 1 << 16;

/** One column of a chunk as it lies in memory, copied. */
export function vectorBytes(chunk: DuckDBDataChunk, column: number, bytes: number): Uint8Array {
  return bindings.vector_get_data(bindings.data_chunk_get_vector(chunk.chunk, column), bytes);
}

/** The bits of a column that tell which rows have a value, 64 rows to 8 bytes; undefined when all have. */
export function vectorValidity(chunk: DuckDBDataChunk, column: number, rows: number): Uint8Array | undefined {
  const vector = bindings.data_chunk_get_vector(chunk.chunk, column);
  return bindings.vector_get_validity(vector, Math.ceil(rows / 64) * 8) ?? undefined;
}

/** Overwrites a column of fixed width, from its first row on. */
export function setVectorBytes(chunk: DuckDBDataChunk, column: number, data: Uint8Array): void {
  const vector = bindings.data_chunk_get_vector(chunk.chunk, column);
  bindings.copy_data_to_vector(vector, 0, data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
}

/** Says which rows of a column have no value: those whose byte in `nulls` is not 0. */
export function setVectorNulls(chunk: DuckDBDataChunk, column: number, nulls: Uint8Array): void {
  const bits = new Uint8Array(Math.ceil(nulls.length / 64) * 8).fill(255);
  for (let row = 0; row < nulls.length; row++) if (nulls[row] !== 0) bits[row >> 3]! &= ~(1 << (row & 7));
  const vector = bindings.data_chunk_get_vector(chunk.chunk, column);
  bindings.vector_ensure_validity_writable(vector);
  bindings.copy_data_to_vector_validity(vector, 0, bits.buffer, 0, bits.byteLength);
}

/** Where a text lies: `length` bytes of `bytes` from `at` on. */
export interface TextPlaces {
  /** Distinct stretches of memory. */
  parts: Uint8Array[];
  /** By row. */
  part: Uint32Array;
  at: Uint32Array;
  length: Uint32Array;
}

/**
 * The texts of rows `from` to `to` of a column of type VARCHAR or BLOB, of `rows` in all; a row without a value, and one
 * that is not asked for, has length 0.
 */
export function readTexts(
  chunk: DuckDBDataChunk,
  column: number,
  { rows, from, to }: { rows: number; from: number; to: number },
  nulls: Uint8Array | undefined,
): TextPlaces {
  const entries = vectorBytes(chunk, column, rows * ENTRY_BYTES);
  const words = new Uint32Array(entries.buffer, entries.byteOffset, rows * 4);
  const places: TextPlaces = {
    parts: [entries],
    part: new Uint32Array(rows),
    at: new Uint32Array(rows),
    length: new Uint32Array(rows),
  };
  const pointed: number[] = [];
  for (let row = from; row < to; row++) {
    if (nulls !== undefined && nulls[row] !== 0) continue;
    const length = words[row * 4]!;
    places.length[row] = length;
    places.at[row] = row * ENTRY_BYTES + 4;
    if (length > SHORT_BYTES) {
      places.part[row] = places.parts.push(fetch(words[row * 4 + 2]!, words[row * 4 + 3]!, length)) - 1;
      places.at[row] = 0;
    } else if (length > INLINE_BYTES) pointed.push(row);
  }
  if (pointed.length > 0) readPointed(words, pointed, places);
  return places;
}

const pointer = new Uint32Array(2);

/** Copies memory, from an address in two halves. */
function fetch(low: number, high: number, length: number): Uint8Array {
  pointer[0] = low;
  pointer[1] = high;
  return bindings.get_data_from_pointer(pointer.buffer, 0, length) as Uint8Array;
}

/** Fetches the pages on which texts lie, runs of pages at once, or the texts themselves when they lie far apart. */
function readPointed(words: Uint32Array, pointed: number[], places: TextPlaces): void {
  const addressOf = (row: number) => words[row * 4 + 3]! * 2 ** 32 + words[row * 4 + 2]!;
  let [first, last] = [Number.POSITIVE_INFINITY, 0];
  for (const row of pointed) {
    const address = addressOf(row);
    if (address < first) first = address;
    if (address > last) last = address;
  }
  const base = Math.floor(first / PAGE_BYTES);
  const span = Math.floor(last / PAGE_BYTES) - base + 2;
  const used = span <= MOST_SPAN_PAGES ? usedPages(pointed, addressOf, places.length, base, span) : undefined;
  if (used === undefined) {
    for (const row of pointed) {
      places.part[row] = places.parts.push(fetch(words[row * 4 + 2]!, words[row * 4 + 3]!, places.length[row]!)) - 1;
      places.at[row] = 0;
    }
    return;
  }
  // For each page the number of its part, and where in the part it begins.
  const partOf = new Uint32Array(span);
  const startOf = new Uint32Array(span);
  for (let page = 0; page < span; ) {
    if (used[page] === 0) {
      page++;
      continue;
    }
    let end = page;
    while (end < span && used[end] !== 0) end++;
    const address = (base + page) * PAGE_BYTES;
    const part = fetch(address % 2 ** 32, Math.floor(address / 2 ** 32), (end - page) * PAGE_BYTES);
    const number = places.parts.push(part) - 1;
    for (let start = 0; page < end; page++, start += PAGE_BYTES) {
      partOf[page] = number;
      startOf[page] = start;
    }
  }
  for (const row of pointed) {
    const offset = addressOf(row) - base * PAGE_BYTES;
    const page = Math.floor(offset / PAGE_BYTES);
    places.part[row] = partOf[page]!;
    places.at[row] = startOf[page]! + (offset % PAGE_BYTES);
  }
}

/** Which pages texts lie on; undefined when there are so many that single texts are cheaper. */
function usedPages(
  pointed: number[],
  addressOf: (row: number) => number,
  length: Uint32Array,
  base: number,
  span: number,
): Uint8Array | undefined {
  const used = new Uint8Array(span);
  let count = 0;
  for (const row of pointed) {
    const offset = addressOf(row) - base * PAGE_BYTES;
    const from = Math.floor(offset / PAGE_BYTES);
    const to = Math.floor((offset + length[row]! - 1) / PAGE_BYTES);
    for (let page = from; page <= to; page++) {
      count += 1 - used[page]!;
      used[page] = 1;
    }
  }
  return count * TEXTS_PER_PAGE <= pointed.length ? used : undefined;
}

/** Texts one after the other: of row n, `length[n]` bytes from `at[n]` on, all within `bytes`. */
export interface TextRun {
  bytes: Uint8Array;
  at: Uint32Array;
  length: Uint32Array;
}

/**
 * Fills a column of type VARCHAR or BLOB with rows `from` to `to`. For VARCHAR every text must be valid UTF-8: the caller
 * has checked it.
 */
export function writeTexts(chunk: DuckDBDataChunk, column: number, texts: TextRun, from: number, to: number): void {
  const { bytes, at, length } = texts;
  const vector = bindings.data_chunk_get_vector(chunk.chunk, column);
  const rows = to - from;
  const entries = new Uint8Array(rows * ENTRY_BYTES);
  const words = new Uint32Array(entries.buffer);
  let [first, last] = [bytes.length, 0];
  for (let row = from; row < to; row++) {
    if (length[row]! <= INLINE_BYTES) continue;
    if (at[row]! < first) first = at[row]!;
    if (at[row]! + length[row]! > last) last = at[row]! + length[row]!;
  }
  let [low, high] = [0, 0];
  if (last > first) {
    // The vector takes the whole stretch as the text of its first row; its entry then tells where it lies.
    bindings.vector_assign_string_element_len(vector, 0, bytes.subarray(first, last));
    const whole = bindings.vector_get_data(vector, ENTRY_BYTES);
    [low, high] = new Uint32Array(whole.buffer, whole.byteOffset + 8, 2) as unknown as [number, number];
  }
  const address = high * 2 ** 32 + low;
  for (let n = 0; n < rows; n++) {
    const start = at[from + n]!;
    const size = length[from + n]!;
    words[n * 4] = size;
    const shown = size <= INLINE_BYTES ? size : 4;
    const entry = n * ENTRY_BYTES + 4;
    for (let i = 0; i < shown; i++) entries[entry + i] = bytes[start + i]!;
    if (size > INLINE_BYTES) {
      const target = address + start - first;
      words[n * 4 + 2] = target % 2 ** 32;
      words[n * 4 + 3] = Math.floor(target / 2 ** 32);
    }
  }
  bindings.copy_data_to_vector(vector, 0, entries.buffer, 0, entries.byteLength);
}
