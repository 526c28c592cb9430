// What DuckDB's readers say about a row that does not fit, in words: at registration as in a run.

/** Where it is ("line 4"), and what is wrong with it. */
export interface MalformedRow {
  place: string;
  fault: string;
}

/** The row a reader stopped at; undefined when its error speaks of something else. */
export function malformedRowOf(error: string): MalformedRow | undefined {
  const line = /^CSV Error on Line: (\d+)$/m.exec(error.replace(/^[\w ]+Error: /, ""))?.[1];
  if (line !== undefined) return { place: `line ${line}`, fault: csvFault(error) };
  const [, place, said] =
    /^[\w ]+Error: Malformed JSON in file .*, at byte \d+ in ([^:]+): (.*?)\.? *$/m.exec(error) ?? [];
  if (place !== undefined) return { place, fault: `it is no JSON (${said})` };
  return undefined;
}

/** DuckDB tells the line, the line's text, and then what is wrong with it. */
function csvFault(error: string): string {
  const told = [
    [/Expected Number of Columns: (\d+) Found: (\d+)/, "it has $2 fields where $1 are expected"],
    [/unterminated quote/, "a quote is not closed"],
    [/not utf-8/, "it is not UTF-8 (name its encoding, if it is another)"],
    [/Could not convert string "?(.*?)"? to/, "a value does not fit its column's type"],
    [/Maximum line size/, "it is too long"],
  ] as const;
  for (const [pattern, sentence] of told) {
    const match = pattern.exec(error);
    if (match) return sentence.replace("$1", match[1] ?? "").replace("$2", match[2] ?? "");
  }
  return CSV_RULES;
}

export const CSV_RULES = "it does not follow the rules of CSV (RFC 4180)";
