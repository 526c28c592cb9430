// Rows one below the other, a line per column: for tables with more columns than a terminal has room for, and for texts
// that are worth reading whole.
import { type Paint, padEnd, plain, printable, widthOf } from "./text.js";

export interface RecordsContent {
  head: string[];
  rows: string[][];
  /** Number of the first row, from 1. */
  firstRow: bigint;
}

const GAP = "  ";
/** A narrower value column would be one of single words. */
const LEAST_VALUE_WIDTH = 20;

/** Renders records without the last line end; values go on below themselves. `width` in columns; Infinity wraps nothing. */
export function renderRecords(
  { head, rows, firstRow }: RecordsContent,
  { width, paint = plain }: { width: number; paint?: Paint },
): string {
  const names = head.map(printable);
  const nameWidth = Math.max(0, ...names.map(widthOf));
  const room = Math.max(LEAST_VALUE_WIDTH, width - nameWidth - GAP.length);
  return rows
    .map((row, n) => {
      const title = paint("dim", `─ row ${firstRow + BigInt(n)} ─`);
      const lines = names.flatMap((name, i) =>
        wrapped(printable(row[i] ?? ""), room).map(
          (part, line) => `${line === 0 ? paint("bold", padEnd(name, nameWidth)) : " ".repeat(nameWidth)}${GAP}${part}`,
        ),
      );
      return [title, ...lines].join("\n");
    })
    .join("\n");
}

/** The text in parts no wider than the room; broken at a space where there is one in the part's second half. */
export function wrapped(text: string, room: number): string[] {
  const parts: string[] = [];
  let [part, used] = ["", 0];
  for (const character of text) {
    const width = widthOf(character);
    if (used + width > room) {
      const space = part.lastIndexOf(" ");
      const end = space > part.length / 2 ? space + 1 : part.length;
      parts.push(part.slice(0, end).trimEnd());
      part = part.slice(end);
      used = widthOf(part);
    }
    part += character;
    used += width;
  }
  return [...parts, part];
}
