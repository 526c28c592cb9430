// What executors went through, second by second, so that a lost attempt can be told from a wasted one: an attempt is
// wasted when it was lost although its executor was alive and could reach a replica all the time.
import type { Journal } from "./journal.js";

export interface ExecutorCondition {
  executorId: string;
  pid: number | undefined;
  frozen: boolean;
  /** True when every way to a server is shut, and at least one of them by the network. */
  unreachable: boolean;
}

export interface Hardship {
  /** Takes note of how an executor is now; called every few milliseconds. */
  note(condition: ExecutorCondition): void;
  /** True when the attempt's process was alive, awake and could reach a replica for the lease before `lostAt`. */
  wasted(begun: Journal["begun"], lostAt: number): boolean;
}

interface Spell {
  from: number;
  to: number;
}

export function createHardship(leaseMs: number, now: () => number = Date.now): Hardship {
  const lastSeen = new Map<string, number>();
  const spells = new Map<string, Spell[]>();
  let notedAt = now();

  function extend(executorId: string): void {
    const known = spells.get(executorId) ?? [];
    spells.set(executorId, known);
    const last = known.at(-1);
    // Notes come every few milliseconds; a busy machine may make it many.
    if (last && now() - last.to < leaseMs / 4) last.to = now();
    else known.push({ from: notedAt, to: now() });
  }

  return {
    note({ executorId, pid, frozen, unreachable }) {
      if (pid !== undefined) lastSeen.set(`${executorId}/${pid}`, now());
      if (frozen || unreachable) extend(executorId);
      notedAt = now();
    },
    wasted({ executorId, pid }, lostAt) {
      const seen = lastSeen.get(`${executorId}/${pid}`);
      // Its process was no more.
      if (seen === undefined || seen < lostAt - 50) return false;
      // An executor that hears nothing gives its stream up after half a lease and has the other half to come back.
      const since = lostAt - 2 * leaseMs;
      const hard = (spells.get(executorId) ?? []).filter((spell) => spell.to > since && spell.from < lostAt);
      return hard.reduce((sum, { from, to }) => sum + to - from, 0) < leaseMs / 2;
    },
  };
}
