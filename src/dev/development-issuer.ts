// The identity provider of a laptop: one Ed25519 key below the development directory, and the user tokens it signs.
// A server trusts it only because `dev` tells it to; nothing of it exists in production.
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { calculateJwkThumbprint, exportJWK, SignJWT } from "jose";
import { AppError } from "../core/app-error.js";
import { writeSecret } from "./secret-file.js";

export const DEVELOPMENT_ISSUER = "urn:postern:development";
export const DEVELOPMENT_AUDIENCE = "postern";
/** Whose token `postern dev` writes for the command line. */
export const DEVELOPMENT_SUBJECT = "developer";
/** Everything a user token may carry. */
export const USER_SCOPES = ["read", "write", "run", "admin"] as const;

export interface DevelopmentIssuer {
  /** Where the public key is, for POSTERN_JWKS_URL. */
  jwksUrl: string;
  /** Signs a user token. */
  mint(claims: { subject: string; scopes: readonly string[]; ttlSeconds: number }): Promise<string>;
}

const keyFileOf = (dir: string) => join(dir, "keys", "development-issuer.pem");

/** The issuer of a development directory; makes its key on first use. */
export async function createDevelopmentIssuer(dir: string): Promise<DevelopmentIssuer> {
  const key = (await readKey(dir)) ?? (await makeKey(keyFileOf(dir)));
  const jwk = await publicJwk(key);
  const jwksFile = join(dir, "keys", "jwks.json");
  await writeFile(jwksFile, JSON.stringify({ keys: [jwk] }, undefined, 2));
  return { jwksUrl: pathToFileURL(jwksFile).href, mint: minter(key, jwk.kid) };
}

/** The issuer of a development directory that `dev` has made before. */
export async function openDevelopmentIssuer(dir: string): Promise<Pick<DevelopmentIssuer, "mint">> {
  const key = await readKey(dir);
  if (!key)
    throw new AppError(
      "invalid",
      "NO_DEVELOPMENT_ISSUER",
      `There is no development issuer in ${dir}: start \`postern dev\` there first, or get a token from your identity provider.`,
    );
  return { mint: minter(key, (await publicJwk(key)).kid) };
}

/** Makes an Ed25519 private key file (PKCS8 PEM, owner only) unless it exists; returns its path. */
export async function ensureKeyFile(path: string): Promise<string> {
  const exists = await readFile(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return false;
      throw error;
    },
  );
  if (!exists) await makeKey(path);
  return path;
}

async function makeKey(path: string): Promise<KeyObject> {
  await mkdir(join(path, ".."), { recursive: true, mode: 0o700 });
  const { privateKey } = generateKeyPairSync("ed25519");
  await writeSecret(path, privateKey.export({ type: "pkcs8", format: "pem" }).toString());
  return privateKey;
}

async function readKey(dir: string): Promise<KeyObject | undefined> {
  try {
    return createPrivateKey(await readFile(keyFileOf(dir)));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new AppError(
      "invalid",
      "KEY_UNREADABLE",
      `The key ${keyFileOf(dir)} cannot be read: remove it to have a new one made.`,
      { cause: error },
    );
  }
}

async function publicJwk(key: KeyObject) {
  const jwk = await exportJWK(createPublicKey(key));
  return { ...jwk, kid: await calculateJwkThumbprint(jwk), alg: "EdDSA", use: "sig" };
}

function minter(key: KeyObject, kid: string): DevelopmentIssuer["mint"] {
  return ({ subject, scopes, ttlSeconds }) =>
    new SignJWT({ scope: scopes.join(" ") })
      .setProtectedHeader({ alg: "EdDSA", kid, typ: "JWT" })
      .setIssuer(DEVELOPMENT_ISSUER)
      .setAudience(DEVELOPMENT_AUDIENCE)
      .setSubject(subject)
      .setIssuedAt()
      .setExpirationTime(Math.floor(Date.now() / 1000) + ttlSeconds)
      .sign(key);
}
