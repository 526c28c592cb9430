// Forgetting cache entries that a project's policy does not keep: unused for too long, or beyond the quota.
//
// Any replica does it, in batches; replicas keep out of each other's way by row and advisory locks. Adding up a project's
// results reads all of its entries, so that is done when the quota is another or entries were stored or used since, and
// for each project at most every LOOK_EVERY_MS, and for a tenth of the time.
import type { Logger } from "../../process/log.js";
import type { Database } from "../database/database.js";
import {
  deleteUnusedEntries,
  evictBeyondQuota,
  type LimitedProject,
  projectsWithQuota,
} from "../repositories/cache-policy.js";

interface Deps {
  db: Database;
  log: Logger;
  /** Milliseconds, never going back. */
  clock: () => number;
  lookEveryMs?: number;
  batch?: number;
}

const LOOK_EVERY_MS = 30_000;
const BATCH = 10_000;

/** What a project was when its results were last added up here. */
interface LookedAt {
  nextAt: number;
  quotaBytes: bigint;
  lastUsedAt: number;
}

export interface CacheKeeper {
  /** Forgets entries unused for their project's TTL. */
  expire(): Promise<void>;
  /** Brings projects back within their quotas. */
  evict(): Promise<void>;
}

export function createCacheKeeper({ db, log, clock, lookEveryMs = LOOK_EVERY_MS, batch = BATCH }: Deps): CacheKeeper {
  let lookedAt = new Map<string, LookedAt>();

  const isDue = ({ projectId, quotaBytes, lastUsedAt }: LimitedProject): boolean => {
    const before = lookedAt.get(projectId);
    if (!before || before.quotaBytes !== quotaBytes) return true;
    return before.lastUsedAt !== lastUsedAt.getTime() && clock() >= before.nextAt;
  };

  /** False when another replica is at it. */
  async function evictFrom({ projectId }: LimitedProject): Promise<boolean> {
    for (;;) {
      const evicted = await evictBeyondQuota(db, { projectId, limit: batch });
      if (evicted === undefined) return false;
      if (evicted > 0) log.info({ projectId, evicted }, "evicted cache entries beyond the quota");
      if (evicted < batch) return true;
    }
  }

  return {
    async expire() {
      for (;;) {
        const expired = await deleteUnusedEntries(db, batch);
        if (expired > 0) log.info({ expired }, "forgot cache entries nobody used");
        if (expired < batch) return;
      }
    },

    async evict() {
      const limited = await projectsWithQuota(db);
      const present = new Set(limited.map(({ projectId }) => projectId));
      lookedAt = new Map([...lookedAt].filter(([projectId]) => present.has(projectId)));
      for (const project of limited) {
        if (!isDue(project)) continue;
        const startedAt = clock();
        if (!(await evictFrom(project))) continue;
        const { projectId, quotaBytes, lastUsedAt } = project;
        const nextAt = startedAt + Math.max(lookEveryMs, 10 * (clock() - startedAt));
        lookedAt.set(projectId, { nextAt, quotaBytes, lastUsedAt: lastUsedAt.getTime() });
      }
    },
  };
}
