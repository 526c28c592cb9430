// Plans as people draw them, by the thousand: scans, filters, functions, aggregates, sorts and joins that read from
// what is there already, mostly from what is new. Expanded to physical operators: a join is build and probe, an
// aggregate a local and a global half. The same seed gives the same plan on every machine.
import type { ProblemLink, SchedulingProblem } from "../../src/core/scheduling/scheduling-problem.js";

export interface PlanShape {
  /** Physical operators, about. */
  operators: number;
  /** How often an operator reads what another reads as well, 0 to 1: it is this that makes cycles. */
  sharing: number;
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const BLOCKING = "Its source gives no row before it has read its last one.";
const DEPENDS = "Another input port of its target waits for it.";

/** A random plan. Seconds and bytes are those of a run one could have had. */
export function randomPlan(seed: number, { operators: size, sharing }: PlanShape): SchedulingProblem {
  const random = createRandom(seed);
  const below = (n: number) => Math.floor(random() * n);
  const operators: SchedulingProblem["operators"] = [];
  const links: ProblemLink[] = [];
  const blocking = new Set<string>();
  const unread: string[] = [];
  const add = (kind: string): string => {
    const id = `${kind}-${operators.length}`;
    const slow = kind === "function" ? 20 : kind === "scan" || kind === "probe" ? 8 : 2;
    operators.push({ id, seconds: Math.round(random() * slow * 100) / 100 });
    return id;
  };
  const read = (from: string, to: string, toPort = 0, depends = false) =>
    links.push({
      id: `${from}>${to}:${toPort}${links.length}`,
      from,
      fromPort: 0,
      to,
      toPort,
      mustMaterialize: blocking.has(from) || depends,
      why: blocking.has(from) ? BLOCKING : depends ? DEPENDS : "",
    });
  /** Something to read: what nobody reads yet, or, when shared, one of the last dozen operators. */
  const source = (shared: boolean): string => {
    if (!shared && unread.length > 0) return unread.splice(below(unread.length), 1)[0]!;
    const recent = operators.slice(-12).filter(({ id }) => !id.startsWith("build") && !id.startsWith("local"));
    const { id } = recent[below(recent.length)] ?? operators[0]!;
    const at = unread.indexOf(id);
    if (at >= 0) unread.splice(at, 1);
    return id;
  };
  unread.push(add("scan"));
  while (operators.length < size) {
    const dice = random();
    if (dice < 0.08 || (unread.length === 0 && operators.length < 2)) unread.push(add("scan"));
    else if (dice < 0.3) unread.push(joined(source(random() < sharing), source(random() < sharing)));
    else if (dice < 0.4) unread.push(functionOfTwo(source(random() < sharing), source(random() < sharing)));
    else if (dice < 0.5) unread.push(halves(source(random() < sharing)));
    else unread.push(single(source(random() < sharing), dice));
  }
  const bytes = new Map(operators.map(({ id }) => [id, Math.round(10 ** (2 + 6 * random()))]));
  const consumed = new Set(links.map(({ from }) => from));
  return {
    operators,
    links,
    viewed: operators.filter(({ id }) => !consumed.has(id)).map(({ id }) => ({ operator: id, port: 0 })),
    bytes: (operator) => bytes.get(operator),
  };

  function joined(left: string, right: string): string {
    const [build, probe] = [add("build"), add("probe")];
    blocking.add(build);
    read(left, build);
    read(build, probe, 0, true);
    read(right, probe, 1);
    return probe;
  }
  function functionOfTwo(first: string, second: string): string {
    const id = add("function");
    read(first, id, 0, true);
    read(second, id, 1);
    return id;
  }
  function halves(from: string): string {
    const [local, global] = [add("local"), add("global")];
    blocking.add(global);
    read(from, local);
    read(local, global);
    return global;
  }
  function single(from: string, dice: number): string {
    const id = add(dice < 0.6 ? "sort" : dice < 0.75 ? "function" : "filter");
    if (dice < 0.6) blocking.add(id);
    read(from, id);
    return id;
  }
}
