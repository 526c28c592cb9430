// What needs no search: decides the links of a part that can only go one way, and takes the rest apart.
//
// Read a schedule as a height: each region lies above those it reads, so along a link the height never falls, rises
// exactly where it is cut, and is the same within a region. (Such heights and schedulable cuts are the same thing: the
// links along which a height rises form no cycle of regions, and levels of regions are such a height.) Below, a *path*
// follows links forwards; *back and forth* means that free links are followed both ways.
//
// T1  Nodes on a cycle of links have one height: they are one node; a cut link inside a node is a contradiction.
// T2  A free link beside a path between the same nodes with a cut link on it joins two heights: it is cut.
// T3  A cut link offends only as part of a closed walk back and forth, which lies within a strong component of the graph
//     read that way; and cutting more only takes walks away. So the components are separate problems, and one without
//     cut links is done: it is one region. Their costs add up: free links lie inside components, two links share costs
//     only at a node they have in common, and regions are unions of nodes of one component.
// T4  Bridges, and blocks without a cut link, stay whole. Every simple cycle lies in one block; there, cutting nothing
//     breaks no cycle, and costs nothing (C2 of schedule-cost.ts).
// T5  Chains. Of two links in a row with nothing else at the node between, one cut is enough, because every cycle passes
//     both, in one direction. If one is cut, the other is kept. If both are free, the second is kept when the first does
//     in its place whatever else is cut: what the first costs now is at most what the second costs at least, the price
//     of what no other link uses, and the node between, which then goes with the node behind it, is not slower than
//     that. The same the other way round. Links of a chain are decided one after the other, each with what was decided
//     before as made, so chains of any length take linear time.
// T6  Blocks whose free links share nothing that is still to be paid for are separate problems, when regions are free.
import { addRow, bitRows, hasBit, setBit } from "./bit-set.js";
import { blocksOf, type StrongComponents, strongComponents } from "./graph-search.js";
import { type Adjacency, adjacency, type Bundle, contracted, keptTogether, type Part, pieces } from "./part.js";
import { forwardOrder } from "./part-order.js";
import type { Purse } from "./purse.js";

export interface Settled {
  /** Price of what was cut here, and of the regions that are done. */
  cost: number;
  /** Bundles cut here; they are paid for in the purse. */
  cuts: Bundle[];
  /** What is left to search, each by itself. */
  open: Part[];
}

/** Undefined when no cut fits; then nothing has been paid. */
export function settle(part: Part, purse: Purse): Settled | undefined {
  const settled: Settled = { cost: 0, cuts: [], open: [] };
  const waiting = [part];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const again = settleOnce(next, purse, settled);
    if (!again) {
      purse.refund(settled.cuts);
      return undefined;
    }
    waiting.push(...again);
  }
  return settled;
}

/** One round; what it made smaller is returned for another. Undefined: a contradiction. */
function settleOnce(given: Part, purse: Purse, settled: Settled): Part[] | undefined {
  const size = given.prices.length;
  const leaving = adjacency(given.from, size);
  const forwards = strongComponents(given, leaving);
  if (forwards.count < size) {
    const joined = contracted(given, forwards.componentOf, forwards.count);
    return joined && [joined];
  }
  const part = withForcedCuts(given, cutsForced(given, leaving, forwards), purse, settled);
  const smaller: Part[] = [];
  for (const piece of components(part, leaving, settled)) {
    const blocks = blocksOf(piece);
    const kept = [...wholeBlocks(piece, blocks), ...chainsKept(piece, purse)];
    if (kept.length > 0) {
      const joined = keptTogether(piece, kept);
      if (!joined) return undefined;
      smaller.push(joined);
    } else settled.open.push(...clusters(piece, blocks, purse));
  }
  return smaller;
}

function withForcedCuts(part: Part, forced: readonly number[], purse: Purse, settled: Settled): Part {
  if (forced.length === 0) return part;
  const cut = Uint8Array.from(part.cut);
  for (const b of forced) {
    cut[b] = 1;
    settled.cost += purse.pay(part.bundles[b]!);
    settled.cuts.push(part.bundles[b]!);
  }
  return { ...part, cut };
}

/** What T2 finds is found by the search as well, only later; its rows of bits take the square of the size. */
const MOST_NODES_FOR_ROWS = 8_192;

/** T2. `order` numbers nodes from the last to the first. */
function cutsForced(part: Part, leaving: Adjacency, order: StrongComponents): number[] {
  const { to, cut } = part;
  const size = part.prices.length;
  if (!cut.includes(1) || size > MOST_NODES_FOR_ROWS) return [];
  const above = bitRows(size, size);
  const strictlyAbove = bitRows(size, size);
  const nodes = new Int32Array(size);
  for (let n = 0; n < size; n++) nodes[order.componentOf[n]!] = n;
  const forced: number[] = [];
  for (const node of nodes) {
    setBit(above, node, node);
    for (let i = leaving.start[node]!; i < leaving.start[node + 1]!; i++) {
      const bundle = leaving.list[i]!;
      const target = to[bundle]!;
      addRow(above, node, above, target);
      addRow(strictlyAbove, node, cut[bundle] ? above : strictlyAbove, target);
    }
    for (let i = leaving.start[node]!; i < leaving.start[node + 1]!; i++) {
      const bundle = leaving.list[i]!;
      if (!cut[bundle] && hasBit(strictlyAbove, node, to[bundle]!)) forced.push(bundle);
    }
  }
  return forced;
}

