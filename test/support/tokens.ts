// An identity provider for tests: keys, a JWKS file, and tokens of every kind, good and bad.
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { exportJWK, type JWK, SignJWT } from "jose";

export const TEST_ISSUER = "https://identity.test";
export const TEST_AUDIENCE = "postern-test";

export interface UserClaims {
  /** Default "alice". */
  sub?: string;
  /** Default all user scopes. */
  scopes?: readonly string[];
  /** Seconds from now; negative for a token that has run out. Default 600. */
  expiresIn?: number;
  issuer?: string;
  audience?: string;
  /** Default none: valid at once. Seconds from now. */
  notBefore?: number;
}

export interface IdentityProvider {
  /** For POSTERN_JWKS_URL. */
  jwksUrl: URL;
  userToken(claims?: UserClaims): Promise<string>;
  /** Signs with a new key from now on; the JWKS file has it, and the former ones unless `forget`. */
  rotate(options?: { forget?: boolean; publish?: boolean }): Promise<void>;
}

/** Makes a provider whose JWKS file lies in `directory`. */
export async function createIdentityProvider(
  directory: string,
  { kids = true }: { kids?: boolean } = {},
): Promise<IdentityProvider> {
  const file = join(directory, "jwks.json");
  let published: JWK[] = [];
  let signing: { key: KeyObject; kid: string | undefined };
  let count = 0;

  async function rotate({ forget = false, publish = true } = {}): Promise<void> {
    const { privateKey, publicKey } = generateKeyPairSync("ed25519");
    const kid = kids ? `key-${++count}` : undefined;
    signing = { key: privateKey, kid };
    const jwk = { ...(await exportJWK(publicKey)), alg: "EdDSA", use: "sig", ...(kid ? { kid } : {}) };
    if (!publish) return;
    published = forget ? [jwk] : [...published, jwk];
    await writeFile(file, JSON.stringify({ keys: published }));
  }

  await rotate();
  return {
    jwksUrl: pathToFileURL(file),
    rotate,
    userToken({
      sub = "alice",
      scopes = ["read", "write", "run", "admin"],
      expiresIn = 600,
      issuer = TEST_ISSUER,
      audience = TEST_AUDIENCE,
      notBefore,
    } = {}) {
      const now = Math.floor(Date.now() / 1_000);
      const token = new SignJWT({ scope: scopes.join(" ") })
        .setProtectedHeader({ alg: "EdDSA", ...(signing.kid ? { kid: signing.kid } : {}) })
        .setSubject(sub)
        .setIssuer(issuer)
        .setAudience(audience)
        .setIssuedAt(now + Math.min(0, expiresIn - 60))
        .setExpirationTime(now + expiresIn);
      if (notBefore !== undefined) token.setNotBefore(now + notBefore);
      return token.sign(signing.key);
    },
  };
}

/** Writes a new private key (PKCS8 PEM, owner only) and returns its path. */
export async function writePrivateKey(
  directory: string,
  { name = "execution-key.pem", kind = "ed25519" as "ed25519" | "p256" | "rsa", mode = 0o600 } = {},
): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, newPrivateKey(kind).export({ type: "pkcs8", format: "pem" }), { mode });
  return path;
}

function newPrivateKey(kind: "ed25519" | "p256" | "rsa"): KeyObject {
  if (kind === "ed25519") return generateKeyPairSync("ed25519").privateKey;
  if (kind === "p256") return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  return generateKeyPairSync("rsa", { modulusLength: 2_048 }).privateKey;
}
