// From a bearer token to its caller. User tokens are verified against the identity provider's keys, issuer and
// audience; execution and serve tokens against our own. A token of one kind is never taken for the other.
//
// V1  Only asymmetric algorithms: a public key never serves as a shared secret.
// V2  A verified token is remembered by its SHA-256, not by itself, until it runs out, at most ten minutes (so that a
//     key the provider takes back stops working) and at most ten thousand of them.
import { hash as digest } from "node:crypto";
import { decodeJwt, errors, type JSONWebKeySet, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from "jose";
import { AppError } from "../../core/app-error.js";
import type { Caller, Scope } from "./caller.js";
import { fixedKeys } from "./token-keys.js";
import { EXECUTOR_AUDIENCE, OWN_ISSUER } from "./tokens.js";

/** Rejects with TOKEN_INVALID, TOKEN_EXPIRED, or UNAVAILABLE when the provider's keys cannot be had. */
export type VerifyToken = (token: string) => Promise<Caller>;

interface Deps {
  /** The identity provider whose user tokens count. */
  issuer: string;
  audience: string;
  providerKeys: JWTVerifyGetKey;
  /** The public keys of our own tokens. */
  ownKeys: JSONWebKeySet;
  clock?: () => Date;
}

const ALGORITHMS = [
  "EdDSA",
  "Ed25519",
  "ES256",
  "ES384",
  "ES512",
  "PS256",
  "PS384",
  "PS512",
  "RS256",
  "RS384",
  "RS512",
];

const rememberForMs = 600_000;
const rememberedTokens = 10_000;
const longestToken = 16_384;

export function createTokenVerifier({
  issuer,
  audience,
  providerKeys,
  ownKeys,
  clock = () => new Date(),
}: Deps): VerifyToken {
  const remembered = new Map<string, { caller: Caller; untilMs: number }>();
  const own = fixedKeys(ownKeys);

  async function verify(token: string): Promise<{ caller: Caller; expiresAtMs: number }> {
    const isOwn = claimedIssuer(token) === OWN_ISSUER;
    const expected = isOwn ? { issuer: OWN_ISSUER, audience: EXECUTOR_AUDIENCE } : { issuer, audience };
    const options = { ...expected, algorithms: ALGORITHMS, requiredClaims: ["exp"], currentDate: clock() };
    const payload = await verifiedPayload(token, isOwn ? own : providerKeys, options).catch((error) => {
      throw explain(error, expected);
    });
    return { caller: isOwn ? ownCaller(payload) : userCaller(payload), expiresAtMs: payload.exp! * 1_000 };
  }

  return async (token) => {
    if (token.length > longestToken) throw refused("The token is too long.");
    const nowMs = clock().getTime();
    const hash = digest("sha256", token, "base64");
    const known = remembered.get(hash);
    if (known && nowMs < known.untilMs) return known.caller;
    remembered.delete(hash);
    const { caller, expiresAtMs } = await verify(token);
    if (remembered.size >= rememberedTokens) remembered.delete(remembered.keys().next().value!); // the oldest
    remembered.set(hash, { caller, untilMs: Math.min(expiresAtMs, nowMs + rememberForMs) });
    return caller;
  };
}

/** What the token says of itself; it decides only which keys must confirm it. */
function claimedIssuer(token: string): string | undefined {
  try {
    return decodeJwt(token).iss;
  } catch (cause) {
    throw refused("This is no token (JWT): check where it came from.", cause);
  }
}

async function verifiedPayload(
  token: string,
  keys: JWTVerifyGetKey,
  options: Parameters<typeof jwtVerify>[2],
): Promise<JWTPayload> {
  try {
    return (await jwtVerify(token, keys, options)).payload;
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
    // The token names no key and several could have signed it.
    for await (const key of error) {
      try {
        return (await jwtVerify(token, key, options)).payload;
      } catch (failure) {
        if (!(failure instanceof errors.JWSSignatureVerificationFailed)) throw failure;
      }
    }
    throw new errors.JWSSignatureVerificationFailed();
  }
}

const refused = (message: string, cause?: unknown) =>
  new AppError("unauthenticated", "TOKEN_INVALID", message, { cause });

function explain(error: unknown, expected: { issuer: string; audience: string }): unknown {
  if (error instanceof AppError || !(error instanceof errors.JOSEError)) return error;
  if (error instanceof errors.JWTExpired)
    return new AppError("unauthenticated", "TOKEN_EXPIRED", "The token has run out: get a new one.", { cause: error });
  if (error instanceof errors.JWTClaimValidationFailed) {
    switch (error.claim) {
      case "aud":
        return refused(`The token is meant for another audience than "${expected.audience}".`, error);
      case "iss":
        return refused(`The token comes from another issuer than "${expected.issuer}".`, error);
      case "nbf":
        return refused("The token is not valid yet: check the clocks.", error);
      default:
        return refused(`The token's claim "${error.claim}" is missing or wrong.`, error);
    }
  }
  if (error instanceof errors.JOSEAlgNotAllowed || error instanceof errors.JOSENotSupported)
    return refused("The token is signed by an algorithm this server does not accept.", error);
  if (error instanceof errors.JWKSNoMatchingKey)
    return refused("The token is signed with a key this server does not know.", error);
  if (error instanceof errors.JWSSignatureVerificationFailed) return refused("The token's signature is wrong.", error);
  return refused("The token is malformed.", error);
}

const USER_SCOPES: readonly string[] = ["read", "write", "run", "admin"] satisfies Scope[];
const longestSubject = 256;

function userCaller({ sub, scope }: JWTPayload): Caller {
  if (!sub || sub.length > longestSubject) throw refused("The token names no subject (claim sub).");
  const named = typeof scope === "string" ? scope.split(" ") : [];
  return {
    kind: "user",
    subject: sub,
    scopes: new Set(named.filter((one): one is Scope => USER_SCOPES.includes(one))),
  };
}

function ownCaller({ scope, sub, exe, att, epo, prj, cun }: JWTPayload): Caller {
  if (scope === "execution" && typeof exe === "string" && Number.isInteger(att) && /^\d+$/.test(String(epo)))
    return { kind: "execution", executionId: exe, attempt: Number(att), epoch: BigInt(String(epo)) };
  if (scope === "serve" && sub && typeof prj === "string" && typeof cun === "string")
    return { kind: "serve", projectId: prj, computingUnitId: cun, subject: sub };
  throw refused("The token lacks claims of this release: get a new one.");
}
