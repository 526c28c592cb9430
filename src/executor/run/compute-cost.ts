// What it took to make a port: the time of the steps that made it and the ports it was made from, as far back as this run
// made them, and what the stored ports behind those took when they were made. A step or port that counts on two ways
// counts once, so what diamonds on diamonds took stays what the run took. Pure.
import type { Step } from "./step.js";

/** Where the time of some rows went. */
export interface ComputeCost {
  /** Steps and their milliseconds. */
  steps: ReadonlyMap<Step, number>;
  /** Global ids of stored ports that were read. */
  ports: ReadonlySet<string>;
}

/** By table. */
export type TableCosts = Map<string, ComputeCost>;

/** Of the ports this run has written, by global port id. */
export type PortCosts = Map<string, ComputeCost>;

/** The cost of what a step makes, which took `busyMs` itself. */
export function costOf(step: Step, busyMs: number, tables: ReadonlyMap<string, ComputeCost>): ComputeCost {
  const read = [...step.reads.tables].flatMap((table) => tables.get(table) ?? []);
  return {
    steps: new Map([...read.flatMap(({ steps }) => [...steps]), [step, busyMs]]),
    ports: new Set([...step.reads.ports, ...read.flatMap(({ ports }) => [...ports])]),
  };
}

/** In milliseconds, rounded up; `storedMs` is asked about ports that this run has not written. */
export function totalMs(
  cost: ComputeCost,
  written: ReadonlyMap<string, ComputeCost>,
  storedMs: (globalPortId: string) => bigint,
): bigint {
  const steps = new Map<Step, number>();
  const ports = new Set<string>();
  let stored = 0n;
  const costs = [cost];
  for (const one of costs) {
    for (const [step, ms] of one.steps) steps.set(step, ms);
    for (const id of one.ports) {
      if (ports.has(id)) continue;
      ports.add(id);
      const made = written.get(id);
      if (made) costs.push(made);
      else stored += storedMs(id);
    }
  }
  const own = [...steps.values()].reduce((sum, ms) => sum + ms, 0);
  const total = stored + BigInt(Math.ceil(own));
  return total < MOST_MS ? total : MOST_MS;
}

/** What stored ports took may hold the same work several times, ever more with each run: no total leaves the range. */
const MOST_MS = BigInt(Number.MAX_SAFE_INTEGER);
