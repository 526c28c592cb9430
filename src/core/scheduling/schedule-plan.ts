// A physical plan with its schedule: links and ports marked, regions cut.
//
// P1  What must be materialised are links into and out of user functions: user code runs in a process of its own.
//     Relational operators that block need nothing of the kind: a region's are one query or a few.
// P2  Links that leave a stored port are materialised and constrain nothing: the rows are there before anything runs.
//     That includes every link from an operator that does not run to one that does.
// P3  Operators that do not run are in regions of their own, at level 0 and marked cached. They are behind the others,
//     whose numbers are those of the schedule.
import {
  globalPortId,
  operatorKey,
  type PhysicalLink,
  type PhysicalOperator,
  type PhysicalOperatorKey,
  type PhysicalPlan,
  type PortKey,
  type Region,
} from "../plan.js";
import { cutRegions } from "./cut-regions.js";
import { findSchedule, type Schedule, type ScheduleOptions } from "./find-schedule.js";
import { linkGraph } from "./link-graph.js";
import { markOutputPorts } from "./mark-output-ports.js";
import type { ProblemLink, SchedulingProblem } from "./scheduling-problem.js";

export interface PlanScheduleOptions extends ScheduleOptions {
  viewResult(operatorId: string): boolean;
  /** Seconds of the last run by operator key. */
  seconds?: ReadonlyMap<string, number>;
  /** Estimated bytes by global port id. */
  bytes?: ReadonlyMap<string, number>;
  /** Global ids of output ports whose rows are in storage already. */
  stored?: ReadonlySet<string>;
  /** Keys of the operators that must run; default: all. */
  execute?: ReadonlySet<string>;
}

/** Whether an operator must run. */
type Runs = (operator: PhysicalOperatorKey) => boolean;

const WHY_USER_CODE = "User code runs in a process of its own.";
const WHY_CHOSEN = "Without it regions would wait for each other.";
const WHY_EVERYTHING = "Every link goes through storage.";
const WHY_STORED = "Its rows are in storage already.";

/** The plan's own marks and regions do not matter; its operators come each after what it reads, in the result as well. */
export function schedulePlan(
  plan: PhysicalPlan,
  options: PlanScheduleOptions,
): { plan: PhysicalPlan; schedule: Schedule } {
  const { viewResult, stored = new Set(), execute } = options;
  const runs: Runs = (operator) => execute?.has(operatorKey(operator)) ?? true;
  const schedule = findSchedule(problemOf(plan, options, runs), options);
  const chosen = new Set(schedule.materialized);
  const mustBe = linksOfUserCode(plan);
  const whyChosen = options.mode === "all-materialized" ? WHY_EVERYTHING : WHY_CHOSEN;
  const links = plan.links.map((link): PhysicalLink => {
    const mustMaterialize = mustBe.has(link.id);
    const why = stored.has(globalPortId(link.from))
      ? WHY_STORED
      : !runs(link.to) || !runs(link.from)
        ? ""
        : mustMaterialize
          ? WHY_USER_CODE
          : chosen.has(link.id)
            ? whyChosen
            : "";
    return { ...link, materialized: why !== "", why, mustMaterialize };
  });
  const scheduled = { ...plan, links, operators: markOutputPorts({ ...plan, links }, viewResult, runs, stored) };
  const ran = ranRegions(plan, schedule);
  return { plan: { ...scheduled, regions: [...ran, ...cachedRegions(scheduled, runs, ran.length + 1)] }, schedule };
}

