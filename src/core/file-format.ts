// What a file's name tells about its format.
import { invalid } from "./app-error.js";
import type { Encoding, FileFormat } from "./plan.js";

/** A format as far as it is known; what is missing is found out from the file. */
export interface FormatWish {
  kind: FileFormat["kind"] | undefined;
  /** CSV; empty: find out. */
  delimiter: string;
  /** CSV; undefined: find out. */
  header: boolean | undefined;
  /** CSV; empty: UTF-8. */
  encoding: Encoding;
}
export const NO_WISH: FormatWish = { kind: undefined, delimiter: "", header: undefined, encoding: "" };

const KINDS: Record<string, FileFormat["kind"]> = {
  csv: "csv",
  tsv: "csv",
  json: "json",
  jsonl: "json",
  ndjson: "json",
  parquet: "parquet",
};

/** Completes a wish from the file's name and refuses one that makes no sense. */
export function formatOfFile(fileName: string, wish: FormatWish): FileFormat {
  const [ending] = endingsOf(fileName);
  const kind = wish.kind ?? KINDS[ending];
  if (kind === undefined) {
    throw invalid(
      `${JSON.stringify(fileName.slice(-100))} does not tell its format; name it (csv, json or parquet), or use a name that ends in .${Object.keys(KINDS).join(", .")}.`,
    );
  }
  if (kind !== "csv") {
    if (wish.delimiter !== "" || wish.header !== undefined || wish.encoding !== "")
      throw invalid(`A delimiter, header or encoding is only for CSV, and this file is ${kind}; leave them out.`);
    return { kind, delimiter: "", header: undefined, encoding: "" };
  }
  if (wish.delimiter !== "" && !isDelimiter(wish.delimiter))
    throw invalid(`${JSON.stringify(wish.delimiter)} is no delimiter; use one character, such as "," or ";" or a tab.`);
  const delimiter = wish.delimiter || (wish.kind === undefined && ending === "tsv" ? "\t" : "");
  // One spelling of UTF-8, so that equal readings are equal.
  const encoding = wish.encoding === "utf-8" ? "" : wish.encoding;
  if (encoding === "utf-16" && endingsOf(fileName)[1])
    throw invalid("UTF-16 is read uncompressed only; unpack the file, or convert it to UTF-8.");
  return { kind, delimiter, header: wish.header, encoding };
}

/** The ending under which a copy of the file is stored, so that it is read as the original would be: "csv.gz". */
export function storedEnding(fileName: string, format: FileFormat): string {
  const [ending, compressed] = endingsOf(fileName);
  return `${KINDS[ending] === format.kind ? ending : format.kind}${compressed ? ".gz" : ""}`;
}

/** True for a file that is read through gzip. */
export const isCompressed = (fileName: string): boolean => endingsOf(fileName)[1];

function endingsOf(fileName: string): [ending: string, compressed: boolean] {
  const name = fileName.toLowerCase();
  const compressed = name.endsWith(".gz");
  const bare = compressed ? name.slice(0, -3) : name;
  return [/\.([a-z]+)$/.exec(bare)?.[1] ?? "", compressed];
}

const isDelimiter = (text: string): boolean => [...text].length === 1 && !['"', "\n", "\r", "\0"].includes(text);

const CANDIDATES = [",", ";", "\t", "|"];

/** The delimiter of a CSV text: the candidate met most often in its first line outside quotes, a comma when none is. */
export function delimiterOf(text: string): string {
  const counts = new Map(CANDIDATES.map((candidate) => [candidate, 0]));
  let quoted = false;
  for (const character of text) {
    if (character === '"') quoted = !quoted;
    else if (quoted) continue;
    else if (character === "\n" || character === "\r") break;
    else if (counts.has(character)) counts.set(character, counts.get(character)! + 1);
  }
  return CANDIDATES.reduce((best, candidate) => (counts.get(candidate)! > counts.get(best)! ? candidate : best));
}
