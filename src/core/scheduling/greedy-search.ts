// Two greedy searches. They give the exact one something to undercut, and they are a mode of their own, to compare with.
import { separateRemedies } from "./closed-walks.js";
import type { Effort, Found } from "./exact-search.js";
import { type Bundle, keptTogether, type Part } from "./part.js";
import type { Purse } from "./purse.js";
import { createRegionMerger } from "./region-merger.js";
import { settle } from "./settle.js";

const CUT_AT_ONCE = 6;

/** Starts with nothing more cut and, as long as there are closed walks, cuts the cheapest remedy of a few of them. */
export function cutBottomUp(part: Part, purse: Purse, effort: Effort): Found | undefined {
  const open = [part];
  const cuts: Bundle[] = [];
  let cost = 0;
  for (let next = open.pop(); next; next = open.pop()) {
    effort.count();
    const settled = settle(next, purse);
    if (!settled) throw new Error("A part in which everything may be cut has a schedule.");
    cost += settled.cost;
    cuts.push(...settled.cuts);
    for (const rest of settled.open) {
      const cut = Uint8Array.from(rest.cut);
      for (const [remedy] of separateRemedies(rest, purse, CUT_AT_ONCE)) {
        const bundle = rest.bundles[remedy!]!;
        cost += purse.pay(bundle);
        cuts.push(bundle);
        cut[remedy!] = 1;
      }
      open.push({ ...rest, cut });
    }
    if (effort.spent()) break;
  }
  purse.refund(cuts);
  return open.length === 0 ? { cost, cuts } : undefined;
}

/** Starts with everything cut and, as long as two regions may be made one, does so where it saves most. */
export function cutTopDown(part: Part, purse: Purse, effort: Effort): Found {
  const { bundles, from, to, cut } = part;
  const merger = createRegionMerger(part);
  const slowest = Float64Array.from(part.prices);
  const users = new Int32Array(purse.things);
  const cuts = new Set<number>();
  for (let b = 0; b < bundles.length; b++) {
    if (cut[b]) continue;
    cuts.add(b);
    for (const thing of bundles[b]!.uses) users[thing] = users[thing]! + 1;
  }
  /** What the things cost that nobody uses any more once these bundles are kept. */
  const saved = (between: readonly number[]): number => {
    let saving = 0;
    for (const b of between) for (const thing of bundles[b]!.uses) users[thing] = users[thing]! - 1;
    for (const b of between)
      for (const thing of bundles[b]!.uses) {
        if (users[thing] === 0) saving += purse.unpaid(thing);
        users[thing] = users[thing]! + 1;
      }
    return saving;
  };
  // What stands between two regions stays there until one of them grows.
  const grownAt = new Int32Array(slowest.length);
  const refusedAt = new Int32Array(bundles.length).fill(-1);
  for (let round = 1; !effort.spent(); round++) {
    effort.count();
    let best: { upper: number; lower: number; between: number[]; saving: number } | undefined;
    for (const b of cuts) {
      const [upper, lower] = [merger.regionOf(from[b]!), merger.regionOf(to[b]!)];
      if (refusedAt[b]! >= Math.max(grownAt[upper]!, grownAt[lower]!)) continue;
      const between = merger.mergeable(upper, lower);
      if (!between) refusedAt[b] = round;
      if (between?.[0] !== b) continue;
      const saving = saved(between) + Math.min(slowest[upper]!, slowest[lower]!);
      if (!best || saving > best.saving) best = { upper, lower, between, saving };
    }
    if (!best) break;
    for (const b of best.between) {
      cuts.delete(b);
      for (const thing of bundles[b]!.uses) users[thing] = users[thing]! - 1;
    }
    const together = Math.max(slowest[best.upper]!, slowest[best.lower]!);
    const root = merger.merge(best.upper, best.lower);
    slowest[best.upper] = slowest[best.lower] = 0;
    slowest[root] = together;
    grownAt[root] = round + 1;
  }
  let cost = 0;
  for (const price of slowest) cost += price;
  for (let thing = 0; thing < users.length; thing++) if (users[thing]! > 0) cost += purse.unpaid(thing);
  return { cost, cuts: [...cuts].map((b) => bundles[b]!) };
}

/** A schedulable cut of the part without what it does not need. */
export function trimmed(part: Part, { cuts }: Found, purse: Purse, effort: Effort): Found {
  const links = new Set(cuts.flatMap((bundle) => bundle.links));
  const kept = [...part.bundles.keys()].filter((b) => !part.cut[b] && !links.has(part.bundles[b]!.links[0]!));
  const regions = keptTogether(part, kept);
  if (!regions) throw new Error("A schedulable cut has no cut link inside a region.");
  return cutTopDown(regions, purse, effort);
}
