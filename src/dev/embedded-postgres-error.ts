import { AppError } from "../core/app-error.js";

/** The embedded PostgreSQL could not be started or stopped; the message says what to do about it. */
export class EmbeddedPostgresError extends AppError {
  constructor(message: string, more: { cause?: unknown } = {}) {
    super("unavailable", "UNAVAILABLE", message, more);
    this.name = "EmbeddedPostgresError";
  }
}

/**
 * Turns what the operating system, initdb or the server said about the disk into one sentence with the next step.
 * Any other error is returned as it is, any other text as the message of one.
 */
export function explainDiskProblem(problem: unknown, path: string): Error {
  const text =
    problem instanceof Error ? `${(problem as NodeJS.ErrnoException).code} ${problem.message}` : `${problem}`;
  if (/ENOSPC|EDQUOT|No space left on device|Disk quota exceeded/i.test(text))
    return new EmbeddedPostgresError(
      `The disk that holds ${path} is full: free some space there, or choose another data directory.`,
      { cause: problem },
    );
  if (/EACCES|EPERM|EROFS|ENOTDIR|EEXIST|Permission denied|Read-only file system/i.test(text))
    return new EmbeddedPostgresError(
      `The embedded PostgreSQL cannot write to ${path}: make it writable, or choose another data directory.`,
      { cause: problem },
    );
  return problem instanceof Error ? problem : new EmbeddedPostgresError(text);
}
