import { expect } from "chai";
import fc from "fast-check";
import { globalPortId, operatorKey, type PhysicalPlan } from "../../../src/core/plan.js";
import { schedulePlan } from "../../../src/core/scheduling/schedule-plan.js";
import { outputKey, planOf, query, userFunction } from "../../support/physical-plans.js";

/** A plan of queries, and of user functions where the id begins with "f". */
const plan = (ids: string[], links: string[]): PhysicalPlan =>
  planOf(
    ids.map((id) =>
      id.startsWith("f") ? userFunction(id, "javascript", [], "", []) : query(id, "filter", [], "select 1", []),
    ),
    links,
  );

const options = { viewResult: () => false, cost: "ports" } as const;
const keys = (...ids: string[]) => new Set(ids.map((id) => `${id}/main`));
const ports = (...ids: string[]) => new Set(ids.map((id) => globalPortId(outputKey(id))));
const regionsOf = ({ regions }: PhysicalPlan) =>
  regions.map(({ id, level, operators, cached }) => [
    id,
    level,
    operators.map(({ operatorId }) => operatorId).join(" "),
    ...(cached ? ["cached"] : []),
  ]);
const writtenOf = ({ operators }: PhysicalPlan) =>
  operators.filter(({ outputs }) => outputs[0]!.materialized).map(({ operatorId }) => operatorId);

/** A random acyclic plan: links lead from earlier operators to later ones. */
const randomPlan = fc.integer({ min: 1, max: 14 }).chain((size) =>
  fc
    .record({
      users: fc.array(fc.boolean(), { minLength: size, maxLength: size }),
      links: fc.array(fc.tuple(fc.nat(size - 1), fc.nat(size - 1)), { maxLength: 24 }),
    })
    .map(({ users, links }) => {
      const ids = users.map((user, n) => `${user ? "f" : "q"}${n}`);
      return plan(
        ids,
        links.filter(([a, b]) => a < b).map(([a, b], port) => `${ids[a]}>${ids[b]}:${port}`),
      );
    }),
);

