import { expect } from "chai";
import fc from "fast-check";
import { classicSearch } from "../../../bench/plan/classic-searches.js";
import { layeredPlan } from "../../../bench/plan/layered-plans.js";
import { randomPlan } from "../../../bench/plan/random-plans.js";
import { realWorkflow } from "../../../bench/plan/real-workflow.js";
import { type CostModel, findSchedule, type Schedule } from "../../../src/core/scheduling/find-schedule.js";
import type { ProblemLink, SchedulingProblem } from "../../../src/core/scheduling/scheduling-problem.js";
import { bruteForceCost, floodRegions, isSchedulable, mustBeCut, plainCost } from "./checked-schedules.js";
import { randomProblem } from "./random-problems.js";

const MODELS: CostModel[] = ["ports", "bytes", "seconds"];

/** Links such as "a>b", "a.1>b.2" with ports, or "a>b!" for one that must be materialised. */
function problemOf(texts: string[], more: Partial<SchedulingProblem> = {}): SchedulingProblem {
  const links = texts.map((text): ProblemLink => {
    const [, from, fromPort = "0", to, toPort = "0", must] = /^(\w+)(?:\.(\d))?>(\w+)(?:\.(\d))?(!?)$/.exec(text)!;
    return {
      id: text.replace("!", ""),
      from: from!,
      fromPort: Number(fromPort),
      to: to!,
      toPort: Number(toPort),
      mustMaterialize: must === "!",
      why: must === "!" ? "a test says so" : "",
    };
  });
  const operators = [...new Set(links.flatMap(({ from, to }) => [from, to]))].map((id) => ({ id }));
  return { operators, links, viewed: [], ...more };
}

const cutOf = (problem: SchedulingProblem, { materialized }: Schedule) =>
  new Set([...mustBeCut(problem), ...materialized]);

function expectSound(problem: SchedulingProblem, schedule: Schedule, cost: CostModel): void {
  const cut = cutOf(problem, schedule);
  expect(isSchedulable(problem, cut)).to.equal(true);
  expect(schedule.cost).to.be.closeTo(plainCost(problem, cut, cost), 1e-9);
  const flooded = floodRegions(problem, cut).map((region) => [...region].sort().join());
  expect(schedule.regions.map(({ operators }) => operators.join())).to.have.members(flooded);
}

