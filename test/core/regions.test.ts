import { expect } from "chai";
import fc from "fast-check";
import { operatorKey, type PortKey } from "../../src/core/plan.js";
import { orderByLinks } from "../../src/core/plan-order.js";
import { cutIntoRegions } from "../../src/core/regions.js";

const port = (operatorId: string, portId: number, input: boolean): PortKey => ({
  operatorId,
  layer: "main",
  portId,
  internal: false,
  input,
});
const link = (from: string, to: string, toPort = 0) => ({
  id: `${from}-${to}.${toPort}`,
  from: port(from, 0, false),
  to: port(to, toPort, true),
});
const operator = (operatorId: string, user = false) => ({
  operatorId,
  layer: "main",
  implementation: { kind: user ? "user-function" : "query" },
});

/** A random acyclic plan: links lead from earlier operators to later ones. */
const dag = fc.integer({ min: 1, max: 14 }).chain((size) =>
  fc.record({
    operators: fc
      .array(fc.boolean(), { minLength: size, maxLength: size })
      .map((users) => users.map((user, i) => operator(`o${i}`, user))),
    links: fc
      .array(fc.tuple(fc.nat(size - 1), fc.nat(size - 1)), { maxLength: 24 })
      .map((pairs) => pairs.filter(([a, b]) => a < b).map(([a, b], i) => link(`o${a}`, `o${b}`, i))),
  }),
);

describe("cutIntoRegions", () => {
  it("gives a graph of regions without cycle, in which levels rise along every materialised link", () => {
    fc.assert(
      fc.property(dag, ({ operators, links }) => {
        const cut = cutIntoRegions(operators, links);
        const regionOf = new Map(cut.regions.flatMap((r) => r.operators.map((o) => [operatorKey(o), r])));
        expect(regionOf.size).to.equal(operators.length);
        const between = cut.links
          .filter((l) => l.materialized)
          .map((l) => [l.from, l.to].map((k) => regionOf.get(operatorKey(k))!));
        for (const [from, to] of between) expect(from!.level).to.be.lessThan(to!.level);
        const ids = cut.regions.map(({ id }) => String(id));
        const order = orderByLinks(
          ids,
          between.map(([from, to]) => ({ from: String(from!.id), to: String(to!.id) })),
        );
        expect(order).to.have.length(ids.length);
      }),
    );
  });

  it("keeps the ends of a pipelined link in one region, and user functions alone with themselves", () => {
    fc.assert(
      fc.property(dag, ({ operators, links }) => {
        const cut = cutIntoRegions(operators, links);
        const regionOf = new Map(cut.regions.flatMap((r) => r.operators.map((o) => [o.operatorId, r.id])));
        const users = new Set(
          operators.filter((o) => o.implementation.kind === "user-function").map((o) => o.operatorId),
        );
        for (const l of cut.links) {
          const touchesUser = users.has(l.from.operatorId) || users.has(l.to.operatorId);
          if (!l.materialized) expect(regionOf.get(l.from.operatorId)).to.equal(regionOf.get(l.to.operatorId));
          if (touchesUser) expect(l.materialized).to.equal(true);
          expect(l.materialized).to.equal(l.why !== "");
        }
        for (const region of cut.regions)
          if (region.operators.some((o) => users.has(o.operatorId))) expect(region.operators).to.have.length(1);
      }),
    );
  });

  it("numbers regions from 1 by level, and levels from 0 without holes", () => {
    fc.assert(
      fc.property(dag, ({ operators, links }) => {
        const { regions } = cutIntoRegions(operators, links);
        expect(regions.map(({ id }) => id)).to.deep.equal(regions.map((_, i) => i + 1));
        const levels = regions.map(({ level }) => level);
        expect(levels).to.deep.equal([...levels].sort((a, b) => a - b));
        expect(new Set(levels).size).to.equal(Math.max(...levels) + 1);
      }),
    );
  });

  it("materialises a link that by-passes user code, because its ends run at different stages", () => {
    const operators = [operator("scan"), operator("js", true), operator("join")];
    const links = [link("scan", "js"), link("scan", "join"), link("js", "join", 1)];
    const cut = cutIntoRegions(operators, links);
    expect(cut.links.map((l) => l.why)).to.deep.equal([
      "User code runs in a process of its own.",
      "Its ends run at different stages.",
      "User code runs in a process of its own.",
    ]);
    expect(cut.regions.map((r) => [r.level, r.operators.length])).to.deep.equal([
      [0, 1],
      [1, 1],
      [2, 1],
    ]);
  });

  it("leaves a plan without user code whole", () => {
    const operators = [operator("a"), operator("b"), operator("c"), operator("apart")];
    const cut = cutIntoRegions(operators, [link("a", "b"), link("a", "c")]);
    expect(cut.regions.map((r) => r.operators.map((o) => o.operatorId))).to.deep.equal([["a", "b", "c"], ["apart"]]);
  });
});
