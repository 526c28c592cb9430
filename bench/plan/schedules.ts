// Figures of the scheduler: its costs beside brute force and the classic searches, and its times.

import { cutRegions, regionLevels } from "../../src/core/scheduling/cut-regions.js";
import { type CostModel, findSchedule, type Schedule } from "../../src/core/scheduling/find-schedule.js";
import { linkGraph } from "../../src/core/scheduling/link-graph.js";
import { costTable, tableCost } from "../../src/core/scheduling/schedule-cost.js";
import type { SchedulingProblem } from "../../src/core/scheduling/scheduling-problem.js";
import { atMost, type Measurement, ratioAtLeast } from "../figure.js";
import { median } from "../statistics.js";
import { classicSearch } from "./classic-searches.js";
import type { FigureDeps, FigureGroup } from "./figure-group.js";
import { layeredPlan } from "./layered-plans.js";
import { randomPlan } from "./random-plans.js";
import { realWorkflow } from "./real-workflow.js";

const MODELS: CostModel[] = ["ports", "seconds", "bytes"];
const CLASSICS = (["bottom-up", "top-down"] as const).flatMap((direction) =>
  [false, true].map((global) => ({
    direction,
    global,
    chains: true,
    bridges: true,
    earlyStop: direction === "bottom-up",
  })),
);
const BRUTE_FORCE_LINKS = 13;
const FREE_LINKS = 60;
const WARM_UP = 40;
const ROUNDS = 5;

/** Plans of at most so many free links, drawn and layered in turn. */
function* plansOf(count: number, freeLinks: number, size: number): Iterable<SchedulingProblem> {
  let found = 0;
  for (let seed = 1; found < count; seed++) {
    const plan =
      seed % 2 === 0
        ? randomPlan(seed, { operators: size, sharing: 0.5 })
        : layeredPlan(seed, { operators: size, links: Math.round(size * 1.6), must: 0.12 });
    if (freeLinksOf(plan) > freeLinks) continue;
    found++;
    yield plan;
  }
}

const freeLinksOf = ({ links }: SchedulingProblem): number => links.filter((link) => !link.mustMaterialize).length;

/** The search's number for a schedule's cost, by which searches of one problem can be compared. */
function costOf(problem: SchedulingProblem, { materialized }: Pick<Schedule, "materialized">, cost: CostModel): number {
  const graph = linkGraph(problem);
  const chosen = new Set(materialized);
  const cut = Uint8Array.from(graph.links, (link) => (link.mustMaterialize || chosen.has(link.id) ? 1 : 0));
  if (!regionLevels(graph, cut, cutRegions(graph, cut))) throw new Error("A schedule has a cycle of regions.");
  return tableCost(costTable(problem, graph, cost), graph, cut);
}

function bruteForce(problem: SchedulingProblem, cost: CostModel): number {
  const graph = linkGraph(problem);
  const table = costTable(problem, graph, cost);
  const free = [...graph.links.keys()].filter((link) => !graph.must[link]);
  let least = Number.POSITIVE_INFINITY;
  for (let subset = 0; subset < 2 ** free.length; subset++) {
    const cut = Uint8Array.from(graph.must);
    for (const [n, link] of free.entries()) cut[link] = (subset >> n) & 1;
    const price = tableCost(table, graph, cut);
    if (price < least && regionLevels(graph, cut, cutRegions(graph, cut))) least = price;
  }
  return least;
}

/** Row 1: the cost of small plans. */
export const smallPlans: FigureGroup = {
  figures: ["schedule-brute-force", "schedule-greedy", "schedule-proven"],
  *measure({ scale, note }: FigureDeps): Iterable<Measurement> {
    const small = [...plansOf(scale.plans, BRUTE_FORCE_LINKS, 9)];
    const tested = small.flatMap((plan) => MODELS.map((cost) => ({ plan, cost })));
    const equal = tested.filter(
      ({ plan, cost }) => costOf(plan, findSchedule(plan, { cost }), cost) === bruteForce(plan, cost),
    );
    const all = { unit: "plans", bound: ratioAtLeast(1) };
    yield { ...all, figure: "schedule-brute-force", value: equal.length, yardstick: tested.length };

    const larger = [...plansOf(scale.plans, FREE_LINKS, 38)].flatMap((plan) => MODELS.map((cost) => ({ plan, cost })));
    let notAbove = 0;
    let proven = 0;
    const above: number[] = [];
    for (const { plan, cost } of larger) {
      const schedule = findSchedule(plan, { cost });
      const ours = costOf(plan, schedule, cost);
      const greedy = CLASSICS.filter(({ global }) => !global).map((one) => classicSearch(plan, { ...one, cost }).cost);
      if (greedy.every((theirs) => ours <= theirs)) notAbove++;
      if (schedule.optimal) proven++;
      above.push(Math.min(...greedy) / ours);
    }
    note(
      `plans of up to ${FREE_LINKS} free links: the better greedy search is ${percentAbove(above)} above the optimum`,
    );
    yield { ...all, figure: "schedule-greedy", value: notAbove, yardstick: larger.length };
    yield { ...all, figure: "schedule-proven", value: proven, yardstick: larger.length };
  },
};

