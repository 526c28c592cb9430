// The tokens this server signs: execution tokens, which speak for one attempt of one execution under one epoch, and
// serve tokens, by which a pooled executor takes work of one computing unit. Every replica has the same key.
import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { calculateJwkThumbprint, exportJWK, type JSONWebKeySet, type JWTPayload, SignJWT } from "jose";
import { invalid } from "../../core/app-error.js";
import { readSecretFile } from "../../process/env.js";

export const OWN_ISSUER = "postern";
export const EXECUTOR_AUDIENCE = "postern-executor";

export interface MintedToken {
  /** A secret. */
  token: string;
  expiresAt: Date;
}

export interface TokenIssuer {
  mintExecutionToken(of: { executionId: string; attempt: number; epoch: bigint }): Promise<MintedToken>;
  /** `subject` is who asked for it. */
  mintServeToken(of: { projectId: string; computingUnitId: string; subject: string }): Promise<MintedToken>;
  /** What verifies both. */
  publicKeys: JSONWebKeySet;
}

interface Options {
  /** PKCS8 PEM, Ed25519 or EC P-256, readable by its owner only. */
  keyFile: string;
  executionTokenSeconds: number;
  serveTokenSeconds: number;
  clock?: () => Date;
}

export async function createTokenIssuer({
  keyFile,
  executionTokenSeconds,
  serveTokenSeconds,
  clock = () => new Date(),
}: Options): Promise<TokenIssuer> {
  const key = privateKey(keyFile);
  const alg = algorithmOf(key, keyFile);
  const jwk = await exportJWK(createPublicKey(key));
  const kid = await calculateJwkThumbprint(jwk);

  async function mint(claims: JWTPayload, seconds: number): Promise<MintedToken> {
    const now = Math.floor(clock().getTime() / 1_000);
    const token = await new SignJWT(claims)
      .setProtectedHeader({ alg, kid, typ: "JWT" })
      .setIssuer(OWN_ISSUER)
      .setAudience(EXECUTOR_AUDIENCE)
      .setIssuedAt(now)
      .setExpirationTime(now + seconds)
      .sign(key);
    return { token, expiresAt: new Date((now + seconds) * 1_000) };
  }

  return {
    mintExecutionToken: ({ executionId, attempt, epoch }) =>
      mint({ scope: "execution", exe: executionId, att: attempt, epo: epoch.toString() }, executionTokenSeconds),
    mintServeToken: ({ projectId, computingUnitId, subject }) =>
      mint({ scope: "serve", sub: subject, prj: projectId, cun: computingUnitId }, serveTokenSeconds),
    publicKeys: { keys: [{ ...jwk, kid, alg, use: "sig" }] },
  };
}

const VARIABLE = "POSTERN_EXECUTION_KEY_FILE";

function privateKey(keyFile: string): KeyObject {
  const pem = readSecretFile(VARIABLE, keyFile);
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    throw invalid(`${VARIABLE} names ${keyFile}, which is no unencrypted private key in PEM form.`, cause);
  }
}

function algorithmOf(key: KeyObject, keyFile: string): "EdDSA" | "ES256" {
  if (key.asymmetricKeyType === "ed25519") return "EdDSA";
  if (key.asymmetricKeyType === "ec" && key.asymmetricKeyDetails?.namedCurve === "prime256v1") return "ES256";
  throw invalid(
    `${VARIABLE} names ${keyFile}, which is neither Ed25519 nor EC P-256: make one with \`openssl genpkey -algorithm ed25519\`.`,
  );
}
