// What a cut costs, in three currencies.
//
// ports    distinct output ports that are materialised or viewed, plus distinct input ports that read a stored port.
// bytes    the bytes of distinct output ports that are materialised or viewed, plus those read through each distinct
//          pair of an input port and an output port.
// seconds  the sum over regions of their slowest operator's seconds: regions taken one after the other.
//
// Equal bytes or seconds are told apart by ports. The search adds up one number: `bytes or seconds, in ticks` × `more
// than all ports can cost` + `ports`. Ticks are whole and so chosen that the sum is exact in a double (C1), which is
// why ties are ties and not rounding.
//
// C2  Every cost is monotone: a cut costs at least as much as any part of it. Ports and pairs are only added; and a
//     region that falls apart leaves one piece with its slowest operator, beside others that cost nothing or more.
import { invalid } from "../app-error.js";
import { cutRegions } from "./cut-regions.js";
import type { LinkGraph } from "./link-graph.js";
import type { ProblemLink, SchedulingProblem } from "./scheduling-problem.js";

export type CostModel = "ports" | "seconds" | "bytes";

/** Prices by number. What a cut costs is the price of all it uses, each once, and the slowest operator of each region. */
export interface CostTable {
  /** Per thing that is paid for once: an output port, an input port, a pair of them. */
  prices: Float64Array;
  /** Per link, the things it uses when it is cut. */
  uses: readonly (readonly number[])[];
  /** Things that are paid for whatever is cut: viewed ports, reads of stored ones. */
  paid: Uint8Array;
  /** Per operator; all 0 unless seconds count. */
  operatorPrices: Float64Array;
}

const EXACT = 2 ** 52;
const FINEST = 1e9;

export function costTable(problem: SchedulingProblem, graph: LinkGraph, model: CostModel): CostTable {
  const prices: number[] = [];
  const numbers = new Map<string, number>();
  const thing = (name: string, price: number): number => {
    let number = numbers.get(name);
    if (number === undefined) {
      number = prices.push(price) - 1;
      numbers.set(name, number);
    }
    return number;
  };
  const byteCount = model === "bytes" ? bytesOf(problem) : () => 0;
  const all = [...graph.links, ...graph.stored];
  const aboveAllPorts = 2 * all.length + problem.viewed.length + 1;
  const seconds = graph.operators.map(({ id, seconds = 0 }) => amount(seconds, `The seconds of operator ${id}`));
  const total =
    model === "seconds"
      ? sum(seconds)
      : sum(all.map((link) => 2 * byteCount(link.from, link.fromPort))) +
        sum(problem.viewed.map(({ operator, port }) => byteCount(operator, port)));
  const ticks = ticksPerUnit(total, aboveAllPorts, model);
  const major = (value: number) => Math.round(value * ticks) * aboveAllPorts;
  const output = (operator: string, port: number) =>
    thing(`out ${port} ${operator}`, 1 + major(byteCount(operator, port)));
  const reads = (link: ProblemLink): number[] => [
    thing(`in ${link.toPort} ${link.to}`, 1),
    ...(model === "bytes"
      ? [thing(JSON.stringify([link.from, link.fromPort, link.to, link.toPort]), major(bytesRead(link)))]
      : []),
  ];
  const bytesRead = (link: ProblemLink) => byteCount(link.from, link.fromPort);
  const uses = graph.links.map((link) => [...reads(link), output(link.from, link.fromPort)]);
  const certain = [
    ...graph.stored.flatMap(reads),
    ...problem.viewed.map(({ operator, port }) => output(operator, port)),
  ];
  const paid = new Uint8Array(prices.length);
  for (const number of certain) paid[number] = 1;
  return {
    prices: Float64Array.from(prices),
    uses,
    paid,
    operatorPrices: Float64Array.from(model === "seconds" ? seconds : seconds.map(() => 0), major),
  };
}

/** The number the search makes smallest. */
export function tableCost(
  { prices, uses, paid, operatorPrices }: CostTable,
  graph: LinkGraph,
  cut: Uint8Array,
): number {
  const used = Uint8Array.from(paid);
  for (let link = 0; link < cut.length; link++) if (cut[link]) for (const thing of uses[link]!) used[thing] = 1;
  let cost = 0;
  for (let thing = 0; thing < prices.length; thing++) if (used[thing]) cost += prices[thing]!;
  const { regionOf, count } = cutRegions(graph, cut);
  return cost + sum(slowestOf(operatorPrices, regionOf, count));
}

/** The cost for people: a number of ports, of bytes, or seconds. */
export function reportedCost(problem: SchedulingProblem, graph: LinkGraph, cut: Uint8Array, model: CostModel): number {
  if (model === "seconds") {
    const seconds = Float64Array.from(graph.operators, (operator) => operator.seconds ?? 0);
    const { regionOf, count } = cutRegions(graph, cut);
    return sum(slowestOf(seconds, regionOf, count));
  }
  const byteCount = bytesOf(problem);
  const price = model === "ports" ? () => 1 : byteCount;
  const read = [...graph.links.filter((_, link) => cut[link]), ...graph.stored];
  const written = new Map<string, number>();
  const write = (operator: string, port: number) => written.set(`${port} ${operator}`, price(operator, port));
  for (const { from, fromPort, stored } of read) if (!stored) write(from, fromPort);
  for (const { operator, port } of problem.viewed) write(operator, port);
  const pairs = new Map(
    read.map(({ from, fromPort, to, toPort }) => [
      JSON.stringify(model === "ports" ? [to, toPort] : [from, fromPort, to, toPort]),
      price(from, fromPort),
    ]),
  );
  return sum([...written.values()]) + sum([...pairs.values()]);
}

function slowestOf(prices: Float64Array, regionOf: Int32Array, count: number): Float64Array {
  const slowest = new Float64Array(count);
  for (let n = 0; n < regionOf.length; n++) slowest[regionOf[n]!] = Math.max(slowest[regionOf[n]!]!, prices[n]!);
  return slowest;
}

/** C1: the finest power of ten that keeps every sum below 2^52. */
function ticksPerUnit(total: number, aboveAllPorts: number, model: CostModel): number {
  // Bytes are whole: nothing finer is needed.
  let ticks = model === "bytes" ? 1 : FINEST;
  while (total * ticks * aboveAllPorts > EXACT) ticks /= 10;
  return ticks;
}

const bytesOf = (problem: SchedulingProblem) => (operator: string, port: number) =>
  amount(problem.bytes?.(operator, port) ?? 0, `The bytes of port ${port} of operator ${operator}`);

function amount(value: number, what: string): number {
  if (Number.isFinite(value) && value >= 0) return value;
  throw invalid(`${what} are ${value}; they are a number from 0 up.`);
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
