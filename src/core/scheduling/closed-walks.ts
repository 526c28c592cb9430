// What is wrong with a part, as closed walks: a cut link, and a way back from its end to its start that follows links
// forwards and free links backwards as well.
//
// W1  A cut is schedulable exactly when no closed walk goes forwards along a cut link: such a walk is a cycle of
//     regions, and a cycle of regions is such a walk. In other words, every simple cycle of the undirected plan is left
//     whole or is cut in both of its directions. Sufficient and necessary: the shortest way back together with the cut
//     link is a simple cycle whose cut links all point one way; and a cycle with cut links in one direction only is
//     such a walk.
// W2  So whatever is cut in addition, one of the free links followed backwards must be: its *remedies*. If there are
//     none, no cut fits.
// W3  The bound adds up walks. Each asks of its remedies, per thing they use, a share of its price, so that every
//     remedy gives what the walk is counted for; no thing gives more than its price over all walks. Whatever is cut
//     holds a remedy of each walk, and so costs at least the sum.
// W4  Where seconds count, the regions themselves have a least price as well (regions-bound.ts), and the two add up:
//     things and operators are priced apart.
import type { Part } from "./part.js";
import type { Purse } from "./purse.js";
import { regionsAtLeast } from "./regions-bound.js";
import { createWalker } from "./walker.js";

export interface Bound {
  /** No way to finish the part costs less. */
  atLeast: number;
  /** The remedies of a short walk, cheapest first: one of these must be cut. Empty when the bound was not added up. */
  remedies: number[];
}

/**
 * For a settled part, where each cut link is on a closed walk and every walk has remedies. Adds up to `enough`, and no
 * further once the effort is `spent`.
 */
export function boundOf(part: Part, purse: Purse, enough: number, spent: () => boolean): Bound {
  let atLeast = regionsAtLeast(part);
  if (atLeast >= enough) return { atLeast, remedies: [] };
  const left = priceLeft(part, purse);
  const walker = createWalker(part);
  let shortest: number[] | undefined;
  for (let offenders = walker.offenders(left.of); offenders.length > 0; offenders = walker.offenders(left.of)) {
    for (const offender of offenders)
      for (let walk = walker.shortest(offender, left.of); walk; walk = walker.shortest(offender, left.of)) {
        atLeast += left.collect(walk);
        if (atLeast >= enough || spent()) return { atLeast, remedies: [] };
        if (!shortest || walk.length < shortest.length) shortest = walk;
      }
  }
  // Where all walks have a remedy that costs nothing, none was added up.
  return { atLeast, remedies: shortest ? cheapestFirst(part, purse, shortest) : separateRemedies(part, purse, 1)[0]! };
}

/**
 * The remedies of up to `most` walks, those of each cheapest first. No remedy is of two of them, so each walk needs a cut
 * of its own.
 */
export function separateRemedies(part: Part, purse: Purse, most: number): number[][] {
  const walker = createWalker(part);
  const used = new Uint8Array(part.bundles.length);
  const found: number[][] = [];
  for (const offender of walker.offenders()) {
    const walk = walker.shortest(offender, (bundle) => 1 - used[bundle]!);
    if (!walk) continue;
    for (const bundle of walk) used[bundle] = 1;
    found.push(cheapestFirst(part, purse, walk));
    if (found.length === most) break;
  }
  return found;
}

function cheapestFirst(part: Part, purse: Purse, remedies: readonly number[]): number[] {
  return remedies
    .map((remedy) => ({ remedy, price: purse.priceOf(part.bundles[remedy]!) }))
    .sort((a, b) => a.price - b.price || a.remedy - b.remedy)
    .map(({ remedy }) => remedy);
}

/** W3: what is left of the prices of things. */
function priceLeft(part: Part, purse: Purse) {
  const { scratch: left } = purse;
  for (const { uses } of part.bundles) for (const thing of uses) left[thing] = purse.unpaid(thing);
  const leftOf = (bundle: number): number => {
    let price = 0;
    for (const thing of part.bundles[bundle]!.uses) price += left[thing]!;
    return price;
  };
  return {
    /** What the things of a bundle can still give. */
    of: leftOf,
    /** Takes what a walk is counted for, and tells how much that is. */
    collect(remedies: readonly number[]): number {
      let counted = Number.POSITIVE_INFINITY;
      for (const b of remedies) counted = Math.min(counted, leftOf(b));
      const given = new Map<number, number>();
      for (const b of remedies) {
        let lacking = counted;
        const { uses } = part.bundles[b]!;
        for (const thing of uses) lacking -= given.get(thing) ?? 0;
        for (const thing of uses) {
          if (lacking <= 0) break;
          const share = Math.min(lacking, left[thing]!);
          if (share === 0) continue;
          left[thing] = left[thing]! - share;
          given.set(thing, (given.get(thing) ?? 0) + share);
          lacking -= share;
        }
      }
      return counted;
    },
  };
}