/** T3. */
function components(part: Part, leaving: Adjacency, settled: Settled): Part[] {
  const { componentOf, count } = strongComponents(part, leaving, adjacency(part.to, part.prices.length));
  if (count === 1 && part.cut.includes(1)) return [part];
  const inside = Array.from({ length: count }, (): number[] => []);
  const offended = new Uint8Array(count);
  for (let b = 0; b < part.bundles.length; b++) {
    const component = componentOf[part.from[b]!]!;
    if (component !== componentOf[part.to[b]!]) continue;
    inside[component]!.push(b);
    if (part.cut[b]) offended[component] = 1;
  }
  const slowest = new Float64Array(count);
  for (let n = 0; n < componentOf.length; n++)
    slowest[componentOf[n]!] = Math.max(slowest[componentOf[n]!]!, part.prices[n]!);
  for (let c = 0; c < count; c++) if (!offended[c]) settled.cost += slowest[c]!;
  return pieces(
    part,
    inside.filter((_, c) => offended[c]),
  );
}

/** T4: the bundles of bridges and of blocks without a cut. */
const wholeBlocks = (part: Part, blocks: readonly number[][]): number[] =>
  blocks.filter((block) => block.every((b) => !part.cut[b])).flat();

/** T5: bundles that are kept because another of their chain does as well. */
function chainsKept(part: Part, purse: Purse): number[] {
  const { from, to, cut, bundles, prices } = part;
  const size = prices.length;
  const entering = new Int32Array(size);
  const leaving = new Int32Array(size);
  const into = new Int32Array(size);
  const out = new Int32Array(size);
  const users = new Map<number, number>();
  for (let b = 0; b < bundles.length; b++) {
    entering[to[b]!] = entering[to[b]!]! + 1;
    leaving[from[b]!] = leaving[from[b]!]! + 1;
    into[to[b]!] = b;
    out[from[b]!] = b;
    if (!cut[b]) for (const thing of bundles[b]!.uses) users.set(thing, (users.get(thing) ?? 0) + 1);
  }
  const alone = (bundle: Bundle): number => {
    let price = 0;
    for (const thing of bundle.uses) if (users.get(thing) === 1) price += purse.unpaid(thing);
    return price;
  };
  const kept: number[] = [];
  // Along a chain, `into` becomes the link that stands for those before, and prices those of the nodes joined so far.
  const slowest = Float64Array.from(prices);
  const before = Int32Array.from(from);
  for (const node of forwardOrder(part, adjacency(from, size))) {
    if (entering[node] !== 1 || leaving[node] !== 1) continue;
    const [first, second] = [into[node]!, out[node]!];
    const next = to[second]!;
    const joinsBefore = slowest[node]! <= slowest[before[first]!]!;
    const joinsNext = slowest[node]! <= slowest[next]!;
    if (cut[first] && cut[second]) continue;
    const secondIsKept =
      cut[first] === 1 || (!cut[second] && joinsNext && purse.priceOf(bundles[first]!) <= alone(bundles[second]!));
    const firstIsKept =
      cut[second] === 1 || (!cut[first] && joinsBefore && purse.priceOf(bundles[second]!) <= alone(bundles[first]!));
    if (secondIsKept) {
      kept.push(second);
      if (entering[next] === 1) into[next] = first;
      slowest[next] = Math.max(slowest[next]!, slowest[node]!);
    } else if (firstIsKept) {
      kept.push(first);
      before[second] = before[first]!;
    }
  }
  return kept;
}

/** T6. */
function clusters(part: Part, blocks: readonly number[][], purse: Purse): Part[] {
  if (blocks.length < 2 || part.prices.some((price) => price > 0)) return [part];
  const owner = new Map<number, number>();
  const parent = blocks.map((_, n) => n);
  const rootOf = (n: number): number => {
    let root = n;
    while (parent[root] !== root) root = parent[root]!;
    return root;
  };
  for (const [n, block] of blocks.entries())
    for (const b of block) {
      if (part.cut[b]) continue;
      for (const thing of part.bundles[b]!.uses) {
        if (purse.unpaid(thing) === 0) continue;
        const other = owner.get(thing);
        if (other === undefined) owner.set(thing, n);
        else {
          const [a, c] = [rootOf(other), rootOf(n)];
          parent[Math.max(a, c)] = Math.min(a, c);
        }
      }
    }
  const groups = new Map<number, number[]>();
  for (const [n, block] of blocks.entries()) {
    const root = rootOf(n);
    groups.set(root, [...(groups.get(root) ?? []), ...block]);
  }
  if (groups.size === 1) return [part];
  return pieces(
    part,
    [...groups.values()].map((group) => group.sort((a, b) => a - b)),
  );
}
