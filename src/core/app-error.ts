// The one error of the product. Whatever is not an AppError is a fault of ours: it is logged whole and leaves as
// "internal error" (rpc/status.ts).

/** The closed set of kinds; rpc/status.ts maps each to one gRPC status. */
export type ErrorCode =
  | "invalid"
  | "unauthenticated"
  | "forbidden"
  | "not-found"
  | "conflict"
  | "precondition"
  | "exhausted"
  | "unavailable"
  | "cancelled"
  | "deadline"
  | "internal";

/** A finding of the compiler about one operator or property. */
export interface Diagnostic {
  severity: "error" | "warning";
  /** Empty for the plan as a whole. */
  operatorId: string;
  /** Path such as `aggregates.0.column`; empty for the whole operator. */
  property: string;
  /** A sentence that says what is wrong and what to do. */
  message: string;
}

/** Typed facts beside a reason; each has a message of the same name in error.proto. */
export type ErrorDetail =
  | { kind: "StaleLease"; heldEpoch: bigint; currentEpoch: bigint }
  | { kind: "UnexpectedSequence"; expected: bigint; received: bigint }
  | { kind: "IllegalTransition"; from: string; to: string }
  | { kind: "QuotaExceeded"; quota: string; limit: bigint; used: bigint }
  | { kind: "PlanInvalid"; diagnostics: Diagnostic[] };

export class AppError extends Error {
  readonly code: ErrorCode;
  /** Stable upper-case name; a value of ErrorReason in error.proto without its prefix. */
  readonly reason: string;
  readonly detail: ErrorDetail | undefined;

  constructor(code: ErrorCode, reason: string, message: string, more: { detail?: ErrorDetail; cause?: unknown } = {}) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = "AppError";
    this.code = code;
    this.reason = reason;
    this.detail = more.detail;
  }
}

export const invalid = (message: string, cause?: unknown): AppError =>
  new AppError("invalid", "INVALID_REQUEST", message, { cause });

/** Absent and forbidden alike; `what` names it as the caller did, for example `workflow "sales"`. */
export const notFound = (what: string): AppError =>
  new AppError("not-found", "NOT_FOUND", `There is no ${what}, or you may not see it.`);

export const forbidden = (message: string): AppError => new AppError("forbidden", "PERMISSION_DENIED", message);

export const staleLease = (heldEpoch: bigint, currentEpoch: bigint): AppError =>
  new AppError(
    "precondition",
    "STALE_LEASE",
    `Epoch ${heldEpoch} is no longer in force (now ${currentEpoch}): another executor took over. Stop this work.`,
    { detail: { kind: "StaleLease", heldEpoch, currentEpoch } },
  );

export const illegalTransition = (from: string, to: string): AppError =>
  new AppError("precondition", "ILLEGAL_TRANSITION", `An execution that is ${from} cannot become ${to}.`, {
    detail: { kind: "IllegalTransition", from, to },
  });

export const planInvalid = (diagnostics: Diagnostic[]): AppError => {
  const errors = diagnostics.filter((d) => d.severity === "error");
  const first = errors[0];
  const where = first ? [first.operatorId, first.property].filter(Boolean).join(".") : "";
  const head = first ? `${where ? `${where}: ` : ""}${first.message}` : "";
  const rest = errors.length > 1 ? ` (and ${errors.length - 1} more)` : "";
  return new AppError("invalid", "PLAN_INVALID", `The plan cannot run. ${head}${rest}`, {
    detail: { kind: "PlanInvalid", diagnostics },
  });
};
