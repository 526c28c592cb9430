// Sets of small whole numbers as bits: unions of hundreds of members are a dozen machine words. Many sets of one size
// share an array, each a row of it.

export interface BitRows {
  /** Words in a row. */
  width: number;
  words: Int32Array;
}

/** `count` empty sets of numbers below `size`. */
export function bitRows(count: number, size: number): BitRows {
  const width = (size + 31) >> 5;
  return { width, words: new Int32Array(count * width) };
}

export const hasBit = ({ width, words }: BitRows, row: number, bit: number): boolean =>
  ((words[row * width + (bit >> 5)]! >>> (bit & 31)) & 1) === 1;

export function setBit({ width, words }: BitRows, row: number, bit: number): void {
  const at = row * width + (bit >> 5);
  words[at] = words[at]! | (1 << (bit & 31));
}

/** Adds the members of row `from` of `source` to row `to` of `target`; both have the same width. */
export function addRow(target: BitRows, to: number, source: BitRows, from: number): void {
  const { width } = target;
  for (let i = 0, a = to * width, b = from * width; i < width; i++, a++, b++)
    target.words[a] = target.words[a]! | source.words[b]!;
}

export function rowsMeet(left: BitRows, l: number, right: BitRows, r: number): boolean {
  const { width } = left;
  for (let i = 0, a = l * width, b = r * width; i < width; i++, a++, b++)
    if ((left.words[a]! & right.words[b]!) !== 0) return true;
  return false;
}

/** Removes the members of row `from` of `source` from row `to` of `target`. */
export function removeRow(target: BitRows, to: number, source: BitRows, from: number): void {
  const { width } = target;
  for (let i = 0, a = to * width, b = from * width; i < width; i++, a++, b++)
    target.words[a] = target.words[a]! & ~source.words[b]!;
}
