// The four classic searches for a schedule, to compare with: bottom-up from no link cut beyond those that must be, and
// top-down from every link cut; greedy, which goes on from the cheapest neighbour only, and global, which looks at all.
// As published in "Materialisation choices in pipelined workflow regions" (doi 10.1145/3698832), with its prunings.
//
// A state is a set of links cut in addition. A greedy search prefers neighbours that are schedulable, then cheap ones,
// then those whose link comes first.
import { cutRegions, regionLevels } from "../../src/core/scheduling/cut-regions.js";
import { type LinkGraph, linkGraph } from "../../src/core/scheduling/link-graph.js";
import { type CostModel, costTable, tableCost } from "../../src/core/scheduling/schedule-cost.js";
import type { SchedulingProblem } from "../../src/core/scheduling/scheduling-problem.js";
import { bridgesOf, chainsOf } from "./chains.js";

export interface ClassicOptions {
  cost: CostModel;
  direction: "bottom-up" | "top-down";
  /** Looks at every neighbour, not only at the cheapest. */
  global: boolean;
  /** No link is cut in a chain where another is. */
  chains: boolean;
  /** Bridges are not cut. */
  bridges: boolean;
  /** Bottom-up only: supersets of a schedulable state are not looked at. */
  earlyStop: boolean;
  /** Gives up after so many milliseconds and keeps the best so far. */
  deadlineMs?: number;
}

export interface ClassicResult {
  /** Ids of the links cut beyond those that must be; undefined when nothing schedulable was met. */
  materialized: string[] | undefined;
  /** The search's number for the cost (schedule-cost.ts): comparable among searches of one problem. */
  cost: number;
  visited: number;
  finished: boolean;
}

/** Numbers of the links cut in addition, ascending. */
type State = readonly number[];

export function classicSearch(problem: SchedulingProblem, options: ClassicOptions): ClassicResult {
  const graph = linkGraph(problem);
  const judged = judge(problem, graph, options.cost);
  const space = searchSpace(graph, options);
  const until = performance.now() + (options.deadlineMs ?? Number.POSITIVE_INFINITY);
  const late = () => performance.now() >= until;
  const queue: State[] = [space.start];
  const met = new Set([String(space.start)]);
  const schedulable: State[] = [];
  let best: { state: State; cost: number } | undefined;
  let visited = 0;
  let finished = true;
  for (const state of queue) {
    if (late()) {
      finished = false;
      break;
    }
    if (options.earlyStop && schedulable.some((smaller) => isSubset(smaller, state))) continue;
    visited++;
    const { cost, fits } = judged(state);
    if (fits && (!best || cost < best.cost)) best = { state, cost };
    if (fits && options.earlyStop) {
      schedulable.push(state);
      continue;
    }
    const neighbours = space
      .neighbours(state)
      .filter((next) => !schedulable.some((smaller) => isSubset(smaller, next)));
    if (options.global) {
      for (const next of neighbours) {
        const key = String(next);
        if (!met.has(key)) queue.push(next);
        met.add(key);
      }
    } else {
      // Each step goes one link on, so no state is met twice.
      queue.push(...cheapest(neighbours, judged, late));
      if (late()) finished = false;
    }
  }
  return {
    materialized: best?.state.map((link) => graph.links[link]!.id),
    cost: best?.cost ?? Number.POSITIVE_INFINITY,
    visited,
    finished,
  };
}

/** The cheapest neighbour; none once it is too late. */
function cheapest(neighbours: readonly State[], judged: ReturnType<typeof judge>, late: () => boolean): State[] {
  let best: { state: State; cost: number; fits: boolean } | undefined;
  for (const state of neighbours) {
    if (late()) return [];
    const { cost, fits } = judged(state);
    if (!best || (fits && !best.fits) || (fits === best.fits && cost < best.cost)) best = { state, cost, fits };
  }
  return best ? [best.state] : [];
}

function judge(problem: SchedulingProblem, graph: LinkGraph, model: CostModel) {
  const table = costTable(problem, graph, model);
  const cut = new Uint8Array(graph.links.length);
  return (state: State): { cost: number; fits: boolean } => {
    cut.set(graph.must);
    for (const link of state) cut[link] = 1;
    const fits = regionLevels(graph, cut, cutRegions(graph, cut)) !== undefined;
    return { fits, cost: tableCost(table, graph, cut) };
  };
}

function searchSpace(graph: LinkGraph, { direction, chains, bridges }: ClassicOptions) {
  const whole = bridges ? bridgesOf(graph) : new Set<number>();
  const free = [...graph.links.keys()].filter((link) => !graph.must[link] && !whole.has(link));
  const chainOf = new Map((chains ? chainsOf(graph) : []).flatMap((chain) => chain.map((link) => [link, chain])));
  const besideCut = (state: State, link: number) =>
    chainOf.get(link)?.some((other) => other !== link && (graph.must[other] === 1 || state.includes(other))) ?? false;
  if (direction === "bottom-up")
    return {
      start: [],
      neighbours: (state: State): State[] =>
        free
          .filter((link) => !state.includes(link) && !besideCut(state, link))
          .map((link) => [...state, link].sort((a, b) => a - b)),
    };
  return {
    start: free.filter((link) => !besideCut([], link)),
    neighbours: (state: State): State[] => state.map((link) => state.filter((other) => other !== link)),
  };
}

const isSubset = (small: State, large: State): boolean => small.every((link) => large.includes(link));
