// What a run has left to do, given which ports are there and which come from elsewhere. Pure.
//
// One reverse pass from the ports people want finds the operators that must run; it stops at ports that are there and at
// ports that are expected: another execution computes them, or they are about to be taken over from the cache. What the
// remaining operators are to write is the run's own. A pass over a region writes some of its own ports.
//
// No deadlock among executions that wait for each other's ports:
// A1  Only a port that is itself computed from an expected port waits for it: a pass takes the ports of a region that wait
//     for nothing expected, directly or by way of other own ports, and leaves the rest to a later pass.
// A2  So an own port that waits for nothing expected is computed in a time of its own, whatever others do: nothing it
//     needs is held back by what waits.
// A3  A port that is waited for lies upstream of the one that waits. Ports are named by what they are computed from, so
//     upstream means the same in every execution and has no cycle: among all ports anybody waits for there is one that
//     waits for none, and its holder computes it (A2), or dies and hands it on.
import { groupBy } from "../../core/group-by.js";
import {
  globalPortId,
  type OutputPort,
  operatorKey,
  type PhysicalOperator,
  type PhysicalPlan,
  type Region,
} from "../../core/plan.js";
import { neededOperators } from "../../core/reuse.js";

interface Source {
  /** Global id of the port that is read. */
  id: string;
  operator: string;
  /** Reader and source are in different regions: the rows pass through storage. */
  crosses: boolean;
}

/** A plan, indexed by its ports. */
export interface PortGraph {
  plan: PhysicalPlan;
  outputs: ReadonlyMap<string, { port: OutputPort; region: Region }>;
  /** The operators of each region, each after what it reads. */
  members: ReadonlyMap<Region, PhysicalOperator[]>;
  /** What each operator reads, by operator key. */
  sources: ReadonlyMap<string, Source[]>;
  /** Global ids of the ports people look at or nobody consumes. */
  wanted: ReadonlySet<string>;
}

/** A port this run computes. */
export interface OwnPort {
  id: string;
  port: OutputPort;
  region: Region;
  /** Ports that must be there before. */
  reads: ReadonlySet<string>;
}

export interface Work {
  /** In plan order: each after what it reads. */
  own: ReadonlyMap<string, OwnPort>;
  /** The expected ports this run cannot end without. */
  awaited: ReadonlySet<string>;
  /** Keys of the operators that must run as well, should expected ports not come. */
  maybe: ReadonlySet<string>;
}

/** One pass over a region: the ports it writes. */
export interface Pass {
  region: Region;
  write: ReadonlySet<string>;
}

export function portGraph(plan: PhysicalPlan): PortGraph {
  const regionOf = new Map(plan.regions.flatMap((region) => region.operators.map((o) => [operatorKey(o), region])));
  const outputs = new Map<string, { port: OutputPort; region: Region }>();
  for (const operator of plan.operators)
    for (const port of operator.outputs)
      outputs.set(globalPortId(port.key), { port, region: regionOf.get(operatorKey(operator))! });
  const consumed = new Set(plan.links.map(({ from }) => globalPortId(from)));
  const ends = plan.links.map(({ from, to, materialized }) => {
    const [operator, reader] = [operatorKey(from), operatorKey(to)];
    const crosses = materialized || regionOf.get(operator) !== regionOf.get(reader);
    return { reader, id: globalPortId(from), operator, crosses };
  });
  return {
    plan,
    outputs,
    members: groupBy(plan.operators, (operator) => regionOf.get(operatorKey(operator))!),
    sources: groupBy(ends, ({ reader }) => reader),
    wanted: new Set([...outputs].filter(([id, { port }]) => port.viewed || !consumed.has(id)).map(([id]) => id)),
  };
}

export function workLeft(graph: PortGraph, there: ReadonlySet<string>, expected: ReadonlySet<string>): Work {
  const { plan, wanted } = graph;
  const needed = neededOperators(plan, new Set([...there, ...expected]), wanted);
  const crossing = new Set(
    [...needed].flatMap((key) => (graph.sources.get(key) ?? []).filter(({ crosses }) => crosses).map(({ id }) => id)),
  );
  const own = new Map<string, OwnPort>();
  const awaited = new Set([...expected].filter((id) => wanted.has(id)));
  const reads = new Map<string, ReadonlySet<string>>();
  for (const operator of plan.operators) {
    const key = operatorKey(operator);
    if (!needed.has(key)) continue;
    const before = new Set<string>();
    for (const source of graph.sources.get(key) ?? []) {
      if (there.has(source.id)) continue;
      if (expected.has(source.id)) awaited.add(source.id);
      if (expected.has(source.id) || (source.crosses && own.has(source.id))) before.add(source.id);
      else for (const id of reads.get(source.operator) ?? []) before.add(id);
    }
    reads.set(key, before);
    for (const { key: portKey } of operator.outputs) {
      const id = globalPortId(portKey);
      const { port, region } = graph.outputs.get(id)!;
      // A plan made for results that were reused has none of them written; one that is lost after all is read again.
      const isWritten = port.materialized || crossing.has(id);
      if (isWritten && !there.has(id) && !expected.has(id)) own.set(id, { id, port, region, reads: before });
    }
  }
  const maybe = neededOperators(plan, new Set([...there, ...own.keys()]), awaited);
  return { own, awaited, maybe };
}

/**
 * The passes that can begin now, in plan order of their regions (A1). A region waits until every port it can write has
 * what it reads, so that it is gone over once. Where that would wait for itself, as regions can that were cut for results
 * since lost, what is ready begins once nothing else runs (`isIdle`).
 */
export function nextPasses(
  work: Work,
  isThere: (id: string) => boolean,
  isExpected: (id: string) => boolean,
  isIdle: boolean,
): Pass[] {
  const waits = new Set<string>();
  const startable = new Map<Region, OwnPort[]>();
  for (const own of work.own.values()) {
    if (isThere(own.id)) continue;
    if ([...own.reads].some((id) => isExpected(id) || waits.has(id))) waits.add(own.id);
    else startable.set(own.region, [...(startable.get(own.region) ?? []), own]);
  }
  const isReady = ({ reads }: OwnPort) => [...reads].every(isThere);
  const whole = [...startable].filter(([, ports]) => ports.every(isReady));
  const parts = [...startable].map(([region, ports]) => [region, ports.filter(isReady)] as const);
  return (whole.length === 0 && isIdle ? parts.filter(([, ports]) => ports.length > 0) : whole)
    .sort(([a], [b]) => a.level - b.level || a.id - b.id)
    .map(([region, ports]) => ({ region, write: new Set(ports.map(({ id }) => id)) }));
}

/** Keys of the operators that may have to run again for other ports than those of a pass. */
export function neededBeside(graph: PortGraph, pass: Pass, work: Work, there: ReadonlySet<string>): Set<string> {
  const left = [...work.own.values()].filter(({ id, region }) => region === pass.region && !pass.write.has(id));
  const unwritten = new Set(left.map(({ id }) => id).filter((id) => !there.has(id)));
  const beside = unwritten.size > 0 ? neededOperators(graph.plan, new Set([...there, ...pass.write]), unwritten) : [];
  return new Set([...beside, ...work.maybe]);
}
