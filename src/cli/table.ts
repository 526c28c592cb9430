// Tables that fit: as wide as their content, at most as wide as the terminal.
import { type Colour, type Paint, padEnd, padStart, plain, printable, truncate, widthOf } from "./text.js";

export interface TableContent {
  head: string[];
  rows: string[][];
  /** Columns of numbers, which line up at their right end. */
  right?: boolean[];
}

/** True when even cells of the least width would not fit. */
export const isTooWide = (columns: number, width: number): boolean =>
  columns * (LEAST_WIDTH + GAP.length) - GAP.length > width;

const GAP = "  ";
/** No cell is cut below this, however narrow the terminal: the line then wraps. */
const LEAST_WIDTH = 6;
/** Text is cut this far before numbers are. */
const LEAST_TEXT_WIDTH = 10;

/** Renders a table without its last line end. `width` in columns; Infinity cuts nothing. */
export function renderTable(content: TableContent, { width, paint = plain }: { width: number; paint?: Paint }): string {
  const head = content.head.map(printable);
  const rows = content.rows.map((row) => row.map(printable));
  const widths = narrow(
    head.map((title, i) => Math.max(widthOf(title), ...rows.map((row) => widthOf(row[i] ?? "")))),
    content.right ?? [],
    width,
  );
  const line = (row: string[], colour?: Colour) =>
    widths
      .map((columns, i) => {
        const cell = truncate(row[i] ?? "", columns);
        const padded = content.right?.[i] ? padStart(cell, columns) : padEnd(cell, columns);
        return colour ? paint(colour, padded) : padded;
      })
      .join(GAP)
      .trimEnd();
  const rule = widths.map((columns) => "─".repeat(columns));
  return [line(head, "bold"), line(rule, "dim"), ...rows.map((row) => line(row))].join("\n");
}

/** Narrows the widest columns first until all fit: text before numbers, which say something else when they are cut. */
function narrow(natural: number[], right: boolean[], width: number): number[] {
  const widths = natural.map((columns) => Math.max(columns, 1));
  const room = width - GAP.length * (widths.length - 1);
  const all = widths.map((_, i) => i);
  const text = all.filter((i) => !right[i]);
  shrink(widths, text, room, LEAST_TEXT_WIDTH);
  shrink(widths, all, room, LEAST_WIDTH);
  return widths;
}

/** Takes one column after the other from the widest of some, down to `least`, until the sum of all is `room`. */
function shrink(widths: number[], some: number[], room: number, least: number): void {
  let excess = widths.reduce((sum, columns) => sum + columns, 0) - room;
  while (excess > 0) {
    const widest = Math.max(...some.map((i) => widths[i]!));
    if (widest <= least) return;
    const next = Math.max(least, ...some.map((i) => widths[i]!).filter((columns) => columns < widest));
    for (const i of some.filter((one) => widths[one] === widest)) {
      const cut = Math.min(excess, widest - next);
      widths[i] = widest - cut;
      excess -= cut;
    }
  }
}
