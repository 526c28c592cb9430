// The cheapest schedule of a plan, or the best one found before the deadline.
//
// The parts in which something is open are independent (settle.ts). Each gets two greedy cuts to begin with, so the
// answer is never dearer than either, and is then searched exactly. Where that takes too long, local improvement and
// ever longer exact searches take turns until the optimum is proven or time or states run out.
import { groupBy } from "../group-by.js";
import { cutRegions, regionLevels } from "./cut-regions.js";
import { type Effort, type Found, searchPart } from "./exact-search.js";
import { cutBottomUp, cutTopDown, trimmed } from "./greedy-search.js";
import { type LinkGraph, linkGraph } from "./link-graph.js";
import { improve } from "./local-improvement.js";
import type { Part } from "./part.js";
import { createPurse, type Purse } from "./purse.js";
import { type CostModel, type CostTable, costTable, reportedCost } from "./schedule-cost.js";
import type { SchedulingProblem } from "./scheduling-problem.js";
import { settle } from "./settle.js";

export type { CostModel } from "./schedule-cost.js";

/** How a schedule is chosen: as cheaply as possible, by the better of two greedy searches, or with every link cut. */
export type ScheduleMode = "exact" | "greedy" | "all-materialized";

export interface ScheduleOptions {
  cost: CostModel;
  /** Default: exact. */
  mode?: ScheduleMode;
  /** The answer is there about this many milliseconds after the call; default 1,000. */
  deadlineMs?: number;
  /** At most about this many states are looked at: a limit that is the same on every machine. Default: none. */
  maxStates?: number;
  /** Milliseconds of a clock that only goes forward. */
  now?: () => number;
}

export interface Schedule {
  /** Ids of the links that are materialised beyond those that must be, sorted. */
  materialized: string[];
  /** Numbered from 1 by level, and within a level by their first operator; operators are sorted. */
  regions: { id: number; level: number; operators: string[] }[];
  /** Ids of regions, by level from 0. */
  levels: number[][];
  /** In the unit of the cost model (schedule-cost.ts). */
  cost: number;
  /** True when no schedule costs less; proven. */
  optimal: boolean;
  /** States looked at. */
  explored: number;
  millis: number;
}

/** The same problem has the same answer, whatever the order of its lists, unless the clock cuts the search short. */
export function findSchedule(problem: SchedulingProblem, options: ScheduleOptions): Schedule {
  const { cost: model, mode = "exact", now = () => performance.now() } = options;
  const startedAt = now();
  const graph = linkGraph(problem);
  const table = costTable(problem, graph, model);
  const effort = createEffort(options, startedAt, now);
  const { cut, optimal } =
    mode === "all-materialized"
      ? { cut: new Uint8Array(graph.links.length).fill(1), optimal: graph.must.every((must) => must === 1) }
      : chooseCut(graph, table, mode, effort);
  const regions = cutRegions(graph, cut);
  const levels = regionLevels(graph, cut, regions);
  if (!levels) throw new Error("The search gave a cut with a cycle of regions.");
  return {
    materialized: graph.links.filter((_, link) => cut[link] && !graph.must[link]).map(({ id }) => id),
    ...regionsByLevel(graph, regions.regionOf, levels),
    cost: reportedCost(problem, graph, cut, model),
    optimal,
    explored: effort.states(),
    millis: now() - startedAt,
  };
}

function regionsByLevel(
  graph: LinkGraph,
  regionOf: Int32Array,
  levels: Int32Array,
): Pick<Schedule, "regions" | "levels"> {
  const order = [...levels.keys()].sort((a, b) => levels[a]! - levels[b]! || a - b);
  const members = order.map((): string[] => []);
  for (const [n, { id }] of graph.operators.entries()) members[regionOf[n]!]!.push(id);
  const regions = order.map((region, n) => ({ id: n + 1, level: levels[region]!, operators: members[region]! }));
  const byLevel = groupBy(regions, ({ level }) => level);
  return { regions, levels: [...byLevel.values()].map((level) => level.map(({ id }) => id)) };
}

function chooseCut(graph: LinkGraph, table: CostTable, mode: ScheduleMode, effort: TotalEffort) {
  const purse = createPurse(table);
  const whole = wholePlan(graph, table);
  for (const [b, bundle] of whole.bundles.entries()) if (whole.cut[b]) purse.pay(bundle);
  effort.count();
  const settled = settle(whole, purse);
  if (!settled) throw new Error("A plan without cycles has a schedule.");
  const searches = settled.open.map((part) => partSearch(part, purse, effort));
  if (mode === "exact") {
    while (searches.some((one) => !one.done()) && !effort.spent())
      for (const one of searches) if (!one.done()) one.advance();
  }
  const cut = Uint8Array.from(graph.must);
  for (const { links } of [...settled.cuts, ...searches.flatMap((one) => one.best().cuts)])
    for (const link of links) cut[link] = 1;
  return { cut, optimal: searches.every((one) => one.done()) };
}

/** Every operator a node, every link a bundle. */
const wholePlan = (graph: LinkGraph, { uses, operatorPrices }: CostTable): Part => ({
  prices: operatorPrices,
  from: graph.from,
  to: graph.to,
  cut: graph.must,
  bundles: graph.links.map((_, link) => ({ links: [link], uses: uses[link]! })),
});

interface PartSearch {
  best(): Found;
  /** True when the best is proven to be the optimum. */
  done(): boolean;
  /** Searches some more. */
  advance(): void;
}

/** A part with no more free links is searched exactly at once; a larger one is improved first. */
const SMALL = 60;
const FIRST_STATES = 2_000;
const WINDOW_STATES = 200;
const FIRST_WINDOW = 12;
const WINDOW_GROWTH = 1.5;

function partSearch(part: Part, purse: Purse, effort: TotalEffort): PartSearch {
  let best = cutTopDown(part, purse, effort);
  const other = cutBottomUp(part, purse, effort);
  if (other) {
    const shorter = trimmed(part, other, purse, effort);
    if (shorter.cost < best.cost) best = shorter;
  }
  const free = part.cut.filter((isCut) => !isCut).length;
  let proven = false;
  let window = free <= SMALL ? free : FIRST_WINDOW;
  let states = FIRST_STATES;
  const searchAll = () => {
    const slice = effort.slice(states);
    states *= 2;
    best = searchPart(part, purse, best.cost, slice) ?? best;
    proven = !slice.spent();
  };
  const everywhere = new Set(part.prices.keys());
  let touched = everywhere;
  const searchAround = () => {
    const slice = () => effort.slice(WINDOW_STATES);
    ({ best, touched } = improve(part, { best, touched }, purse, window, effort, slice));
    if (touched.size > 0) return;
    touched = everywhere;
    window = Math.ceil(window * WINDOW_GROWTH);
  };
  return {
    best: () => best,
    done: () => proven,
    advance() {
      if (window >= free) searchAll();
      else searchAround();
    },
  };
}

interface TotalEffort extends Effort {
  states(): number;
  /** A part of the effort: spent after so many states, or with the whole. */
  slice(states: number): Effort;
}

function createEffort(
  { deadlineMs = 1_000, maxStates }: ScheduleOptions,
  startedAt: number,
  now: () => number,
): TotalEffort {
  const most = maxStates ?? Number.POSITIVE_INFINITY;
  let states = 0;
  let over = false;
  const count = () => void states++;
  const spent = () => {
    over ||= states >= most || now() - startedAt >= deadlineMs;
    return over;
  };
  return {
    count,
    spent,
    states: () => states,
    slice(allowed) {
      const end = states + allowed;
      return { count, spent: () => states >= end || spent() };
    },
  };
}
