// Work that is done again and again for as long as a program lives: reapers, dispatchers, listeners.
import { setTimeout as delay } from "node:timers/promises";
import { type BackoffOptions, createBackoff } from "./backoff.js";
import type { Logger } from "./log.js";

interface Deps extends BackoffOptions {
  /** What the log calls it, as in "expiring leases". */
  name: string;
  log: Logger;
  /** Ends it: the pause at once, a step when the step itself watches the signal. */
  signal: AbortSignal;
  /** Pause after a step that went well. Default none. */
  everyMs?: number;
}

/** From this many failures in a row the log says error, before that warning. */
const failuresBeforeError = 5;

/**
 * Runs `step` until the signal aborts; a step that fails is tried again after a pause, which grows until one goes well.
 * Resolves once the last step has ended, and never rejects.
 */
export async function keepRunning(
  { name, log, signal, everyMs = 0, ...options }: Deps,
  step: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  let backoff = createBackoff(options);
  let failures = 0;
  while (!signal.aborted) {
    const startedAt = performance.now();
    let pauseMs = everyMs;
    try {
      await step(signal);
      if (failures > 0) {
        log.info({ failures }, `${name}: works again`);
        failures = 0;
        backoff = createBackoff(options);
      }
    } catch (error) {
      if (signal.aborted) return;
      failures++;
      pauseMs = backoff.nextDelayMs(performance.now() - startedAt);
      const level = failures >= failuresBeforeError ? "error" : "warn";
      log[level]({ err: error, failures, pauseMs: Math.round(pauseMs) }, `${name}: failed, will be tried again`);
    }
    await delay(pauseMs, undefined, { signal }).catch(() => {}); // the signal ends the loop
  }
}
