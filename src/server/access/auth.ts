// Authentication, before any service runs: bearer token → caller, and whether the caller's scopes cover the call.
//
// A1  A call that is refused here never reaches a handler.
// A2  The caller is kept beside the metadata object of its call, not in it: no header can pretend to be one.
// A3  A token counts when the call begins. Streams of executors outlive it and rotate tokens in band; a watch asks again
//     from time to time, and ends with its token.
import { type Metadata, ServerInterceptingCall, type ServerInterceptor } from "@grpc/grpc-js";
import { Scope as WireScope } from "../../contract/postern/v1/options.js";
import { AppError } from "../../core/app-error.js";
import { scopes } from "../../rpc/access-codec.js";
import { statusOf } from "../../rpc/status.js";
import type { Caller, Scope } from "./caller.js";
import type { VerifyToken } from "./token-verification.js";

/** What a call demands: nothing, or one of these scopes. */
export type Demand = "nothing" | ReadonlySet<Scope>;

/** The demand that `any_scope` values express; undefined when there are none, which no server may accept. */
export function demandOf(anyScope: readonly WireScope[]): Demand | undefined {
  if (anyScope.length === 0) return undefined;
  if (anyScope.includes(WireScope.SCOPE_NONE)) return "nothing";
  return new Set(anyScope.map(scopes.fromWire));
}

interface Deps {
  verifyToken: VerifyToken;
  /** By path; a path it does not know is refused. */
  demands: ReadonlyMap<string, Demand>;
  /** Hears of failures that are not the caller's. */
  onFault(error: unknown, path: string): void;
}

const callers = new WeakMap<Metadata, Caller>();

/** Who makes the call of this metadata object. */
export function callerOf(metadata: Metadata): Caller {
  const caller = callers.get(metadata);
  if (!caller) throw new Error("This call has not passed authentication.");
  return caller;
}

export function authentication({ verifyToken, demands, onFault }: Deps): ServerInterceptor {
  async function authenticate(path: string, metadata: Metadata): Promise<Caller> {
    const demand = demands.get(path);
    if (demand === undefined) throw new Error(`${path} declares no scope.`);
    if (demand === "nothing") return { kind: "anonymous" };
    const caller = await verifyToken(bearerToken(metadata));
    requireScope(caller, demand);
    return caller;
  }

  return ({ path }, call) =>
    new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, proceed) => {
            authenticate(path, metadata).then(
              (caller) => {
                callers.set(metadata, caller);
                proceed(metadata);
              },
              (error) => {
                if (error instanceof AppError && error.code === "unavailable") onFault(error, path);
                call.sendStatus(statusOf(error, (fault) => onFault(fault, path)));
              },
            );
          },
        }),
    });
}

/** Rejects when a call that came with this metadata would be refused now for its token. */
export async function authenticateAgain(verifyToken: VerifyToken, metadata: Metadata): Promise<void> {
  await verifyToken(bearerToken(metadata));
}

function bearerToken(metadata: Metadata): string {
  const [header, ...more] = metadata.get("authorization");
  const token = /^Bearer +([^\s,]+) *$/i.exec(String(header ?? ""))?.[1];
  if (token && more.length === 0) return token;
  throw new AppError(
    "unauthenticated",
    "TOKEN_INVALID",
    header === undefined
      ? "This call needs a token: send the header `authorization: Bearer <token>`."
      : "The authorization header must be `Bearer <token>`, once.",
  );
}

function requireScope(caller: Caller, demand: ReadonlySet<Scope>): void {
  const held = scopesOf(caller);
  if (held.some((scope) => demand.has(scope))) return;
  const has = held.length > 0 ? held.join(", ") : "none";
  throw new AppError(
    "forbidden",
    "SCOPE_MISSING",
    `This call needs a token with the scope ${[...demand].join(" or ")}; yours has ${has}.`,
  );
}

function scopesOf(caller: Caller): Scope[] {
  switch (caller.kind) {
    case "user":
      return [...caller.scopes];
    case "execution":
    case "serve":
      return [caller.kind];
    case "anonymous":
      return [];
  }
}
