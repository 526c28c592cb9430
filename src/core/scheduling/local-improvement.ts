// A good cut made better, for parts too large to be searched whole: everything stays as it is but the links around one
// node, and these are searched exactly. Where that found something, it pays to look again; where nothing did, larger
// surroundings are next.
import { type Effort, type Found, searchPart } from "./exact-search.js";
import { type Adjacency, adjacency, type Bundle, keptTogether, type Part } from "./part.js";
import type { Purse } from "./purse.js";

export interface Improvement {
  best: Found;
  /** Nodes of the surroundings in which something better was found; looking around these again may pay. */
  touched: Set<number>;
}

/** How often a node may be within earlier surroundings and still be given its own. */
const OFTEN = 2;

/** Looks once around nodes, at about `links` free links each. */
export function improve(
  part: Part,
  { best, touched: around }: Improvement,
  purse: Purse,
  links: number,
  effort: Effort,
  slice: () => Effort,
): Improvement {
  const size = part.prices.length;
  const adjacent = [adjacency(part.from, size), adjacency(part.to, size)];
  const seen = new Uint8Array(size);
  const touched = new Set<number>();
  let found = best;
  for (const centre of around) {
    if (effort.spent()) break;
    if (seen[centre]! >= OFTEN) continue;
    const window = linksAround(part, adjacent, centre, links);
    for (const node of window.nodes) seen[node] = seen[node]! + 1;
    const better = searchWindow(part, found, window.links, purse, slice());
    if (!better) continue;
    found = better;
    for (const node of window.nodes) touched.add(node);
  }
  return { best: found, touched };
}

function searchWindow(part: Part, best: Found, window: ReadonlySet<number>, purse: Purse, effort: Effort) {
  const links = new Set(best.cuts.flatMap((bundle) => bundle.links));
  const cut = Uint8Array.from(part.cut);
  const kept: number[] = [];
  const fixed: Bundle[] = [];
  for (const [b, bundle] of part.bundles.entries()) {
    if (part.cut[b] || window.has(b)) continue;
    if (!links.has(bundle.links[0]!)) kept.push(b);
    else {
      cut[b] = 1;
      fixed.push(bundle);
    }
  }
  const child = keptTogether({ ...part, cut }, kept);
  if (!child) throw new Error("A schedulable cut has no cut link inside a region.");
  let cost = 0;
  for (const bundle of fixed) cost += purse.pay(bundle);
  const found = searchPart(child, purse, best.cost - cost, effort);
  purse.refund(fixed);
  return found && { cost: cost + found.cost, cuts: [...fixed, ...found.cuts] };
}

/** The free bundles nearest to a node, and the nodes all of whose bundles are among them. */
function linksAround(part: Part, adjacent: readonly Adjacency[], centre: number, most: number) {
  const reached = [centre];
  const seen = new Set(reached);
  const links = new Set<number>();
  const nodes: number[] = [];
  for (const node of reached) {
    nodes.push(node);
    for (const { start, list } of adjacent)
      for (let i = start[node]!; i < start[node + 1]!; i++) {
        const b = list[i]!;
        if (!part.cut[b]) links.add(b);
        for (const next of [part.from[b]!, part.to[b]!]) {
          if (seen.has(next)) continue;
          seen.add(next);
          reached.push(next);
        }
      }
    if (links.size >= most) break;
  }
  return { links, nodes };
}
