// The regions that a cut leaves: operators joined by links that are not materialised, in whatever direction.
import type { LinkGraph } from "./link-graph.js";

export interface CutRegions {
  /** Per operator, the number of its region: 0, 1, … by the first operator of each. */
  regionOf: Int32Array;
  count: number;
}

/** `cut` has 1 for each link that is materialised. */
export function cutRegions({ operators, from, to }: LinkGraph, cut: Uint8Array): CutRegions {
  const parent = Int32Array.from(operators, (_, n) => n);
  const rootOf = (at: number): number => {
    let root = at;
    while (parent[root] !== root) root = parent[root]!;
    for (let step = at; step !== root; ) [parent[step], step] = [root, parent[step]!];
    return root;
  };
  for (let link = 0; link < from.length; link++) {
    if (cut[link]) continue;
    const [a, b] = [rootOf(from[link]!), rootOf(to[link]!)];
    // The smaller number stays the root, so a region is known by its first operator.
    parent[Math.max(a, b)] = Math.min(a, b);
  }
  const regionOf = new Int32Array(operators.length);
  let count = 0;
  for (let n = 0; n < operators.length; n++) {
    const root = rootOf(n);
    regionOf[n] = root === n ? count++ : regionOf[root]!;
  }
  return { regionOf, count };
}

/** Per region its level, the longest path of materialised links to it; undefined when these links form a cycle. */
export function regionLevels(graph: LinkGraph, cut: Uint8Array, regions: CutRegions): Int32Array | undefined {
  const { regionOf, count } = regions;
  const waiting = new Int32Array(count);
  const leaving = Array.from({ length: count }, (): number[] => []);
  for (let link = 0; link < graph.from.length; link++) {
    if (!cut[link]) continue;
    const [a, b] = [regionOf[graph.from[link]!]!, regionOf[graph.to[link]!]!];
    leaving[a]!.push(b);
    waiting[b] = waiting[b]! + 1;
  }
  const ready: number[] = [];
  for (let region = 0; region < count; region++) if (waiting[region] === 0) ready.push(region);
  const levels = new Int32Array(count);
  for (const region of ready)
    for (const next of leaving[region]!) {
      levels[next] = Math.max(levels[next]!, levels[region]! + 1);
      waiting[next] = waiting[next]! - 1;
      if (waiting[next] === 0) ready.push(next);
    }
  return ready.length === count ? levels : undefined;
}
