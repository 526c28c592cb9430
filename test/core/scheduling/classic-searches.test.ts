import { expect } from "chai";
import { type ClassicOptions, classicSearch } from "../../../bench/plan/classic-searches.js";
import { findSchedule } from "../../../src/core/scheduling/find-schedule.js";
import type { SchedulingProblem } from "../../../src/core/scheduling/scheduling-problem.js";

const link = (from: string, to: string, toPort = 0, must = false) => ({
  id: `${from}>${to}`,
  from,
  fromPort: 0,
  to,
  toPort,
  mustMaterialize: must,
  why: must ? "The build side blocks." : "",
});

/** csv → {join.build, keyword}, keyword → join.probe, join → keyword2, the join being build and probe. */
const published: SchedulingProblem = {
  operators: ["csv", "build", "probe", "keyword", "keyword2"].map((id) => ({ id })),
  links: [
    link("csv", "build"),
    link("build", "probe", 0, true),
    link("csv", "keyword"),
    link("keyword", "probe", 1),
    link("probe", "keyword2"),
  ],
  viewed: [{ operator: "keyword2", port: 0 }],
};

const none = { cost: "ports", global: true, chains: false, bridges: false, earlyStop: false } as const;
const visited = (options: Partial<ClassicOptions>) =>
  classicSearch(published, { ...none, direction: "bottom-up", ...options }).visited;

describe("the classic searches", () => {
  it("visit as many states bottom-up as published, by pruning: none, chains, bridges, early stop, all", () => {
    expect(visited({})).to.equal(16);
    expect(visited({ chains: true })).to.equal(6);
    expect(visited({ bridges: true })).to.equal(8);
    expect(visited({ earlyStop: true })).to.equal(6);
    expect(visited({ chains: true, bridges: true, earlyStop: true })).to.equal(3);
  });

  it("visit as many states top-down as published, by pruning: none, chains, bridges, both", () => {
    const direction = "top-down";
    expect(visited({ direction })).to.equal(16);
    expect(visited({ direction, chains: true })).to.equal(8);
    expect(visited({ direction, bridges: true })).to.equal(8);
    expect(visited({ direction, chains: true, bridges: true })).to.equal(4);
  });

  it("agree with the exact search where they look at everything", () => {
    const { materialized } = findSchedule(published, { cost: "ports" });
    expect(materialized).to.have.length(1);
    for (const direction of ["bottom-up", "top-down"] as const)
      expect(classicSearch(published, { ...none, direction }).materialized).to.have.length(1);
  });
});
