// How long to wait before trying again.

export interface BackoffOptions {
  /** The longest first pause. Default 100 ms. */
  firstMs?: number;
  /** No pause is longer. Default 10 s. */
  maxMs?: number;
  /** From 0 to below 1. */
  random?: () => number;
}

/** The pause after `failures` failures before this one: doubling, and spread over its upper half so that many do not return at once. */
export function jitteredDelayMs(
  failures: number,
  { firstMs = 100, maxMs = 10_000, random = Math.random }: BackoffOptions = {},
): number {
  const ceilingMs = Math.min(maxMs, firstMs * 2 ** Math.min(failures, 30));
  return ceilingMs / 2 + (random() * ceilingMs) / 2;
}

export interface Backoff {
  /** The next pause, given how long the try that just ended had been up (0 when it never was). */
  nextDelayMs(upForMs: number): number;
}

/** Counts failures; only a stretch of `stableMs` (default 10 s) makes them forgotten, not a mere success to connect. */
export function createBackoff({ stableMs = 10_000, ...options }: BackoffOptions & { stableMs?: number } = {}): Backoff {
  let failures = 0;
  return {
    nextDelayMs(upForMs) {
      if (upForMs >= stableMs) failures = 0;
      return jitteredDelayMs(failures++, options);
    },
  };
}
