// How a run fails: reasons that are data in the execution's state. Everything that can go wrong on the way from a
// dataset to a stored result becomes one of these, with a sentence that says what to do.
import type { Failure } from "../../contract/postern/v1/execution.js";
import { malformedRowOf } from "../../core/malformed-row.js";

export type FailureReason =
  | "USER_CODE_ERROR"
  | "QUERY_FAILED"
  | "OUT_OF_MEMORY"
  | "TEMPORARY_SPACE_FULL"
  | "STORAGE_FULL"
  | "STORAGE_UNWRITABLE"
  | "STORAGE_UNSUPPORTED"
  | "INPUT_UNREADABLE"
  | "DATASET_CHANGED"
  | "PLAN_INVALID"
  | "SANDBOX_UNAVAILABLE"
  | "INTERNAL";

export class RunFailure extends Error {
  readonly reason: FailureReason;
  /** Empty for the execution as a whole. */
  readonly operatorId: string;
  readonly detail: string;

  constructor(
    reason: FailureReason,
    message: string,
    more: { operatorId?: string; detail?: string; cause?: unknown } = {},
  ) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = "RunFailure";
    this.reason = reason;
    this.operatorId = more.operatorId ?? "";
    this.detail = more.detail ?? "";
  }
}

/** The run was stopped from outside; thrown where work is given up, and never reported as a failure. */
export class RunStopped extends Error {
  constructor() {
    super("The run was stopped.");
    this.name = "RunStopped";
  }
}

export function throwIfStopped(signal: AbortSignal): void {
  if (signal.aborted) throw new RunStopped();
}

/** What the server stores; long texts are cut. */
export const failureToWire = (error: RunFailure): Failure => ({
  reason: error.reason,
  operatorId: error.operatorId,
  message: storable(error.message, 4 * 1024),
  detail: storable(error.detail, 16 * 1024),
});

/** No database takes U+0000 in text. */
const storable = (text: string, length: number) => text.slice(0, length).replaceAll("\0", "\uFFFD");

/** Whatever was thrown, as a failure; what no rule knows is a fault of the executor. */
export function failureOf(error: unknown): RunFailure {
  if (error instanceof RunFailure) return error;
  const text = error instanceof Error ? error.message : String(error);
  return new RunFailure("INTERNAL", `The executor failed: ${firstLine(text)}. Its log has the details.`, {
    detail: text,
    cause: error,
  });
}

const ERRNO: Record<string, string> = {
  EACCES: "permission denied",
  EPERM: "operation not permitted",
  EROFS: "the file system is read-only",
  ENOENT: "no such file or directory",
  ENOTDIR: "a part of the path is not a directory",
  EISDIR: "it is a directory",
  ENOSPC: "no space left on the device",
  EDQUOT: "the disk quota is used up",
  EMFILE: "too many open files",
  EIO: "input/output error",
};
const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException | undefined)?.code ?? "";

/** An errno in words, else the error's own. */
export const inWords = (error: unknown): string =>
  ERRNO[codeOf(error)] ?? (error instanceof Error ? firstLine(error.message) : String(error));

/** Writing below the result prefix failed. */
export function storageFailure(error: unknown, path: string): RunFailure {
  if (error instanceof RunFailure) return error;
  if (codeOf(error) === "ENOSPC" || codeOf(error) === "EDQUOT" || isFull(error)) return storageFull(path, error);
  return new RunFailure(
    "STORAGE_UNWRITABLE",
    `The executor cannot write ${path}: ${inWords(error)}; give its user write access, or choose another result root.`,
    { cause: error },
  );
}

const FULL = /no space left on device|disk quota exceeded|file too large/i;
const isFull = (error: unknown) => error instanceof Error && FULL.test(error.message);

const storageFull = (path: string, cause: unknown) =>
  new RunFailure(
    "STORAGE_FULL",
    `There is no room left to write ${path}; free space, or choose another result root, and run again.`,
    { cause },
  );

/** The operators of one query, for naming the one that failed as well as can be known. */
export interface QueryGroup {
  /** Ids, each after what it reads. */
  operatorIds: string[];
  /** The file being written, if any, and what people know it as. */
  target?: string;
  shownAs?: string;
}

/** A query failed inside DuckDB. */
export function queryFailure(error: unknown, group: QueryGroup): RunFailure {
  if (error instanceof RunFailure || error instanceof RunStopped) return error as RunFailure;
  const text = error instanceof Error ? error.message : String(error);
  const file = group.shownAs ?? group.target;
  const operatorId = group.operatorIds.at(-1) ?? "";
  const among =
    group.operatorIds.length > 1 ? `\n\nOne query runs these operators: ${group.operatorIds.join(", ")}.` : "";
  const more = { operatorId, detail: text + among, cause: error };
  if (FULL.test(text)) {
    const full = storageFull(file ?? "temporary data", error);
    return new RunFailure(full.reason, full.message, more);
  }
  if (/max_temp_directory_size|failed to offload data block/i.test(text))
    return new RunFailure(
      "TEMPORARY_SPACE_FULL",
      `Operator ${operatorId} has more rows on disk, for want of memory, than the executor may put there; raise POSTERN_TEMP_MAX_MB or POSTERN_MEMORY_LIMIT_MB, free space below POSTERN_WORK_DIR, or reduce the rows or columns before it.`,
      more,
    );
  if (/^Out of Memory Error/i.test(text))
    return new RunFailure(
      "OUT_OF_MEMORY",
      `Operator ${operatorId} needs more memory than the executor may use; raise POSTERN_MEMORY_LIMIT_MB, or reduce the rows or columns before it.`,
      more,
    );
  if (group.target && text.includes(group.target) && /Cannot open file|Could not write|Permission denied/i.test(text))
    return new RunFailure(
      "STORAGE_UNWRITABLE",
      `The executor cannot write ${file}: ${afterLastColon(text)}; give its user write access, or choose another result root.`,
      more,
    );
  const malformed = malformedRowOf(text);
  if (malformed)
    return new RunFailure(
      "QUERY_FAILED",
      `A row of a dataset is malformed, ${malformed.place}: ${malformed.fault}. Correct the file and register it again, or set "malformedRows" of its scan to "skip".`,
      // What DuckDB advises further on are settings of its own reader.
      { ...more, detail: (text.split("\nPossible fixes:")[0] ?? "") + among },
    );
  const where =
    group.operatorIds.length > 1
      ? `The query that ends in operator ${operatorId} failed`
      : `Operator ${operatorId} failed`;
  return new RunFailure("QUERY_FAILED", `${where}: ${duckdbSentence(text)}`, more);
}

const firstLine = (text: string) => text.split("\n", 1)[0]!.trim();
const afterLastColon = (text: string) =>
  firstLine(text)
    .slice(firstLine(text).lastIndexOf(":") + 1)
    .trim()
    .toLowerCase();

/** DuckDB's own words without the excerpt of generated SQL below them. */
function duckdbSentence(text: string): string {
  const [head] = text.split(/\n\s*\nLINE \d+:/, 1);
  return head!.trim().split("\n").slice(0, 3).join(" ");
}
