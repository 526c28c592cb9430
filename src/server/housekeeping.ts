// What any replica does from time to time, in small batches: lost leases, executions that do not stop, old replies,
// uploads nobody finished, objects nothing names, cache entries beyond their policy. Each goes its own way, so that one that is slow or fails keeps no other waiting.
import { fileURLToPath } from "node:url";
import { keepRunning } from "../process/keep-running.js";
import type { Logger } from "../process/log.js";
import { createCacheKeeper } from "./cache/cache-keeper.js";
import { removeAbandonedUploads } from "./datasets/dataset-files.js";
import { escalateCancels } from "./executions/cancel-execution.js";
import { expireLeases, type LeaseTimes, type LostLeaseDeps } from "./executions/lost-leases.js";
import { deleteOldReplies } from "./request-replies.js";
import { removeObject } from "./storage/object-removal.js";
import { createSweeper, SWEEP_BATCH } from "./storage/sweep.js";

interface Deps extends LostLeaseDeps, Omit<LeaseTimes, "everyMs"> {
  /** How long an executor may take to end after each order to stop. */
  cancelGraceMs: number;
  resultRoot: string;
  /** How long a stored object stays after the last name it lost. */
  sweepGraceMs: number;
  log: Logger;
}

const REPLIES_EVERY_MS = 2_000;
const SWEEP_EVERY_MS = 10_000;
const CACHE_EVERY_MS = 10_000;
const HOUR_MS = 60 * 60 * 1_000;
/** However short the times are that are looked after. */
const SOONEST_MS = 50;
/** After a failure, however many there were. */
const LONGEST_PAUSE_MS = 1_000;

/** Works until the signal aborts. */
export async function keepHouse(deps: Deps, signal: AbortSignal): Promise<void> {
  const { log, db, now, resultRoot, leaseMs, attachWithinMs, cancelGraceMs, sweepGraceMs } = deps;
  const leases = { ...deps, everyMs: Math.max(SOONEST_MS, Math.min(leaseMs / 9, attachWithinMs / 3)) };
  const stopsEveryMs = Math.min(1_000, cancelGraceMs / 3);
  const uploads = fileURLToPath(`${resultRoot}/datasets`);
  const sweep = createSweeper({ db, log, graceMs: sweepGraceMs, removeObject: (one) => removeObject(resultRoot, one) });
  const cache = createCacheKeeper({ db, log, clock: () => performance.now() });
  const again = (name: string, everyMs: number, step: () => Promise<unknown>) =>
    keepRunning({ name, log, signal, everyMs, maxMs: LONGEST_PAUSE_MS }, async () => void (await step()));
  await Promise.all([
    again("expiring leases", leases.everyMs, () => expireLeases(leases, log)),
    again("stopping what was cancelled", stopsEveryMs, () => escalateCancels(deps, log)),
    again("deleting old replies", REPLIES_EVERY_MS, () => deleteOldReplies(db, { now: now() })),
    again("sweeping stored objects", Math.max(SOONEST_MS, Math.min(SWEEP_EVERY_MS, sweepGraceMs)), async () => {
      while ((await sweep()) >= SWEEP_BATCH && !signal.aborted);
    }),
    again("forgetting unused cache entries", CACHE_EVERY_MS, cache.expire),
    again("keeping caches within their quotas", CACHE_EVERY_MS, cache.evict),
    again("removing abandoned uploads", HOUR_MS, async () => {
      const removed = await removeAbandonedUploads(uploads, now());
      if (removed > 0) log.info({ removed }, "removed uploads nobody finished");
    }),
  ]);
}
