// Two classic depth-first searches over a part, without recursion: strong components and blocks. Both linear in time.
import { type Adjacency, adjacency, type Part } from "./part.js";

export interface StrongComponents {
  componentOf: Int32Array;
  /** Components are numbered from the last to the first: a link between two leads to the smaller number. */
  count: number;
}

/**
 * Nodes that reach each other along links. With `entering`, free links that have something `left` may be followed
 * backwards as well.
 */
export function strongComponents(
  part: Part,
  leaving: Adjacency,
  entering?: Adjacency,
  left?: (bundle: number) => number,
): StrongComponents {
  const size = part.prices.length;
  const found = new Int32Array(size).fill(-1);
  const low = new Int32Array(size);
  const componentOf = new Int32Array(size).fill(-1);
  const outAt = Int32Array.from(leaving.start);
  const inAt = entering ? Int32Array.from(entering.start) : undefined;
  const open: number[] = [];
  const path: number[] = [];
  let time = 0;
  let count = 0;
  /** The next node to look at from `node`, or -1. */
  const neighbour = (node: number): number => {
    if (outAt[node]! < leaving.start[node + 1]!) {
      const bundle = leaving.list[outAt[node]!]!;
      outAt[node] = outAt[node]! + 1;
      return part.to[bundle]!;
    }
    while (entering && inAt && inAt[node]! < entering.start[node + 1]!) {
      const bundle = entering.list[inAt[node]!]!;
      inAt[node] = inAt[node]! + 1;
      if (!part.cut[bundle] && (!left || left(bundle) > 0)) return part.from[bundle]!;
    }
    return -1;
  };
  const enter = (node: number) => {
    found[node] = low[node] = time++;
    open.push(node);
    path.push(node);
  };
  for (let start = 0; start < size; start++) {
    if (found[start] !== -1) continue;
    enter(start);
    while (path.length > 0) {
      const node = path.at(-1)!;
      const next = neighbour(node);
      if (next !== -1) {
        if (found[next] === -1) enter(next);
        else if (componentOf[next] === -1) low[node] = Math.min(low[node]!, found[next]!);
        continue;
      }
      path.pop();
      const before = path.at(-1);
      if (before !== undefined) low[before] = Math.min(low[before]!, low[node]!);
      if (low[node] !== found[node]) continue;
      for (let member = open.pop()!; ; member = open.pop()!) {
        componentOf[member] = count;
        if (member === node) break;
      }
      count++;
    }
  }
  return { componentOf, count };
}

/** The blocks of a part, as lists of bundles: two bundles share one when they lie on a common undirected cycle. */
export function blocksOf(part: Part): number[][] {
  const size = part.prices.length;
  const leaving = adjacency(part.from, size);
  const entering = adjacency(part.to, size);
  const found = new Int32Array(size).fill(-1);
  const low = new Int32Array(size);
  const outAt = Int32Array.from(leaving.start);
  const inAt = Int32Array.from(entering.start);
  const used = new Uint8Array(part.bundles.length);
  const open: number[] = [];
  const path: { node: number; through: number }[] = [];
  const blocks: number[][] = [];
  let time = 0;
  const unused = (node: number): number => {
    for (const [at, { start, list }] of [
      [outAt, leaving],
      [inAt, entering],
    ] as const)
      while (at[node]! < start[node + 1]!) {
        const bundle = list[at[node]!]!;
        at[node] = at[node]! + 1;
        if (!used[bundle]) return bundle;
      }
    return -1;
  };
  for (let start = 0; start < size; start++) {
    if (found[start] !== -1) continue;
    found[start] = low[start] = time++;
    path.push({ node: start, through: -1 });
    while (path.length > 0) {
      const { node, through } = path.at(-1)!;
      const bundle = unused(node);
      if (bundle !== -1) {
        used[bundle] = 1;
        open.push(bundle);
        const next = part.from[bundle] === node ? part.to[bundle]! : part.from[bundle]!;
        if (found[next] === -1) {
          found[next] = low[next] = time++;
          path.push({ node: next, through: bundle });
        } else low[node] = Math.min(low[node]!, found[next]!);
        continue;
      }
      path.pop();
      if (through === -1) continue;
      const before = path.at(-1)!.node;
      low[before] = Math.min(low[before]!, low[node]!);
      if (low[node]! >= found[before]!) blocks.push(open.splice(open.lastIndexOf(through)));
    }
  }
  return blocks;
}
