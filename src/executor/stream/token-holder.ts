// The token in use: in memory only, replaced when the server grants a fresh one.
import { decodeJwt } from "jose";

export interface TokenHolder {
  current(): string;
  replace(token: string): void;
  /** When to ask for a fresh one, in milliseconds since the epoch: after two thirds of its life. */
  refreshAt(): number;
}

/** Share of a token's life after which a fresh one is asked for. */
const REFRESH_AFTER = 2 / 3;

/** Holds `first` until it is replaced. Its signature is the server's business; only its times are read here. */
export function tokenHolder(first: string): TokenHolder {
  let token = first;
  return {
    current: () => token,
    replace: (next) => {
      token = next;
    },
    refreshAt: () => refreshAt(token),
  };
}

function refreshAt(token: string): number {
  const { iat, exp } = claimsOf(token);
  if (exp === undefined) return Number.POSITIVE_INFINITY;
  if (iat === undefined) return exp * 1000 - 60_000;
  return (iat + (exp - iat) * REFRESH_AFTER) * 1000;
}

/** When a token runs out, in milliseconds since the epoch. */
export const expiresAt = (token: string): number => (claimsOf(token).exp ?? Number.POSITIVE_INFINITY) * 1000;

/** Nothing for a text that is no token: the server says so, in its own words. */
function claimsOf(token: string): { iat?: number; exp?: number } {
  try {
    return decodeJwt(token);
  } catch {
    return {};
  }
}
