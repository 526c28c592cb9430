// A part of a plan in the search: nodes, and links between them that are cut or still free.
//
// A node stands for operators that are kept together for good, and a bundle for links that are cut together: those that
// join the same two nodes, because cutting one and keeping another would leave a materialised link inside a region.
// Parts are never changed once they are made; deciding makes new, smaller ones.

export interface Bundle {
  /** Links of the plan, by number. */
  links: readonly number[];
  /** What is paid for when they are cut (schedule-cost.ts), each once. */
  uses: readonly number[];
}

export interface Part {
  /** Per node, the price of its slowest operator. */
  prices: Float64Array;
  /** Per bundle, the nodes at its ends. */
  from: Int32Array;
  to: Int32Array;
  /** 1: cut; 0: still free, and kept as long as nothing else is decided. */
  cut: Uint8Array;
  bundles: readonly Bundle[];
}

/** The part with nodes of one group made one; undefined when a cut bundle would lie inside a node. */
export function contracted(part: Part, groupOf: Int32Array, groups: number): Part | undefined {
  const prices = new Float64Array(groups);
  for (let n = 0; n < groupOf.length; n++) prices[groupOf[n]!] = Math.max(prices[groupOf[n]!]!, part.prices[n]!);
  const from: number[] = [];
  const to: number[] = [];
  const cut: number[] = [];
  const bundles: Bundle[] = [];
  const known = new Map<number, number>();
  for (let b = 0; b < part.bundles.length; b++) {
    const [u, v] = [groupOf[part.from[b]!]!, groupOf[part.to[b]!]!];
    const isCut = part.cut[b]!;
    if (u === v) {
      if (isCut) return undefined;
      continue;
    }
    const key = (u * groups + v) * 2 + isCut;
    const twin = known.get(key);
    if (twin === undefined) {
      known.set(key, bundles.length);
      from.push(u);
      to.push(v);
      cut.push(isCut);
      bundles.push(part.bundles[b]!);
    } else if (!isCut) bundles[twin] = together(bundles[twin]!, part.bundles[b]!);
  }
  return { prices, from: Int32Array.from(from), to: Int32Array.from(to), cut: Uint8Array.from(cut), bundles };
}

const together = (a: Bundle, b: Bundle): Bundle => ({
  links: [...a.links, ...b.links],
  uses: [...new Set([...a.uses, ...b.uses])],
});

/** The part with the nodes at both ends of some bundles made one. */
export function keptTogether(part: Part, kept: Iterable<number>): Part | undefined {
  const { groupOf, groups } = groupsJoined(part, kept);
  return contracted(part, groupOf, groups);
}

/** The groups of nodes that some bundles join, numbered by their first nodes. */
export function groupsJoined(part: Part, joining: Iterable<number>): { groupOf: Int32Array; groups: number } {
  const size = part.prices.length;
  const parent = new Int32Array(size);
  for (let n = 0; n < size; n++) parent[n] = n;
  const rootOf = (at: number): number => {
    let root = at;
    while (parent[root] !== root) root = parent[root]!;
    for (let step = at; step !== root; ) [parent[step], step] = [root, parent[step]!];
    return root;
  };
  for (const bundle of joining) {
    const [a, b] = [rootOf(part.from[bundle]!), rootOf(part.to[bundle]!)];
    parent[Math.max(a, b)] = Math.min(a, b);
  }
  const groupOf = new Int32Array(size);
  let groups = 0;
  for (let n = 0; n < size; n++) {
    const root = rootOf(n);
    groupOf[n] = root === n ? groups++ : groupOf[root]!;
  }
  return { groupOf, groups };
}

/** Splits into pieces: each of the bundles given for it and the nodes at their ends. */
export function pieces(part: Part, bundlesOf: readonly (readonly number[])[]): Part[] {
  const place = new Int32Array(part.prices.length).fill(-1);
  return bundlesOf.map((members) => {
    const nodes: number[] = [];
    const placed = (node: number): number => {
      if (place[node] === -1) place[node] = nodes.push(node) - 1;
      return place[node]!;
    };
    const from = Int32Array.from(members, (b) => placed(part.from[b]!));
    const to = Int32Array.from(members, (b) => placed(part.to[b]!));
    const piece = {
      prices: Float64Array.from(nodes, (node) => part.prices[node]!),
      from,
      to,
      cut: Uint8Array.from(members, (b) => part.cut[b]!),
      bundles: members.map((b) => part.bundles[b]!),
    };
    for (const node of nodes) place[node] = -1;
    return piece;
  });
}

/** The part with one more bundle cut. */
export function withCut(part: Part, bundle: number): Part {
  const cut = Uint8Array.from(part.cut);
  cut[bundle] = 1;
  return { ...part, cut };
}

/** Bundles by the node they leave, or enter: those of node n are `list[start[n]]` up to `list[start[n + 1]]`. */
export interface Adjacency {
  start: Int32Array;
  list: Int32Array;
}

export function adjacency(ends: Int32Array, nodes: number): Adjacency {
  const start = new Int32Array(nodes + 1);
  for (const node of ends) start[node + 1] = start[node + 1]! + 1;
  for (let n = 0; n < nodes; n++) start[n + 1] = start[n + 1]! + start[n]!;
  const next = start.slice(0, nodes);
  const list = new Int32Array(ends.length);
  for (let b = 0; b < ends.length; b++) {
    const node = ends[b]!;
    list[next[node]!] = b;
    next[node] = next[node]! + 1;
  }
  return { start, list };
}
