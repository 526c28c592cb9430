// Regions that grow: a union-find whose regions carry, as bits, all regions that run after them. It answers at once
// whether two may become one without a cycle, and so turns any schedulable cut into one that has no link to spare.
//
// G1  `after` of a region holds exactly the nodes of regions that a path of cut links leads to. Merging two adds to those
//     before either what comes after both.
// G2  Two regions may be merged when the links between them are free and no path leads from one to the other by way of
//     a third; such a path would become a cycle.
import { addRow, type BitRows, bitRows, hasBit, removeRow, rowsMeet, setBit } from "./bit-set.js";
import { adjacency, type Part } from "./part.js";
import { forwardOrder } from "./part-order.js";

export interface RegionMerger {
  regionOf(node: number): number;
  /** The links from one region to another it leads to, if the two may become one (G2); undefined if they may not. */
  mergeable(upper: number, lower: number): number[] | undefined;
  /** Returns the number of what the two have become: that of one of them. */
  merge(upper: number, lower: number): number;
}

/** Starts with every node as a region of its own; the part's links form no cycle. */
export function createRegionMerger(part: Part): RegionMerger {
  const size = part.prices.length;
  const leaving = adjacency(part.from, size);
  const parent = Int32Array.from({ length: size }, (_, n) => n);
  const nodes: BitRows = bitRows(size, size);
  const after: BitRows = bitRows(size, size);
  const membersOf = Array.from({ length: size }, (_, n) => [n]);
  const regions = new Set<number>();
  for (let n = 0; n < size; n++) {
    setBit(nodes, n, n);
    regions.add(n);
  }
  for (const node of forwardOrder(part, leaving).reverse())
    for (let i = leaving.start[node]!; i < leaving.start[node + 1]!; i++) {
      const next = part.to[leaving.list[i]!]!;
      setBit(after, node, next);
      addRow(after, node, after, next);
    }
  const regionOf = (at: number): number => {
    let root = at;
    while (parent[root] !== root) root = parent[root]!;
    for (let step = at; step !== root; ) [parent[step], step] = [root, parent[step]!];
    return root;
  };
  return {
    regionOf,
    mergeable(upper, lower) {
      const between: number[] = [];
      for (const node of membersOf[upper]!)
        for (let i = leaving.start[node]!; i < leaving.start[node + 1]!; i++) {
          const bundle = leaving.list[i]!;
          const next = regionOf(part.to[bundle]!);
          if (next === upper) continue;
          if (next === lower ? part.cut[bundle] : hasBit(after, next, lower)) return undefined;
          if (next === lower) between.push(bundle);
        }
      return between;
    },
    merge(upper, lower) {
      for (const region of regions)
        if (
          region !== upper &&
          region !== lower &&
          (rowsMeet(after, region, nodes, upper) || rowsMeet(after, region, nodes, lower))
        ) {
          for (const other of [upper, lower]) {
            addRow(after, region, nodes, other);
            addRow(after, region, after, other);
          }
        }
      const [root, other] = upper < lower ? [upper, lower] : [lower, upper];
      parent[other] = root;
      regions.delete(other);
      membersOf[root]!.push(...membersOf[other]!);
      addRow(nodes, root, nodes, other);
      addRow(after, root, after, other);
      removeRow(after, root, nodes, root);
      return root;
    },
  };
}
