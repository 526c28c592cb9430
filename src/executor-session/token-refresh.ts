// Asks for a fresh token on a stream when the one in use has lived two thirds of its life, and again until one comes.
import type { TokenHolder } from "./token-holder.js";

export interface TokenRefresh {
  /** Begins; called again when the token has changed. */
  start(): void;
  stop(): void;
}

/** Timers of Node take no more. */
const LONGEST_MS = 2 ** 31 - 1;

export function tokenRefresh(deps: { token: TokenHolder; now: () => number; ask(): void }): TokenRefresh {
  const { token, now, ask } = deps;
  let timer: NodeJS.Timeout | undefined;
  const wait = (ms: number) => {
    clearTimeout(timer);
    timer = setTimeout(due, Math.min(ms, LONGEST_MS)).unref();
  };
  function due(): void {
    const early = token.refreshAt() - now();
    if (early <= 0) ask();
    wait(early > 0 ? early : token.askAgainMs());
  }
  return { start: () => wait(Math.max(0, token.refreshAt() - now())), stop: () => clearTimeout(timer) };
}
