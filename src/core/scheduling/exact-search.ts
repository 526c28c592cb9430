// The cheapest way to cut a part, by branch and bound.
//
// X1  A part without closed walks is done: by monotony (C2) nothing more is cut. Otherwise a remedy of one walk must be
//     (W2): the first, or the second with the first kept for good, and so on. The branches share no cut, and together
//     they leave none out. What is kept for good becomes one node; supersets of a schedulable cut are never looked at.
// X2  A branch whose bound reaches the best cost so far is given up: only cheaper ones are looked for.
// X3  Separate parts are searched one by one, each within what the bounds of the others leave.
// X4  When the effort is spent, the best cut so far is returned, if there is one; `spent()` tells it from an optimum.
import { type Bound, boundOf } from "./closed-walks.js";
import { type Bundle, keptTogether, type Part, withCut } from "./part.js";
import type { Purse } from "./purse.js";
import { settle } from "./settle.js";

export interface Found {
  cost: number;
  /** Bundles cut beyond those that were cut in the part. */
  cuts: Bundle[];
}

/** How much a search may do. */
export interface Effort {
  /** Counts one state looked at. */
  count(): void;
  /** True when the search shall come back. */
  spent(): boolean;
}

/** The cheapest cut of any part below `limit`; undefined when there is none, or none was found in time. */
export function searchPart(part: Part, purse: Purse, limit: number, effort: Effort): Found | undefined {
  effort.count();
  const settled = settle(part, purse);
  if (!settled) return undefined;
  const { cost, cuts, open } = settled;
  const found = searchOpen(open, purse, limit - cost, effort);
  purse.refund(cuts);
  return found && { cost: cost + found.cost, cuts: [...cuts, ...found.cuts] };
}

/** X3: settled parts that share nothing. */
function searchOpen(open: readonly Part[], purse: Purse, limit: number, effort: Effort): Found | undefined {
  const bounds: Bound[] = [];
  let cost = 0;
  for (const part of open) {
    const bound = boundOf(part, purse, limit - cost, effort.spent);
    bounds.push(bound);
    cost += bound.atLeast;
    if (cost >= limit) return undefined;
  }
  if (cost >= limit) return undefined;
  const cuts: Bundle[] = [];
  for (const [n, part] of open.entries()) {
    const { atLeast } = bounds[n]!;
    const found = branch(part, bounds[n]!, purse, limit - cost + atLeast, effort);
    if (!found) return undefined;
    cost += found.cost - atLeast;
    cuts.push(...found.cuts);
  }
  return { cost, cuts };
}

/** X1. */
function branch(
  part: Part,
  { atLeast, remedies }: Bound,
  purse: Purse,
  limit: number,
  effort: Effort,
): Found | undefined {
  let best: Found | undefined;
  for (const [n, remedy] of remedies.entries()) {
    const child = keptTogether(withCut(part, remedy), remedies.slice(0, n));
    if (child) {
      const bundle = part.bundles[remedy]!;
      const price = purse.pay(bundle);
      const found = searchPart(child, purse, (best?.cost ?? limit) - price, effort);
      purse.refund([bundle]);
      if (found) best = { cost: price + found.cost, cuts: [bundle, ...found.cuts] };
    }
    if (effort.spent() || (best && best.cost <= atLeast)) break;
  }
  return best;
}
