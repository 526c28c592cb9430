// What a service method is called with, made by hand: tests of services need no gRPC.
import { pino } from "pino";
import type { CallContext, Caller, Scope } from "../../src/server/access/caller.js";

const USER_SCOPES: Scope[] = ["read", "write", "run", "admin"];

/** A call by this subject, with every scope of a user unless told otherwise. */
export const userContext = (
  subject: string,
  scopes: Scope[] = USER_SCOPES,
  signal = new AbortController().signal,
): CallContext => callerContext({ kind: "user", subject, scopes: new Set(scopes) }, signal);

/** A call by anybody else. */
export const callerContext = (caller: Caller, signal = new AbortController().signal): CallContext => ({
  caller,
  authenticateAgain: async () => {},
  signal,
  log: pino({ level: "silent" }),
});