describe("findSchedule", () => {
  for (const cost of MODELS)
    it(`finds the least ${cost} there is, as brute force does`, () => {
      fc.assert(
        fc.property(randomProblem({ operators: 9, links: 13 }), (problem) => {
          const schedule = findSchedule(problem, { cost });
          expectSound(problem, schedule, cost);
          expect(schedule.cost).to.be.closeTo(bruteForceCost(problem, cost), 1e-9);
          expect(schedule.optimal).to.equal(true);
        }),
        { numRuns: 150 },
      );
    });

  it("finds the least cost of plans that need a search", () => {
    for (const cost of MODELS)
      for (let seed = 1; seed <= 12; seed++) {
        const problem = layeredPlan(seed, { operators: 10, links: 16, must: 0.15 });
        expect(findSchedule(problem, { cost }).cost).to.be.closeTo(bruteForceCost(problem, cost), 1e-9);
      }
  });

  it("finds the least seconds of plans whose regions a careless bound takes for dearer than they are", () => {
    for (const seed of [136, 173, 185, 212]) {
      const problem = layeredPlan(seed, { operators: 9, links: 16, must: 0.2 });
      expect(findSchedule(problem, { cost: "seconds" }).cost).to.be.closeTo(bruteForceCost(problem, "seconds"), 1e-9);
    }
  });

  it("sees what parts of a plan share that have nothing but an operator in common", () => {
    const sizes: Record<string, number> = { "0 x": 10, "0 a": 9, "0 b": 9 };
    const bytes = (operator: string, port: number) => sizes[`${port} ${operator}`];
    const problem = problemOf(["x.1>q!", "x>a", "a>q.1", "x.2>r!", "x>b", "b>r.1"], { bytes });
    // x is written once and read twice; a and b, though smaller, would each be written and read.
    expect(findSchedule(problem, { cost: "bytes" })).to.deep.include({ materialized: ["x>a", "x>b"], cost: 30 });
  });

  it("proves its answer for plans of 60 free links, and is never above the classic searches", () => {
    for (const cost of MODELS)
      for (let seed = 1; seed <= 4; seed++) {
        const problem = layeredPlan(seed, { operators: 36, links: 62, must: 0.12 });
        const schedule = findSchedule(problem, { cost, deadlineMs: 60_000 });
        expectSound(problem, schedule, cost);
        expect(schedule.optimal).to.equal(true);
        for (const direction of ["bottom-up", "top-down"] as const) {
          const classic = classicSearch(problem, {
            cost,
            direction,
            global: false,
            chains: true,
            bridges: true,
            earlyStop: true,
          });
          const cut = new Set([...mustBeCut(problem), ...classic.materialized!]);
          expect(schedule.cost).to.be.at.most(plainCost(problem, cut, cost) + 1e-9);
        }
      }
  });

  it("plans a real workflow at its least cost", () => {
    const schedule = findSchedule(realWorkflow(), { cost: "ports" });
    expect(schedule.optimal).to.equal(true);
    expect(schedule.cost).to.equal(17);
    expect(schedule.materialized).to.deep.equal(["domains>long", "frequent>similar"]);
  });

  it("gives the same answer whatever the order of operators and links", () => {
    const shuffled = <T>(items: readonly T[]) => fc.shuffledSubarray([...items], { minLength: items.length });
    for (const cost of MODELS)
      fc.assert(
        fc.property(
          randomProblem({ operators: 10, links: 18 }).chain((problem) =>
            fc.tuple(
              fc.constant(problem),
              shuffled(problem.operators),
              shuffled(problem.links),
              shuffled(problem.viewed),
            ),
          ),
          ([problem, operators, links, viewed]) => {
            const { millis: _, ...one } = findSchedule(problem, { cost });
            const { millis: __, ...other } = findSchedule({ ...problem, operators, links, viewed }, { cost });
            expect(other).to.deep.equal(one);
          },
        ),
        { numRuns: 60 },
      );
  });

  it("numbers regions from 1 by level, levels from 0 without holes, each the longest path to it", () => {
    const problem = problemOf(["a>b!", "b>c!", "a>c.1!", "x>y"]);
    const { regions, levels } = findSchedule(problem, { cost: "ports" });
    expect(regions).to.deep.equal([
      { id: 1, level: 0, operators: ["a"] },
      { id: 2, level: 0, operators: ["x", "y"] },
      { id: 3, level: 1, operators: ["b"] },
      { id: 4, level: 2, operators: ["c"] },
    ]);
    expect(levels).to.deep.equal([[1, 2], [3], [4]]);
  });

  describe("the cost in ports", () => {
    const chosen = (problem: SchedulingProblem) => findSchedule(problem, { cost: "ports" }).materialized;

    it("leaves bridges and chains with a materialised link whole", () => {
      expect(chosen(problemOf(["a>b", "b>c!", "c>d", "a>d.1", "d>e"]))).to.deep.equal(["a>d.1"]);
    });

    it("cuts one link of a chain: where a port is viewed already, if anywhere", () => {
      const chain = ["a>b!", "a.1>x", "x>y", "y>z", "z>b.1"];
      expect(chosen(problemOf(chain, { viewed: [{ operator: "y", port: 0 }] }))).to.deep.equal(["y>z"]);
      // Through port 0, the rows of `a` are written for the link to `b` already.
      expect(chosen(problemOf(chain.map((text) => text.replace("a.1", "a"))))).to.deep.equal(["a>x"]);
    });

    it("counts a port once, however many links leave it or end in it", () => {
      // One port of a, and an input port each of b, c and d.
      const leaving = findSchedule(problemOf(["a>b!", "a>c", "c>b", "a>d!", "d>c.1"]), { cost: "ports" });
      expect(leaving).to.deep.include({ materialized: ["a>c"], cost: 4 });
      // The port of b in which d>b ends is read already.
      const entering = findSchedule(problemOf(["a>b!", "a.1>c", "c>d", "d>b"]), { cost: "ports" });
      expect(entering).to.deep.include({ materialized: ["d>b"], cost: 3 });
    });

    it("cuts every link between two regions, also those that join the same ports", () => {
      const twice: SchedulingProblem = problemOf(["a>b!", "a>b.1"]);
      const twin = { ...twice.links[1]!, id: "twin" };
      const schedule = findSchedule({ ...twice, links: [...twice.links, twin] }, { cost: "ports" });
      expect(schedule.materialized).to.deep.equal(["a>b.1", "twin"]);
      expect(schedule.cost).to.equal(3);
    });

    it("takes stored links for reads that nobody waits for", () => {
      const problem = problemOf(["a>b!", "a>c", "c>b.1"]);
      const links = problem.links.map((link) => ({ ...link, stored: link.id === "a>b" }));
      const schedule = findSchedule({ ...problem, links }, { cost: "ports" });
      expect(schedule).to.deep.include({ materialized: [], cost: 1, optimal: true });
      expect(schedule.regions).to.have.length(1);
    });

    it("plans nothing, one operator and plans that fall apart", () => {
      expect(findSchedule({ operators: [], links: [], viewed: [] }, { cost: "ports" })).to.deep.include({
        materialized: [],
        regions: [],
        levels: [],
        cost: 0,
        optimal: true,
      });
      const one = { operators: [{ id: "a", seconds: 2 }], links: [], viewed: [{ operator: "a", port: 0 }] };
      expect(findSchedule(one, { cost: "ports" })).to.deep.include({ cost: 1, levels: [[1]] });
      expect(findSchedule(one, { cost: "seconds" }).cost).to.equal(2);
      const apart = problemOf(["a>b!", "a>c", "c>b.1", "x>y!", "x>z", "z>y.1"]);
      expect(findSchedule(apart, { cost: "ports" })).to.deep.include({ materialized: ["a>c", "x>z"], cost: 6 });
    });
  });

  it("keeps seconds apart by ports when they are equal, and small ones from being lost beside large ones", () => {
    const problem = problemOf(["a>b!", "a>x", "x>b.1"]);
    const operators = [
      { id: "a", seconds: 100_000 },
      { id: "b", seconds: 0.001 },
      { id: "x", seconds: 0.001 },
    ];
    // Either way two regions; a's port is written already.
    expect(findSchedule({ ...problem, operators }, { cost: "seconds" }).materialized).to.deep.equal(["a>x"]);
    const slower = operators.map((o) => (o.id === "x" ? { ...o, seconds: 0.002 } : o));
    // With a, the slower x costs nothing.
    const schedule = findSchedule({ ...problem, operators: slower }, { cost: "seconds" });
    expect(schedule.materialized).to.deep.equal(["x>b.1"]);
    expect(schedule.cost).to.be.closeTo(100_000.001, 1e-9);
  });

  it("weighs ports by their bytes, written once and read by each pair of ports", () => {
    const problem = problemOf(["a>b!", "a>x", "x>y", "y>b.1"]);
    const sizes: Record<string, number> = { a: 1_000, x: 600, y: 400 };
    const schedule = findSchedule({ ...problem, bytes: (operator) => sizes[operator] }, { cost: "bytes" });
    expect(schedule).to.deep.include({ materialized: ["y>b.1"], cost: 2_800 });
  });

  describe("modes", () => {
    it("cuts every link when all are to be materialised", () => {
      const problem = problemOf(["a>b", "b>c!"]);
      const schedule = findSchedule(problem, { cost: "ports", mode: "all-materialized" });
      expect(schedule).to.deep.include({ materialized: ["a>b"], cost: 4, optimal: false });
      expect(schedule.regions).to.have.length(3);
    });

    it("is sound and never cheaper than exact when greedy", () => {
      for (const cost of MODELS)
        for (let seed = 1; seed <= 10; seed++) {
          const problem = layeredPlan(seed, { operators: 30, links: 50, must: 0.12 });
          const greedy = findSchedule(problem, { cost, mode: "greedy" });
          expectSound(problem, greedy, cost);
          expect(findSchedule(problem, { cost, deadlineMs: 60_000 }).cost).to.be.at.most(greedy.cost + 1e-9);
        }
    });
  });

  describe("when there is too much to search", () => {
    const large = layeredPlan(5, { operators: 300, links: 500, must: 0.1 });

    it("answers soon after its deadline, with something sound", () => {
      for (const deadlineMs of [0, 1, 40, 300]) {
        let asked = 0;
        const schedule = findSchedule(large, { cost: "ports", deadlineMs, now: () => asked++ });
        expectSound(large, schedule, "ports");
        expect(schedule.optimal).to.equal(false);
        // It asks once per state, so it looked at few after its time was over.
        expect(asked).to.be.at.most(deadlineMs + 20);
      }
    });

    it("answers the same within the same number of states, and better with more", () => {
      const within = (maxStates: number) => {
        const { millis: _, ...schedule } = findSchedule(large, { cost: "ports", maxStates, now: () => 0 });
        return schedule;
      };
      expect(within(600)).to.deep.equal(within(600));
      expect(within(1_500).cost).to.be.below(within(450).cost);
    });

    it("is never above the four classic searches", () => {
      for (const [problem, cost] of [
        [large, "ports"],
        [layeredPlan(6, { operators: 120, links: 200, must: 0.15 }), "seconds"],
        [randomPlan(7, { operators: 300, sharing: 0.6 }), "bytes"],
      ] as const) {
        const schedule = findSchedule(problem, { cost, maxStates: 2_000, deadlineMs: 60_000 });
        for (const direction of ["bottom-up", "top-down"] as const)
          for (const global of [false, true]) {
            const prunings = { chains: true, bridges: true, earlyStop: direction === "bottom-up" };
            const { materialized } = classicSearch(problem, { cost, direction, global, ...prunings, deadlineMs: 200 });
            if (!materialized) continue;
            const cut = new Set([...mustBeCut(problem), ...materialized]);
            expect(schedule.cost).to.be.at.most(plainCost(problem, cut, cost) + 1e-9);
          }
      }
    });
  });

  it("refuses what is no plan, and says why", () => {
    const refused =
      (problem: SchedulingProblem, cost: CostModel = "ports") =>
      () =>
        findSchedule(problem, { cost });
    expect(refused(problemOf(["a>b", "b>c", "c>a"]))).to.throw(/no cycles, but a → b → c is one/);
    expect(refused({ ...problemOf(["a>b"]), operators: [{ id: "a" }] })).to.throw(/"b", which is no operator/);
    const { operators, links } = problemOf(["a>b"]);
    expect(refused({ operators: [...operators, { id: "a" }], links, viewed: [] })).to.throw(/Two operators .* "a"/);
    expect(refused({ operators, links: [...links, ...links], viewed: [] })).to.throw(/Two links .* "a>b"/);
    expect(refused({ operators: [{ id: "a", seconds: -1 }], links: [], viewed: [] }, "seconds")).to.throw(/are -1/);
    expect(refused({ operators, links, viewed: [], bytes: () => Number.NaN }, "bytes")).to.throw(/are NaN/);
  });
});
