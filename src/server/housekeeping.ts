// What any replica does from time to time, in small batches: lost leases, old replies, uploads nobody finished.
import { fileURLToPath } from "node:url";
import { keepRunning } from "../process/keep-running.js";
import type { Logger } from "../process/log.js";
import { removeAbandonedUploads } from "./datasets/dataset-files.js";
import { expireLeases, type LostLeaseDeps } from "./executions/lost-leases.js";
import { deleteOldReplies } from "./request-replies.js";

interface Deps extends LostLeaseDeps {
  /** How often leases are looked at. */
  everyMs: number;
  resultRoot: string;
  log: Logger;
}

const HOUR_MS = 60 * 60 * 1_000;

/** Works until the signal aborts. */
export async function keepHouse(deps: Deps, signal: AbortSignal): Promise<void> {
  const { everyMs, log, db, now, resultRoot } = deps;
  const expiring = keepRunning({ name: "expiring leases", log, signal, everyMs }, async () => {
    await expireLeases(deps, log);
    await deleteOldReplies(db, { now: now() });
  });
  const uploads = fileURLToPath(`${resultRoot}/datasets`);
  const sweeping = keepRunning({ name: "removing abandoned uploads", log, signal, everyMs: HOUR_MS }, async () => {
    const removed = await removeAbandonedUploads(uploads, now());
    if (removed > 0) log.info({ removed }, "removed uploads nobody finished");
  });
  await Promise.all([expiring, sweeping]);
}
