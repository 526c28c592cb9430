import { adjacency, groupsJoined, type Part } from "./part.js";
import { forwardOrder } from "./part-order.js";

/**
 * The least the regions of a part cost in the end. Of operators that are together now, those one above the other with a
 * cut link on the way stay apart, so their prices add up; the dearest such chain counts.
 */
export function regionsAtLeast(part: Part): number {
  const { prices, to, cut, bundles } = part;
  const size = prices.length;
  if (!prices.some((price) => price > 0)) return 0;
  const leaving = adjacency(part.from, size);
  const free = [...bundles.keys()].filter((b) => !cut[b]);
  const { groupOf, groups } = groupsJoined(part, free);
  const order = forwardOrder(part, leaving);
  const members = new Int32Array(groups);
  for (const group of groupOf) members[group] = members[group]! + 1;
  let total = 0;
  for (let n = 0; n < size; n++) if (members[groupOf[n]!] === 1) total += prices[n]!;
  for (let group = 0; group < groups; group++) {
    if (members[group] === 1) continue;
    // Per node, the dearest chain on the way to it that ends before a cut link, and the dearest of all.
    const apart = new Float64Array(size);
    const any = new Float64Array(size);
    let dearest = 0;
    for (const node of order) {
      if (groupOf[node] === group) any[node] = Math.max(any[node]!, prices[node]! + apart[node]!);
      dearest = Math.max(dearest, any[node]!);
      for (let i = leaving.start[node]!; i < leaving.start[node + 1]!; i++) {
        const bundle = leaving.list[i]!;
        const next = to[bundle]!;
        apart[next] = Math.max(apart[next]!, cut[bundle] ? any[node]! : apart[node]!);
        any[next] = Math.max(any[next]!, any[node]!);
      }
    }
    total += dearest;
  }
  return total;
}
