// Rows written as text, read strictly: CSV after RFC 4180, one JSON object a line, or plain lines. Every row knows its line.

/** A row of texts; null where a field is empty or absent. */
export interface TextRow {
  /** Number of its first line, from 1. */
  line: number;
  fields: (string | null)[];
}

/** A sentence about a line. */
export type TextProblem = { problem: string };

/** Records of CSV; lines without any character are passed over. */
export function readCsv(text: string, delimiter: string): TextRow[] | TextProblem {
  const rows: TextRow[] = [];
  let line = 1;
  let at = 0;
  while (at < text.length) {
    const row: TextRow = { line, fields: [] };
    for (;;) {
      const field = text[at] === '"' ? quotedField(text, at) : plainField(text, at, delimiter);
      if (field === undefined) return { problem: `Line ${row.line}: a quote is not closed; close it, or double it.` };
      line += field.value.split("\n").length - 1;
      row.fields.push(field.value === "" ? null : field.value);
      at = field.end;
      if (!text.startsWith(delimiter, at)) break;
      at += delimiter.length;
    }
    if (text[at] === "\r" && text[at + 1] === "\n") at++;
    if (at < text.length && text[at] !== "\n" && text[at] !== "\r")
      return { problem: `Line ${line}: after a closing quote comes a ${JSON.stringify(delimiter)} or the next line.` };
    at++;
    line++;
    if (row.fields.length > 1 || row.fields[0] !== null) rows.push(row);
  }
  return rows;
}

interface Field {
  value: string;
  /** Where the text goes on. */
  end: number;
}

function plainField(text: string, from: number, delimiter: string): Field {
  let end = from;
  while (end < text.length && !text.startsWith(delimiter, end) && text[end] !== "\n" && text[end] !== "\r") end++;
  return { value: text.slice(from, end), end };
}

function quotedField(text: string, from: number): Field | undefined {
  let value = "";
  for (let at = from + 1; at < text.length; at++) {
    if (text[at] !== '"') value += text[at];
    else if (text[at + 1] === '"') value += text[at++];
    else return { value, end: at + 1 };
  }
  return undefined;
}

/** A JSON object and its text. */
export interface JsonRow {
  line: number;
  text: string;
  members: Record<string, unknown>;
}

/** One JSON object a line; empty lines are passed over. */
export function readJsonLines(text: string): JsonRow[] | TextProblem {
  const rows: JsonRow[] = [];
  for (const [i, one] of linesOf(text).entries()) {
    if (one.trim() === "") continue;
    let value: unknown;
    try {
      value = JSON.parse(one);
    } catch (error) {
      return { problem: `Line ${i + 1} is no JSON (${(error as Error).message}); write one object a line.` };
    }
    if (typeof value !== "object" || value === null || Array.isArray(value))
      return { problem: `Line ${i + 1} is JSON but no object; write one object a line.` };
    rows.push({ line: i + 1, text: one, members: value as Record<string, unknown> });
  }
  return rows;
}

/** The lines of a text; the last one may or may not end. */
export function linesOf(text: string): string[] {
  const lines = text.split(/\r\n|\n|\r/);
  if (lines.at(-1) === "") lines.pop();
  return lines;
}
