import type { Adjacency, Part } from "./part.js";

/** Nodes of a part, each after those with a link to it; nodes on a cycle and behind it are missing. */
export function forwardOrder(part: Part, leaving: Adjacency): number[] {
  const waiting = new Int32Array(part.prices.length);
  for (const node of part.to) waiting[node] = waiting[node]! + 1;
  const order: number[] = [];
  for (let n = 0; n < waiting.length; n++) if (waiting[n] === 0) order.push(n);
  for (const node of order)
    for (let i = leaving.start[node]!; i < leaving.start[node + 1]!; i++) {
      const next = part.to[leaving.list[i]!]!;
      waiting[next] = waiting[next]! - 1;
      if (waiting[next] === 0) order.push(next);
    }
  return order;
}
