// The physical plan of an exported Texera workflow, as far as scheduling goes: operators, links between their ports, and
// which links must pass through storage.
//
// G1  A link must be materialised when its source port is blocking, or when another input port of its target waits until
//     the port it ends at has been read.
// G2  Viewed are the drawn output ports of operators whose result is asked for, and every drawn output port without
//     a link. Ports between layers are never viewed.
// G3  Each operator comes after what it reads; ids of operators and of links are unique.
import { AppError } from "../app-error.js";
import { groupBy } from "../group-by.js";
import { orderByLinks } from "../plan-order.js";
import type { ExportedLink, ExportedOperator, ExportedWorkflow } from "./exported-workflow.js";
import { type Layer, type LayerPort, layersOf, type OperatorLayers } from "./operator-layers.js";

export interface PlanningGraph {
  operators: PlanningOperator[];
  links: PlanningLink[];
  viewed: { operator: string; port: number }[];
  /** Operators of types that nothing is known about: planned by their ports alone. */
  unknown: { id: string; type: string }[];
}

export interface PlanningOperator {
  /** The operator's id, followed by "/" and the layer when it has several. */
  id: string;
  operatorId: string;
  layer: string;
  type: string;
  displayName: string;
}

/** From and to are ids of planning operators; ports are numbers of theirs. */
export interface PlanningLink {
  id: string;
  from: string;
  fromPort: number;
  to: string;
  toPort: number;
  mustMaterialize: boolean;
  /** Why it must, as a sentence; empty otherwise. */
  why: string;
}

interface Expanded {
  operator: ExportedOperator;
  shape: OperatorLayers;
  /** By layer, for each input port that another one waits for, the first that does. */
  waiting: ReadonlyMap<string, ReadonlyMap<number, number>>;
}

/** Expands a workflow that was read by `readExportedWorkflow`; `name` stands for its file in errors. */
export function planningGraph(workflow: ExportedWorkflow, name: string): PlanningGraph {
  const byId = new Map(workflow.operators.map((operator) => [operator.id, expand(operator, name)]));
  const ordered = orderByLinks([...byId.keys()], workflow.links).map((id) => byId.get(id)!);
  const leaving = groupBy(workflow.links, ({ from }) => from);
  return {
    operators: ordered.flatMap(({ operator, shape }) =>
      shape.layers.map(({ name: layer }) => ({
        id: planningId(operator.id, layer),
        operatorId: operator.id,
        layer,
        type: operator.type,
        displayName: operator.displayName,
      })),
    ),
    links: [...ordered.flatMap(innerLinks), ...workflow.links.map((link) => drawnLink(link, byId))],
    viewed: ordered.flatMap((expanded) => viewedPorts(expanded, leaving.get(expanded.operator.id) ?? [])),
    unknown: ordered.filter(({ shape }) => !shape.known).map(({ operator: { id, type } }) => ({ id, type })),
  };
}

/** The id of one layer of an operator. */
export const planningId = (operatorId: string, layer: string): string =>
  layer === "main" ? operatorId : `${operatorId}/${layer}`;

function expand(operator: ExportedOperator, name: string): Expanded {
  const shape = layersOf(operator);
  if (typeof shape !== "string")
    return { operator, shape, waiting: new Map(shape.layers.map((layer) => [layer.name, waitingIn(layer)])) };
  throw new AppError(
    "invalid",
    "INVALID_WORKFLOW",
    `${name} cannot be planned: operator ${JSON.stringify(operator.id)}: ${shape}. Export the workflow from Texera again.`,
  );
}

function waitingIn({ inputs }: Layer): Map<number, number> {
  const waiting = new Map<number, number>();
  for (const [port, { dependsOn }] of inputs.entries())
    for (const other of dependsOn) if (!waiting.has(other)) waiting.set(other, port);
  return waiting;
}

function innerLinks(expanded: Expanded): PlanningLink[] {
  const { id } = expanded.operator;
  return expanded.shape.inner.map(({ from, to }) => ({
    id: `${id}/${from.layer}-${to.layer}`,
    ...ends(id, from, id, to),
    ...storageOf(expanded, from, expanded, to),
  }));
}

function drawnLink(link: ExportedLink, byId: ReadonlyMap<string, Expanded>): PlanningLink {
  const source = byId.get(link.from)!;
  const target = byId.get(link.to)!;
  const from = source.shape.outputs[link.fromPort]!;
  const to = target.shape.inputs[link.toPort]!;
  return { id: link.id, ...ends(link.from, from, link.to, to), ...storageOf(source, from, target, to) };
}

const ends = (source: string, from: LayerPort, target: string, to: LayerPort) => ({
  from: planningId(source, from.layer),
  fromPort: from.port,
  to: planningId(target, to.layer),
  toPort: to.port,
});

/** G1, with the reason. */
function storageOf(
  source: Expanded,
  from: LayerPort,
  target: Expanded,
  to: LayerPort,
): Pick<PlanningLink, "mustMaterialize" | "why"> {
  const { outputs } = source.shape.layers.find(({ name }) => name === from.layer)!;
  if (outputs[from.port]!.blocking)
    return { mustMaterialize: true, why: "Its source gives no row before it has read its last one." };
  const waiting = target.waiting.get(to.layer)!.get(to.port);
  if (waiting === undefined) return { mustMaterialize: false, why: "" };
  return { mustMaterialize: true, why: `Input port ${waiting} of its target waits until it has been read.` };
}

/** G2; `leaving` are the links from the operator. */
function viewedPorts({ operator, shape }: Expanded, leaving: readonly ExportedLink[]) {
  const read = new Set(leaving.map(({ fromPort }) => fromPort));
  return shape.outputs
    .filter((_, port) => operator.viewResult || !read.has(port))
    .map(({ layer, port }) => ({ operator: planningId(operator.id, layer), port }));
}
