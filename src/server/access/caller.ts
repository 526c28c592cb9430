// Who is calling: what authentication found out, before any service runs.
import type { Logger } from "../../process/log.js";

/** A right a token carries; the values of Scope in options.proto, in lower case. */
export type Scope = "read" | "write" | "run" | "admin" | "execution" | "serve";

export interface UserCaller {
  kind: "user";
  /** The `sub` claim. */
  subject: string;
  scopes: ReadonlySet<Scope>;
}
/** Speaks for one attempt of one execution under one epoch. */
export interface ExecutionCaller {
  kind: "execution";
  executionId: string;
  attempt: number;
  epoch: bigint;
}
/** A pooled executor of one computing unit. */
export interface ServeCaller {
  kind: "serve";
  projectId: string;
  computingUnitId: string;
  /** Who asked for the token. */
  subject: string;
}
export interface AnonymousCaller {
  kind: "anonymous";
}
export type Caller = UserCaller | ExecutionCaller | ServeCaller | AnonymousCaller;

/** What a service method knows beside its request. */
export interface CallContext {
  caller: Caller;
  /** For calls that last: rejects when the token they came with is not good any more. */
  authenticateAgain(): Promise<void>;
  /** Aborts when the client goes away, its deadline passes or the server stops. */
  signal: AbortSignal;
  log: Logger;
}