describe("schedulePlan", () => {
  it("materialises what touches user code, and lets levels rise along every materialised link", () => {
    fc.assert(
      fc.property(randomPlan, (drawn) => {
        const { plan: scheduled, schedule } = schedulePlan(drawn, options);
        const regionOf = new Map(scheduled.regions.flatMap((r) => r.operators.map((o) => [operatorKey(o), r])));
        expect(regionOf.size).to.equal(drawn.operators.length);
        for (const link of scheduled.links) {
          const [from, to] = [regionOf.get(operatorKey(link.from))!, regionOf.get(operatorKey(link.to))!];
          const touchesUser = [link.from, link.to].some(({ operatorId }) => operatorId.startsWith("f"));
          expect(link.mustMaterialize).to.equal(touchesUser);
          expect(link.materialized).to.equal(touchesUser || schedule.materialized.includes(link.id));
          expect(link.why !== "").to.equal(link.materialized);
          if (link.materialized) expect(from.level).to.be.below(to.level);
          else expect(from).to.equal(to);
        }
        for (const { operators } of scheduled.regions)
          if (operators.some(({ operatorId }) => operatorId.startsWith("f"))) expect(operators).to.have.length(1);
      }),
    );
  });

  it("numbers regions from 1 by level, and levels from 0 without holes", () => {
    fc.assert(
      fc.property(randomPlan, (drawn) => {
        const { regions } = schedulePlan(drawn, options).plan;
        expect(regions.map(({ id }) => id)).to.deep.equal(regions.map((_, n) => n + 1));
        const levels = regions.map(({ level }) => level);
        expect(levels).to.deep.equal([...levels].sort((a, b) => a - b));
        expect(new Set(levels).size).to.equal(Math.max(...levels) + 1);
      }),
    );
  });

  it("leaves a plan without user code whole", () => {
    const { plan: scheduled } = schedulePlan(plan(["a", "b", "c", "apart"], ["a>b", "a>c"]), options);
    expect(regionsOf(scheduled)).to.deep.equal([
      [1, 0, "a b c"],
      [2, 0, "apart"],
    ]);
  });

  it("cuts a link that by-passes user code, says why, and writes the ports that are read or looked at", () => {
    const drawn = plan(["scan", "f", "join"], ["scan>f", "scan>join", "f>join:1"]);
    const { plan: scheduled } = schedulePlan(drawn, options);
    expect(scheduled.links.map(({ why }) => why)).to.deep.equal([
      "User code runs in a process of its own.",
      "Without it regions would wait for each other.",
      "User code runs in a process of its own.",
    ]);
    expect(regionsOf(scheduled)).to.deep.equal([
      [1, 0, "scan"],
      [2, 1, "f"],
      [3, 2, "join"],
    ]);
    expect(writtenOf(scheduled)).to.deep.equal(["scan", "f", "join"]);
    expect(scheduled.operators.map(({ outputs }) => outputs[0]!.viewed)).to.deep.equal([false, false, true]);
  });

  it("keeps operators in plan order, in the plan and in regions", () => {
    const drawn = plan(["z", "a"], ["z>a"]);
    expect(regionsOf(schedulePlan(drawn, options).plan)).to.deep.equal([[1, 0, "z a"]]);
  });

  it("goes by what operators took where seconds count", () => {
    const drawn = plan(["a", "x", "f", "b"], ["a>f", "f>b", "a>x", "x>b:1"]);
    const chosen = (seconds: [string, number][]) =>
      schedulePlan(drawn, { ...options, cost: "seconds", seconds: new Map(seconds) }).schedule.materialized;
    const cheapBeside = (slow: string): [string, number][] => [
      [`${slow}/main`, 9],
      ["x/main", 5],
    ];
    // x costs nothing beside the slower one.
    expect(chosen(cheapBeside("a"))).to.deep.equal(["link-3"]);
    expect(chosen(cheapBeside("b"))).to.deep.equal(["link-2"]);
  });

  describe("with results in storage", () => {
    const drawn = plan(
      ["scan", "clean", "f", "join", "top"],
      ["scan>clean", "clean>f", "clean>join", "f>join:1", "join>top"],
    );

    it("reads a stored port without waiting for it, and writes it no more", () => {
      const { plan: scheduled, schedule } = schedulePlan(drawn, {
        ...options,
        stored: ports("clean"),
        execute: keys("f", "join", "top"),
      });
      expect(schedule.materialized).to.deep.equal([]);
      expect(scheduled.links.map(({ materialized, why }) => [materialized, why])).to.deep.equal([
        [false, ""],
        [true, "Its rows are in storage already."],
        [true, "Its rows are in storage already."],
        [true, "User code runs in a process of its own."],
        [false, ""],
      ]);
      expect(regionsOf(scheduled)).to.deep.equal([
        [1, 0, "f"],
        [2, 1, "join top"],
        [3, 0, "scan clean", "cached"],
      ]);
      expect(writtenOf(scheduled)).to.deep.equal(["clean", "f", "top"]);
      // Written: f, top. Read: f's input, both of join's.
      expect(schedule.cost).to.equal(5);
    });

    it("cuts the rest as if the operators that do not run were not there", () => {
      const { plan: scheduled } = schedulePlan(drawn, {
        ...options,
        stored: ports("f"),
        execute: keys("scan", "clean", "join", "top"),
      });
      expect(regionsOf(scheduled)).to.deep.equal([
        [1, 0, "scan clean join top"],
        [2, 0, "f", "cached"],
      ]);
      expect(scheduled.links.map(({ materialized }) => materialized)).to.deep.equal([false, false, false, true, false]);
    });

    it("runs nothing when everything looked at is stored", () => {
      const { plan: scheduled, schedule } = schedulePlan(drawn, { ...options, stored: ports("top"), execute: keys() });
      expect(schedule).to.deep.include({ materialized: [], regions: [], levels: [], cost: 0, optimal: true });
      expect(regionsOf(scheduled)).to.deep.equal([[1, 0, "scan clean f join top", "cached"]]);
      expect(writtenOf(scheduled)).to.deep.equal(["top"]);
    });

    it("refuses to leave out an operator whose result is needed and not stored", () => {
      expect(() => schedulePlan(drawn, { ...options, execute: keys("join", "top") })).to.throw(/does not run/);
      expect(() => schedulePlan(drawn, { ...options, execute: keys() })).to.throw(/"?top\/main"? must run/);
    });
  });
});
