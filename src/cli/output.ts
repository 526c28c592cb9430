// Results on standard output: tables for people, JSON for programs.
import type { GlobalOptions } from "./connection.js";
import { renderTable, type TableContent } from "./table.js";
import type { Output, Terminal } from "./terminal.js";
import { paintFor } from "./text.js";

/** Prints one JSON document. */
export function printJson({ out }: Terminal, value: unknown): void {
  out.write(`${JSON.stringify(value, undefined, 2)}\n`);
}

/** Prints one line of a JSON stream. */
export function printJsonLine({ out }: Terminal, value: unknown): void {
  out.write(`${JSON.stringify(value)}\n`);
}

export const print = ({ out }: Terminal, text: string): void => void out.write(`${text}\n`);

/** Prints a table as wide as the terminal at most; into a file or pipe nothing is cut. */
export function printTable(terminal: Terminal, content: TableContent): void {
  print(terminal, tableText(terminal.out, terminal, content));
}

export const tableText = (output: Output, { env }: Terminal, content: TableContent): string =>
  renderTable(content, {
    width: output.isTTY ? (output.columns ?? 80) : Number.POSITIVE_INFINITY,
    paint: paintFor(output, env),
  });

/** Prints a table, or, with --json, the document. */
export function printEither(
  terminal: Terminal,
  { json }: GlobalOptions,
  document: () => unknown,
  content: () => TableContent | string,
): void {
  const shown = json ? undefined : content();
  if (shown === undefined) printJson(terminal, document());
  else if (typeof shown === "string") print(terminal, shown);
  else printTable(terminal, shown);
}
