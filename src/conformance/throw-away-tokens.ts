// Tokens for one scenario, signed by a key that nobody keeps. They are real JWTs, because executors read their times.
import { generateKeyPair, SignJWT } from "jose";
import { AppError } from "../core/app-error.js";

export interface ThrowAwayTokens {
  /** A fresh one, different from all others. */
  mint(of: "serve" | "execution", seconds?: number): Promise<{ token: string; expiresAt: Date }>;
  /** Why this token is not accepted; undefined when it is. Times are not looked at: scenarios say when one has run out. */
  refusalOf(token: string, of: "serve" | "execution"): AppError | undefined;
}

const LIFE_SECONDS = 600;

export async function throwAwayTokens(): Promise<ThrowAwayTokens> {
  const { privateKey } = await generateKeyPair("EdDSA", { crv: "Ed25519" });
  const minted = new Map<string, string>();
  return {
    async mint(of, seconds = LIFE_SECONDS) {
      const now = Math.floor(Date.now() / 1_000);
      const expiresAt = new Date((now + seconds) * 1_000);
      const token = await new SignJWT({ scope: of })
        .setProtectedHeader({ alg: "EdDSA", typ: "JWT" })
        .setJti(String(minted.size + 1))
        .setIssuer("postern")
        .setAudience("postern-executor")
        .setIssuedAt(now)
        .setExpirationTime(now + seconds)
        .sign(privateKey);
      minted.set(token, of);
      return { token, expiresAt };
    },
    refusalOf(token, of) {
      if (minted.get(token) === of) return undefined;
      return new AppError("unauthenticated", "TOKEN_INVALID", `This is not the ${of} token the executor was given.`);
    },
  };
}
