// DuckDB's error texts as sentences for authors: what is wrong and its hints stay, places in SQL nobody wrote go.

const MOST_CANDIDATES = 4;

/** One line without the kind of error, the excerpt of the statement and long lists of overloads. */
export function explainComplaint(message: string): string {
  const [text = ""] = message.split(/\n+LINE \d+:/);
  const [head = "", ...rest] = text
    .replace(/^(?:\w+ )+Error: /, "")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  const candidates = rest.filter((line) => /\) -> /.test(line));
  const hints = rest.filter((line) => !candidates.includes(line) && line !== "Candidate functions:");
  const listed =
    candidates.length > 0 && candidates.length <= MOST_CANDIDATES ? [`It takes: ${candidates.join("; ")}`] : [];
  return [head, ...hints, ...listed].map(asSentence).join(" ");
}

const asSentence = (line: string): string => (/[.!?]$/.test(line) ? line : `${line}.`);
