// Bridges and chains of a plan, as the classic searches prune by them.

import { blocksOf } from "../../src/core/scheduling/graph-search.js";
import type { LinkGraph } from "../../src/core/scheduling/link-graph.js";

/** Links on no undirected cycle. */
export function bridgesOf({ from, to, operators, links }: LinkGraph): Set<number> {
  const bundles = links.map((_, link) => ({ links: [link], uses: [] }));
  const part = { prices: new Float64Array(operators.length), from, to, cut: new Uint8Array(links.length), bundles };
  return new Set(
    blocksOf(part)
      .filter((block) => block.length === 1)
      .flat(),
  );
}

/** Links in a row, with one link in and one out at every operator between; rows of two and more. */
export function chainsOf({ from, to, operators, links }: LinkGraph): number[][] {
  const entering = operators.map((): number[] => []);
  const leaving = operators.map((): number[] => []);
  for (const link of links.keys()) {
    entering[to[link]!]!.push(link);
    leaving[from[link]!]!.push(link);
  }
  const passes = (operator: number) => entering[operator]!.length === 1 && leaving[operator]!.length === 1;
  return [...links.keys()]
    .filter((link) => !passes(from[link]!))
    .map((first) => {
      const chain = [first];
      for (let link = first; passes(to[link]!); ) {
        link = leaving[to[link]!]![0]!;
        chain.push(link);
      }
      return chain;
    })
    .filter((chain) => chain.length > 1);
}
