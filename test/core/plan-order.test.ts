import { expect } from "chai";
import fc from "fast-check";
import { findCycles, orderByLinks } from "../../src/core/plan-order.js";

const graph = fc.integer({ min: 1, max: 12 }).chain((size) => {
  const node = fc.integer({ min: 0, max: size - 1 }).map((i) => `n${i}`);
  return fc.record({
    nodes: fc.constant(Array.from({ length: size }, (_, i) => `n${i}`)),
    links: fc.array(fc.record({ from: node, to: node }), { maxLength: 20 }),
  });
});

/** Whether a path of at least one link leads from one node to the other. */
function reaches(links: { from: string; to: string }[], from: string, to: string): boolean {
  const seen = new Set<string>();
  const next = [from];
  for (const at of next)
    for (const link of links)
      if (link.from === at && !seen.has(link.to)) {
        if (link.to === to) return true;
        seen.add(link.to);
        next.push(link.to);
      }
  return false;
}

describe("plan order", () => {
  it("puts each node after what it reads, and leaves out exactly what is on or behind a cycle", () => {
    fc.assert(
      fc.property(graph, ({ nodes, links }) => {
        const order = orderByLinks(nodes, links);
        for (const { from, to } of links)
          if (order.includes(to)) expect(order.indexOf(from)).to.be.within(0, order.indexOf(to) - 1);
        const stuck = nodes.filter((node) =>
          nodes.some((other) => reaches(links, other, other) && (other === node || reaches(links, other, node))),
        );
        expect([...order].sort()).to.deep.equal(nodes.filter((node) => !stuck.includes(node)).sort());
      }),
    );
  });

  it("finds real cycles that share no node, at least one in every knot", () => {
    fc.assert(
      fc.property(graph, ({ nodes, links }) => {
        const cycles = findCycles(nodes, links);
        for (const cycle of cycles)
          for (const [i, from] of cycle.entries()) {
            const to = cycle[(i + 1) % cycle.length];
            expect(links.some((link) => link.from === from && link.to === to)).to.equal(true);
          }
        const members = cycles.flat();
        expect(new Set(members).size).to.equal(members.length);
        for (const node of nodes.filter((n) => reaches(links, n, n)))
          expect(members.some((m) => m === node || (reaches(links, m, node) && reaches(links, node, m)))).to.equal(
            true,
          );
      }),
    );
  });

  it("does not run out of stack on a long cycle", () => {
    const nodes = Array.from({ length: 50_000 }, (_, i) => `n${i}`);
    const links = nodes.map((from, i) => ({ from, to: nodes[(i + 1) % nodes.length]! }));
    expect(findCycles(nodes, links)).to.deep.equal([nodes]);
  });
});
