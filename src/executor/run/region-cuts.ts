// Which rows of a region are had how: computed within the query that reads them, kept in a table, written to a file and
// read back, or handed from one user function to the next while both run. Pure. Decided port by port: an operator with
// several output ports has each of them computed for itself, and what they are all made from is kept when that is
// cheaper than making it again.
//
// Rows are handed on only to a function with one input port, fed by one link: functions joined like that form a tree, in
// which a slow one makes those before it wait and nobody waits for those behind him. So bounded buffers cannot lock.
import {
  globalPortId,
  type OutputPort,
  operatorKey,
  type PhysicalLink,
  type PhysicalOperator,
  type PhysicalPlan,
  type PortKey,
  type Region,
} from "../../core/plan.js";

/** How a port's rows are had by those who read them. */
export type Cut = "inline" | "file" | "table" | "stream";

export interface CutDeps {
  /** True when the port's file is complete. */
  isThere(port: PortKey): boolean;
  /** True for a port this pass over the region is to write; everything these read is there. */
  isToWrite(port: PortKey): boolean;
}

/** The operators of a region and what they read. */
export interface RegionGraph {
  /** Each after what it reads. */
  members: PhysicalOperator[];
  /** Links that end at an operator, by its key, in plan order. */
  incoming: ReadonlyMap<string, PhysicalLink[]>;
  /** The operator that gives a port, when its rows need not pass through a file. */
  sourceOf(link: PhysicalLink): PhysicalOperator | undefined;
}

export function membersOf(plan: PhysicalPlan, region: Region): PhysicalOperator[] {
  const keys = new Set(region.operators.map(operatorKey));
  return plan.operators.filter((o) => keys.has(operatorKey(o)));
}

export function regionGraph(plan: PhysicalPlan, region: Region): RegionGraph {
  const members = membersOf(plan, region);
  const byKey = new Map(members.map((o) => [operatorKey(o), o]));
  const incoming = new Map<string, PhysicalLink[]>();
  for (const link of plan.links) {
    const to = operatorKey(link.to);
    if (byKey.has(to)) incoming.set(to, [...(incoming.get(to) ?? []), link]);
  }
  return {
    members,
    incoming,
    sourceOf: (link) => (link.materialized ? undefined : byKey.get(operatorKey(link.from))),
  };
}

/** By global port id; a port that is missing is not needed by this pass. */
export function cutRegion(graph: RegionGraph, deps: CutDeps): Map<string, Cut> {
  const cuts = new Map<string, Cut>();
  const isOnlyLink = (link: PhysicalLink) => graph.incoming.get(operatorKey(link.to))?.length === 1;
  /** For each port the places that would compute it, were it fused into its readers. */
  const usedBy = new Map<string, Set<string>>();
  /** Ports that could be handed on to a function. */
  const streamable = new Set<string>();
  // From the last operator to the first, because who reads a port decides how it is had.
  for (const operator of graph.members.toReversed()) {
    const sources = (graph.incoming.get(operatorKey(operator)) ?? []).filter((link) => graph.sourceOf(link));
    for (const port of operator.outputs) {
      const id = globalPortId(port.key);
      if (deps.isThere(port.key)) {
        cuts.set(id, "file");
        continue;
      }
      const uses = usedBy.get(id) ?? new Set();
      if (!deps.isToWrite(port.key) && uses.size === 0) continue;
      const cut = cutOf(operator, port, { uses: uses.size, streams: streamable.has(id) }, deps);
      cuts.set(id, cut);
      // One call of user code gives all its ports.
      const isCode = operator.implementation.kind === "user-function";
      const self = isCode ? operatorKey(operator) : id;
      if (isCode && operator.inputs.length === 1 && sources.length === 1 && isOnlyLink(sources[0]!))
        streamable.add(globalPortId(sources[0]!.from));
      sources.forEach((link, n) => {
        const source = globalPortId(link.from);
        const users = usedBy.get(source) ?? new Set();
        // Each place of use counts: a self-join reads a port twice within one step.
        for (const place of cut === "inline" ? uses : [self]) users.add(`${place}>${self}#${n}`);
        usedBy.set(source, users);
      });
    }
  }
  return cuts;
}

function cutOf(
  operator: PhysicalOperator,
  { key }: OutputPort,
  { uses, streams }: { uses: number; streams: boolean },
  deps: CutDeps,
): Cut {
  const { implementation } = operator;
  if (deps.isToWrite(key)) return "file";
  if (implementation.kind === "user-function") return streams && uses === 1 ? "stream" : "table";
  if (uses <= 1) return "inline";
  return isCheap(operator) ? "inline" : "table";
}

/** Read again rather than kept: each reader pushes its filter down into the file. */
const isCheap = ({ implementation }: PhysicalOperator): boolean =>
  implementation.kind === "scan" &&
  implementation.scan.format.kind === "parquet" &&
  implementation.scan.malformedRows === "fail";
