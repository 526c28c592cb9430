// The order in which operators can run, and the cycles that prevent one.
import { groupBy } from "./group-by.js";

/** Nodes each after what they read, ties in the given order; what is on or behind a cycle is missing. */
export function orderByLinks<Node extends string>(
  nodes: readonly Node[],
  links: readonly { from: Node; to: Node }[],
): Node[] {
  const waiting = new Map(nodes.map((node) => [node, 0]));
  const targets = new Map<Node, Node[]>(nodes.map((node) => [node, []]));
  for (const { from, to } of links) {
    waiting.set(to, waiting.get(to)! + 1);
    targets.get(from)!.push(to);
  }
  const order = nodes.filter((node) => waiting.get(node) === 0);
  for (const node of order)
    for (const to of targets.get(node)!) {
      const left = waiting.get(to)! - 1;
      waiting.set(to, left);
      if (left === 0) order.push(to);
    }
  return order;
}

/**
 * Cycles that share no node, as the nodes along each: at least one of every knot of mutually dependent nodes. A node
 * that only lies behind a cycle is in none.
 */
export function findCycles<Node extends string>(
  nodes: readonly Node[],
  links: readonly { from: Node; to: Node }[],
): Node[][] {
  // What can be ordered from either end lies on no cycle.
  const reversed = links.map(({ from, to }) => ({ from: to, to: from }));
  const free = new Set([...orderByLinks(nodes, links), ...orderByLinks(nodes, reversed)]);
  const knotted = groupBy(
    links.filter(({ from, to }) => !free.has(from) && !free.has(to)),
    ({ from }) => from,
  );
  const done = new Set<Node>(free);
  const cycles: Node[][] = [];
  const reported = new Set<Node>();
  for (const start of nodes) {
    // Depth-first over nodes not yet done, without recursion: a link back into the path closes a cycle.
    const path: { node: Node; untried: Node[] }[] = [];
    const position = new Map<Node, number>();
    const enter = (node: Node) => {
      if (done.has(node)) return;
      position.set(node, path.length);
      path.push({ node, untried: (knotted.get(node) ?? []).map(({ to }) => to) });
    };
    enter(start);
    for (let at = path.at(-1); at; at = path.at(-1)) {
      const to = at.untried.pop();
      const back = to === undefined ? undefined : position.get(to);
      if (to === undefined) {
        done.add(at.node);
        position.delete(at.node);
        path.pop();
      } else if (back === undefined) {
        enter(to);
      } else {
        const cycle = path.slice(back).map(({ node }) => node);
        if (cycle.some((node) => reported.has(node))) continue;
        for (const node of cycle) reported.add(node);
        cycles.push(cycle);
      }
    }
  }
  return cycles;
}
