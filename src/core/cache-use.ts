// How an execution uses the cache, operator by operator.
import { operatorKey, type PhysicalPlan } from "./plan.js";

export const CACHE_MODES = ["USE", "REFRESH", "SKIP", "READ_ONLY"] as const;
/**
 * USE: reuse what is there, remember what is new. REFRESH: compute anew and replace what is there. SKIP: neither look nor
 * remember. READ_ONLY: reuse what is there, remember nothing.
 */
export type CacheMode = (typeof CACHE_MODES)[number];

export interface CacheUse {
  mode: CacheMode;
  /** Those that differ, by operator id. */
  operators: Record<string, CacheMode>;
}

/** What an execution does that says nothing of the cache. */
export const PLAIN_CACHE_USE: CacheUse = { mode: "USE", operators: {} };

export const mayReuse = (mode: CacheMode): boolean => mode === "USE" || mode === "READ_ONLY";
export const mayRemember = (mode: CacheMode): boolean => mode === "USE" || mode === "REFRESH";

/**
 * The mode of every operator, by operator key. What is downstream of a refreshed operator is of its new rows: it is
 * computed anew as well, and never replaced by what was computed from the old ones. Operators come each after what it
 * reads.
 */
export function cacheModes(
  { operators, links }: Pick<PhysicalPlan, "operators" | "links">,
  use: CacheUse,
): Map<string, CacheMode> {
  const readers = new Map<string, string[]>();
  for (const { from, to } of links) {
    const source = operatorKey(from);
    const known = readers.get(source);
    if (known) known.push(operatorKey(to));
    else readers.set(source, [operatorKey(to)]);
  }
  const anew = new Set<string>();
  const modes = new Map<string, CacheMode>();
  for (const operator of operators) {
    const key = operatorKey(operator);
    const own = Object.hasOwn(use.operators, operator.operatorId) ? use.operators[operator.operatorId]! : use.mode;
    if (own === "REFRESH") anew.add(key);
    if (anew.has(key)) for (const reader of readers.get(key) ?? []) anew.add(reader);
    modes.set(key, anew.has(key) ? (mayRemember(own) ? "REFRESH" : "SKIP") : own);
  }
  return modes;
}
