// Exit codes: scripts rely on them, docs/cli.md lists them.
import { AppError, type ErrorCode } from "../core/app-error.js";
import { Interrupted } from "./terminal.js";

export const EXIT = {
  ok: 0,
  failed: 1,
  badInput: 2,
  refused: 3,
  notFound: 4,
  unavailable: 5,
  interrupted: 130,
} as const;

const BY_CODE: Record<ErrorCode, number> = {
  invalid: EXIT.badInput,
  unauthenticated: EXIT.refused,
  forbidden: EXIT.refused,
  "not-found": EXIT.notFound,
  unavailable: EXIT.unavailable,
  deadline: EXIT.unavailable,
  conflict: EXIT.failed,
  precondition: EXIT.failed,
  exhausted: EXIT.failed,
  cancelled: EXIT.failed,
  internal: EXIT.failed,
};

export function exitCodeOf(error: unknown): number {
  if (error instanceof Interrupted) return EXIT.interrupted;
  return error instanceof AppError ? BY_CODE[error.code] : EXIT.failed;
}
