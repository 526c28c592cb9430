// The token in use: in memory only, replaced when the server grants a fresh one.
import { decodeJwt } from "jose";

export interface TokenHolder {
  current(): string;
  replace(token: string): void;
  /** When to ask for a fresh one, in milliseconds since the epoch: after two thirds of its life. */
  refreshAt(): number;
  /** When it runs out, in milliseconds since the epoch; infinite when it does not tell. */
  expiresAt(): number;
  /** How long to wait for an answer before asking again, in milliseconds: several times within what is left. */
  askAgainMs(): number;
}

/** Share of a token's life after which a fresh one is asked for. */
const REFRESH_AFTER = 2 / 3;
const ASK_AGAIN_MS = { least: 100, most: 10_000, share: 1 / 10 };

/** Holds `first` until it is replaced. Its signature is the server's business; only its times are read here. */
export function tokenHolder(first: string, now: () => number = Date.now): TokenHolder {
  let token = first;
  let receivedAt = now();
  const life = () => {
    const { iat, exp } = claimsOf(token);
    return exp === undefined ? undefined : { until: exp * 1000, ms: (exp - (iat ?? exp - 180)) * 1000 };
  };
  return {
    current: () => token,
    replace(next) {
      token = next;
      receivedAt = now();
    },
    refreshAt() {
      const known = life();
      if (!known) return Number.POSITIVE_INFINITY;
      // By the token's own times, or by ours since it came, whichever is sooner: the two clocks may differ.
      const left = known.ms * (1 - REFRESH_AFTER);
      return Math.min(known.until - left, receivedAt + known.ms - left);
    },
    expiresAt: () => life()?.until ?? Number.POSITIVE_INFINITY,
    askAgainMs: () => Math.min(ASK_AGAIN_MS.most, Math.max(ASK_AGAIN_MS.least, (life()?.ms ?? 0) * ASK_AGAIN_MS.share)),
  };
}

/** When a token runs out, in milliseconds since the epoch; infinite when it does not tell. */
export const expiresAt = (token: string): number => tokenHolder(token).expiresAt();

/** Nothing for a text that is no token: the server says so, in its own words. */
function claimsOf(token: string): { iat?: number; exp?: number } {
  try {
    return decodeJwt(token);
  } catch {
    return {};
  }
}