const percentAbove = (ratios: readonly number[]): string => {
  const finite = ratios.filter(Number.isFinite);
  const mean = finite.reduce((sum, ratio) => sum + ratio, 0) / finite.length;
  return `${((mean - 1) * 100).toFixed(1)} % (at most ${((Math.max(...finite) - 1) * 100).toFixed(0)} %)`;
};

/** Row 2: the time of workflows as people draw them. */
export const workflows: FigureGroup = {
  figures: ["schedule-workflow-slowest", "schedule-workflow-real", "schedule-workflow-proven"],
  *measure({ scale, note }: FigureDeps): Iterable<Measurement> {
    const drawn = Array.from({ length: scale.plans }, (_, n) =>
      randomPlan(7_000 + n, { operators: 20 + (n % 21), sharing: 0.3 + (n % 5) / 10 }),
    );
    for (let n = 0; n < WARM_UP; n++) findSchedule(drawn[n % drawn.length]!, { cost: MODELS[n % 3]! });
    let proven = 0;
    const timed = (plan: SchedulingProblem, cost: CostModel) => {
      const runs = Array.from({ length: ROUNDS }, () => findSchedule(plan, { cost }));
      if (runs.every(({ optimal }) => optimal)) proven++;
      return median(runs.map(({ millis }) => millis));
    };
    const times = drawn.flatMap((plan) => MODELS.map((cost) => timed(plan, cost)));
    const real = MODELS.map((cost) => timed(realWorkflow(), cost));
    note(`workflows of 20-40 operators: median ${median(times).toFixed(2)} ms`);
    const bound = atMost(20);
    const greedyMs = (plan: SchedulingProblem) => {
      const startedAt = performance.now();
      for (const one of CLASSICS) if (!one.global) classicSearch(plan, { ...one, cost: "ports" });
      return performance.now() - startedAt;
    };
    const ms = { unit: "ms", bound };
    yield {
      ...ms,
      figure: "schedule-workflow-slowest",
      value: Math.max(...times),
      yardstick: Math.max(...drawn.map(greedyMs)),
    };
    yield { ...ms, figure: "schedule-workflow-real", value: Math.max(...real), yardstick: greedyMs(realWorkflow()) };
    const plans = times.length + real.length;
    yield {
      figure: "schedule-workflow-proven",
      value: proven,
      unit: "plans",
      yardstick: plans,
      bound: ratioAtLeast(1),
    };
  },
};

/** Row 3: plans too large to be searched whole. */
export const largePlans: FigureGroup = {
  figures: ["schedule-large-answer", "schedule-large-classics"],
  *measure({ scale, note }: FigureDeps): Iterable<Measurement> {
    const { deadlineMs } = scale;
    const plans = Array.from({ length: scale.largePlans }, (_, n) =>
      n % 3 === 0
        ? randomPlan(50 + n, { operators: 300, sharing: 0.6 })
        : layeredPlan(50 + n, { operators: 300, links: n % 3 === 1 ? 480 : 560, must: n % 3 === 1 ? 0.1 : 0.25 }),
    );
    let slowest = 0;
    let notAbove = 0;
    const above: number[] = [];
    for (const [n, plan] of plans.entries()) {
      const cost = MODELS[n % 3]!;
      const startedAt = performance.now();
      const schedule = findSchedule(plan, { cost, deadlineMs });
      slowest = Math.max(slowest, performance.now() - startedAt);
      const ours = costOf(plan, schedule, cost);
      const theirs = CLASSICS.map((one) => classicSearch(plan, { ...one, cost, deadlineMs }).cost);
      if (theirs.every((price) => ours <= price)) notAbove++;
      above.push(Math.min(...theirs) / ours);
    }
    note(`300 operators: the best of four classic searches is ${percentAbove(above)} above ours`);
    yield {
      figure: "schedule-large-answer",
      value: slowest,
      unit: "ms",
      yardstick: deadlineMs,
      bound: atMost(1.1 * deadlineMs),
    };
    yield {
      figure: "schedule-large-classics",
      value: notAbove,
      unit: "plans",
      yardstick: plans.length,
      bound: ratioAtLeast(1),
    };
  },
};