/** What is to be scheduled: the operators that run, and the links into them. */
function problemOf(
  { operators, links }: PhysicalPlan,
  { viewResult, seconds, bytes, stored = new Set() }: PlanScheduleOptions,
  runs: Runs,
): SchedulingProblem {
  const consumed = new Set(links.map(({ from }) => globalPortId(from)));
  const running = operators.filter(runs);
  const mustBe = linksOfUserCode({ operators, links });
  const ids = new Map(running.flatMap((o) => o.outputs.map(({ key }) => [portName(key), globalPortId(key)])));
  for (const { from } of links) ids.set(portName(from), globalPortId(from));
  return {
    operators: running.map((o) => ({ id: operatorKey(o), seconds: seconds?.get(operatorKey(o)) })),
    links: links
      .filter(({ to }) => runs(to))
      .map((link) => {
        const isStored = stored.has(globalPortId(link.from));
        if (!isStored && !runs(link.from))
          throw new Error(`Link ${link.id} leaves an operator that does not run, and its rows are not stored.`);
        return problemLink(link, isStored, mustBe.has(link.id));
      }),
    viewed: running.flatMap((o) =>
      o.outputs
        .filter(({ key }) => viewResult(o.operatorId) || !consumed.has(globalPortId(key)))
        .filter(({ key }) => !stored.has(globalPortId(key)))
        .map(({ key }) => ({ operator: operatorKey(o), port: portNumber(key) })),
    ),
    bytes: (operator, port) => bytes?.get(ids.get(`${port} ${operator}`) ?? ""),
  };
}

const problemLink = ({ id, from, to }: PhysicalLink, stored: boolean, mustMaterialize = false): ProblemLink => ({
  id,
  from: operatorKey(from),
  fromPort: portNumber(from),
  to: operatorKey(to),
  toPort: portNumber(to),
  mustMaterialize,
  why: mustMaterialize ? WHY_USER_CODE : "",
  stored,
});

/** Internal ports are numbered apart from the others. */
const portNumber = ({ portId, internal }: PortKey): number => 2 * portId + (internal ? 1 : 0);
const portName = (key: PortKey): string => `${portNumber(key)} ${operatorKey(key)}`;

/** P1. */
function linksOfUserCode({ operators, links }: Pick<PhysicalPlan, "operators" | "links">): Set<string> {
  const users = new Set(
    operators.filter(({ implementation }) => implementation.kind === "user-function").map(operatorKey),
  );
  const touching = links.filter(({ from, to }) => users.has(operatorKey(from)) || users.has(operatorKey(to)));
  return new Set(touching.map(({ id }) => id));
}

/** The schedule's regions, their operators in plan order. */
function ranRegions({ operators }: PhysicalPlan, { regions }: Schedule): Region[] {
  const places = new Map(operators.map((operator, place) => [operatorKey(operator), place]));
  return regions.map(({ id, level, operators: members }) => {
    const inPlanOrder = members.map((key) => places.get(key)!).sort((a, b) => a - b);
    return { id, level, operators: keysOf(inPlanOrder.map((place) => operators[place]!)), cached: false };
  });
}

/** P3: those that a link joins whose rows are not stored, so that nobody would have to read it. */
function cachedRegions(
  { operators, links }: Pick<PhysicalPlan, "operators" | "links">,
  runs: Runs,
  firstId: number,
): Region[] {
  const resting = operators.filter((o) => !runs(o));
  const graph = linkGraph({
    operators: resting.map((o) => ({ id: operatorKey(o) })),
    links: links.filter(({ from, to }) => !runs(from) && !runs(to)).map((link) => problemLink(link, link.materialized)),
    viewed: [],
  });
  const { regionOf, count } = cutRegions(graph, new Uint8Array(graph.links.length));
  const regionOfKey = new Map(graph.operators.map(({ id }, n) => [id, regionOf[n]!]));
  const members = Array.from({ length: count }, (): PhysicalOperator[] => []);
  for (const operator of resting) members[regionOfKey.get(operatorKey(operator))!]!.push(operator);
  return members.map((those, n) => ({ id: firstId + n, level: 0, operators: keysOf(those), cached: true }));
}

const keysOf = (operators: readonly PhysicalOperator[]): Region["operators"] =>
  operators.map(({ operatorId, layer }) => ({ operatorId, layer }));
