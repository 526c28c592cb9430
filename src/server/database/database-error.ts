// What Postgres and the way to it may say, as AppErrors. A code that is not here is a fault of ours and stays as it is,
// so that it is logged whole.
import pg from "pg";
import { AppError } from "../../core/app-error.js";

/** Codes after which the same transaction, tried again, may well succeed: serialization failure and deadlock. */
const retryable = new Set(["40001", "40P01"]);

export const isRetryable = (error: unknown): boolean => retryable.has(postgresCode(error) ?? "");

/** The constraint that refused a statement, so that the repository can say what it means. */
export function violatedConstraint(error: unknown): string | undefined {
  const refusal = postgresError(error);
  return refusal?.code?.startsWith("23") ? refusal.constraint : undefined;
}

/** The error as callers see it; what is unknown comes back unchanged. */
export function explainDatabaseError(error: unknown): unknown {
  if (error instanceof AppError) return error;
  const code = postgresCode(error);
  if (code === undefined) {
    return isConnectionProblem(error) ? unavailable("The database cannot be reached now: try again.", error) : error;
  }
  const explanation = explanations[code] ?? explanations[code.slice(0, 2)];
  return explanation ? explanation(error) : error;
}

const unavailable = (sentence: string, cause: unknown) =>
  new AppError("unavailable", "UNAVAILABLE", sentence, { cause });

const storageFull = (cause: unknown) =>
  new AppError("exhausted", "STORAGE_FULL", "The database has no room left: ask its operator to make some.", { cause });

/** By SQLSTATE, or by its class (the first two characters). */
const explanations: Record<string, (cause: unknown) => AppError> = {
  "08": (cause) => unavailable("The connection to the database was lost: try again.", cause),
  "22003": outOfRange,
  "22007": outOfRange,
  "22008": outOfRange,
  "22021": nul,
  "22P02": outOfRange,
  "22P05": nul,
  "23503": (cause) =>
    new AppError("not-found", "NOT_FOUND", "What this call refers to is gone: look it up again.", { cause }),
  "23505": (cause) =>
    new AppError("conflict", "ALREADY_EXISTS", "This exists already: choose another name, or use what is there.", {
      cause,
    }),
  "25006": (cause) => unavailable("The database accepts no changes now: try again.", cause),
  "40001": (cause) => unavailable("Others changed the same data at the same moment: try again.", cause),
  "40P01": (cause) => unavailable("Others changed the same data at the same moment: try again.", cause),
  "53100": storageFull,
  "53200": (cause) => unavailable("The database is short of memory: try again.", cause),
  "53300": (cause) => unavailable("The database has no free connection: try again.", cause),
  "55P03": (cause) => unavailable("Others hold the same data for too long: try again.", cause),
  "57014": (cause) => unavailable("The database took too long over this and gave up: try again.", cause),
  "57P01": (cause) => unavailable("The database is restarting: try again.", cause),
  "57P02": (cause) => unavailable("The database is restarting: try again.", cause),
  "57P03": (cause) => unavailable("The database is starting: try again.", cause),
};

function outOfRange(cause: unknown): AppError {
  return new AppError("invalid", "INVALID_REQUEST", "A value is malformed or out of range for what stores it.", {
    cause,
  });
}

function nul(cause: unknown): AppError {
  return new AppError("invalid", "INVALID_REQUEST", "Text must not contain the NUL character (U+0000).", { cause });
}

function postgresError(error: unknown): pg.DatabaseError | undefined {
  if (error instanceof pg.DatabaseError) return error;
  return error instanceof Error && error.cause !== undefined ? postgresError(error.cause) : undefined;
}

/** The SQLSTATE of an error of Postgres; undefined of any other. */
export const sqlState = (error: unknown): string | undefined => postgresCode(error);

/** SQLSTATE of a lock that was not had within lock_timeout. */
export const LOCK_NOT_HAD = "55P03";

const postgresCode = (error: unknown): string | undefined => postgresError(error)?.code;

const socketCodes = new Set(["ECONNREFUSED", "ECONNRESET", "ENOENT", "EPIPE", "ETIMEDOUT", "ENOTFOUND", "EAI_AGAIN"]);

/** The connection is gone or was refused; what was under way on it may have happened or not. */
export function isConnectionLoss(error: unknown): boolean {
  const code = postgresCode(error);
  return code === undefined ? isConnectionProblem(error) : code.startsWith("08") || code.startsWith("57P");
}

/** Errors without SQLSTATE: the socket's own, pg's "terminated", and knex's when no pooled connection came free. */
function isConnectionProblem(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as NodeJS.ErrnoException;
  if (code !== undefined && socketCodes.has(code)) return true;
  if (error instanceof AggregateError) return error.errors.some(isConnectionProblem);
  return (
    error.name === "KnexTimeoutError" ||
    // knex puts the statement in front.
    /(Connection terminated|Connection ended|Client has encountered a connection error|timeout expired)/.test(
      error.message,
    )
  );
}
