// Why a file cannot be a dataset, in a sentence that tells no path of the server: DATASET_UNREADABLE, and the line, where
// that is known.
import { AppError } from "../../core/app-error.js";
import { CSV_RULES, malformedRowOf } from "../../core/malformed-row.js";
import type { FileFormat } from "../../core/plan.js";

export const unreadable = (why: string, cause?: unknown): AppError =>
  new AppError("invalid", "DATASET_UNREADABLE", `The file cannot be read: ${why}. Correct it and try again.`, {
    cause,
  });

/** What a reader threw, as a refusal. */
export function explainUnreadable(error: unknown, kind: FileFormat["kind"], signal: AbortSignal): unknown {
  if (error instanceof AppError) return error;
  if (signal.aborted)
    return new AppError("cancelled", "UNAVAILABLE", "The call ended before the file was read; nothing was stored.");
  const text = error instanceof Error ? error.message : String(error);
  const malformed = kind === "csv" ? malformedRowOf(text) : undefined;
  if (malformed) return unreadable(`${malformed.place}: ${malformed.fault}`, error);
  if (/File is not (utf-16|latin-1) encoded/.test(text)) return unreadable(ENCODING_RULES, error);
  if (/Error when sniffing/.test(text)) return unreadable(CSV_RULES, error);
  if (/^Out of Memory Error/.test(text))
    return unreadable("it needs more memory than the server gives to one file (convert it to Parquet)", error);
  if (/expected records|Expected OBJECT/.test(text))
    return unreadable("it holds JSON that is no object; give one object a line, or one array of objects", error);
  const fault = text
    .split("\n", 1)[0]!
    .replace(/^[\w ]+Error: /, "")
    .replace(/ ?\b(in )?[Ff]ile ['"][^'"]*['"],?/, "")
    .replace(/[.\s]+$/, "")
    .trim();
  return unreadable(`it is no proper ${WORDS[kind]}: ${fault}`, error);
}

const WORDS = { csv: "CSV", json: "JSON", parquet: "Parquet" } as const;

const ENCODING_RULES =
  "it is not in the encoding given (UTF-16 is read as little endian, without characters beyond U+FFFF, latin-1 as ISO 8859-1); convert it to UTF-8";
