// Where a physical plan is cut into regions, and which output ports are therefore written to storage.
//
// A link into or out of a user function is materialised: user code runs in a process of its own. Each operator has a
// stage: the longest number of such links on any path to it. A link between two stages is materialised as well.
//
// R1  A link that is not materialised joins operators of one stage, so a region lies in one stage.
// R2  A materialised link leads to a higher stage. For one that touches a user function this is how stages are
//     counted; for another it holds because its target's stage is at least its source's, and they differ.
// R3  Hence no materialised link lies inside a region, and along links between regions the stage rises: the graph of
//     regions has no cycle, and levels by stage are an order in which they can run.
import { groupBy } from "./group-by.js";
import {
  globalPortId,
  type OutputPort,
  operatorKey,
  type PhysicalLink,
  type PhysicalOperator,
  type PhysicalOperatorKey,
  type PhysicalPlan,
  type Region,
} from "./plan.js";

/** What cutting needs to know about an operator. */
type Cuttable = Pick<PhysicalOperator, "operatorId" | "layer"> & { implementation: { kind: string } };

/** The links with their marks, and the regions by level. Operators come in plan order: each after what it reads. */
export function cutIntoRegions(
  operators: readonly Cuttable[],
  links: readonly Omit<PhysicalLink, "materialized" | "why">[],
): Pick<PhysicalPlan, "links" | "regions"> {
  const byKey = new Map(operators.map((o) => [operatorKey(o), o]));
  const callsUserCode = (key: string) => byKey.get(key)!.implementation.kind === "user-function";
  const ends = links.map((link) => ({ link, from: operatorKey(link.from), to: operatorKey(link.to) }));
  const stages = stagesOf(
    operators,
    ends.map(({ from, to }) => ({ from, to, step: callsUserCode(from) || callsUserCode(to) ? 1 : 0 })),
  );
  const marked = ends.map(({ link, from, to }): PhysicalLink => {
    const why =
      callsUserCode(from) || callsUserCode(to)
        ? "User code runs in a process of its own."
        : stages.get(from) !== stages.get(to)
          ? "Its ends run at different stages."
          : "";
    return { ...link, materialized: why !== "", why };
  });
  return { links: marked, regions: connectedRegions(operators, marked, stages) };
}

/** Which of a plan's output ports are looked at, and which are written. */
export function markOutputPorts(
  operators: PhysicalOperator[],
  links: readonly PhysicalLink[],
  viewResult: (operatorId: string) => boolean,
): PhysicalOperator[] {
  const consumed = new Set(links.map((link) => globalPortId(link.from)));
  const stored = new Set(links.filter((link) => link.materialized).map((link) => globalPortId(link.from)));
  const mark = (port: OutputPort, operatorId: string): OutputPort => {
    const id = globalPortId(port.key);
    const viewed = viewResult(operatorId) || !consumed.has(id);
    return { ...port, viewed, materialized: viewed || stored.has(id) };
  };
  return operators.map((o) => ({ ...o, outputs: o.outputs.map((port) => mark(port, o.operatorId)) }));
}

function stagesOf(
  operators: readonly PhysicalOperatorKey[],
  links: readonly { from: string; to: string; step: number }[],
): Map<string, number> {
  const incoming = groupBy(links, ({ to }) => to);
  const stages = new Map<string, number>();
  for (const key of operators.map(operatorKey)) {
    const before = (incoming.get(key) ?? []).map(({ from, step }) => stages.get(from)! + step);
    stages.set(
      key,
      before.reduce((most, stage) => Math.max(most, stage), 0),
    );
  }
  return stages;
}

function connectedRegions(
  operators: readonly PhysicalOperatorKey[],
  links: readonly PhysicalLink[],
  stages: ReadonlyMap<string, number>,
): Region[] {
  const parents = new Map(operators.map((o) => [operatorKey(o), operatorKey(o)]));
  const rootOf = (key: string): string => {
    let root = key;
    while (parents.get(root) !== root) root = parents.get(root)!;
    for (let at = key; at !== root; ) {
      const next = parents.get(at)!;
      parents.set(at, root);
      at = next;
    }
    return root;
  };
  for (const { from, to, materialized } of links)
    if (!materialized) parents.set(rootOf(operatorKey(from)), rootOf(operatorKey(to)));
  const members = groupBy(operators, (o) => rootOf(operatorKey(o)));
  return [...members]
    .map(([root, group]) => ({ level: stages.get(root)!, group }))
    .sort((a, b) => a.level - b.level)
    .map(({ level, group }, i) => ({
      id: i + 1,
      level,
      operators: group.map(({ operatorId, layer }) => ({ operatorId, layer })),
      cached: false,
    }));
}
