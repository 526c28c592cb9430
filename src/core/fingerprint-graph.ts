// The output ports of a plan with their fingerprints, as a graph to walk upstream, and fingerprints read as data.
import { invalid } from "./app-error.js";
import { canonicalJson } from "./canonical-json.js";
import type { Fingerprint } from "./fingerprint.js";
import { portLabel } from "./fingerprint-form.js";
import { groupBy } from "./group-by.js";
import { globalPortId, type Json, type PhysicalOperator, type PhysicalPlan } from "./plan.js";

export interface PresentPlan {
  plan: Pick<PhysicalPlan, "operators" | "links">;
  /** Of every output port, by global port id. */
  fingerprints: ReadonlyMap<string, Fingerprint>;
}

/** The port's operator without its inputs and columns, as JSON text. */
export const describe = (form: Form, node?: PortNode): string =>
  canonicalJson({ ...(node && { operatorId: node.operator.operatorId }), type: form.type, ...contentOf(form) });

/** Absent members are undefined, which canonical JSON leaves out. */
export const contentOf = ({ properties, scan, userFunction }: Form) => ({ properties, scan, userFunction });

/** A fingerprint, read. Only the members that are treated apart are named. */
export type Form = { [name: string]: Json } & { inputs: { [port: string]: string[] } };

export const readForm = (json: string): Form => JSON.parse(json) as Form;

/** An output port of the present plan. */
export interface PortNode {
  port: string;
  operator: PhysicalOperator;
  /** Undefined, both, when it is left to chance. */
  hash: string | undefined;
  json: string | undefined;
  reason: string | undefined;
  /** What feeds its operator, by label of the input port. */
  sources: ReadonlyMap<string, PortNode[]>;
}

export const formOf = (node: PortNode): Form => readForm(node.json!);

export function nodeOf(graph: ReadonlyMap<string, PortNode>, port: string): PortNode {
  const node = graph.get(port);
  if (node === undefined) throw invalid(`The plan has no output port ${port}.`);
  return node;
}

export function portGraph({ plan, fingerprints }: PresentPlan): Map<string, PortNode> {
  const feeding = groupBy(plan.links, ({ to }) => globalPortId(to));
  const graph = new Map<string, PortNode>();
  const wiring: [sources: Map<string, PortNode[]>, operator: PhysicalOperator][] = [];
  for (const operator of plan.operators) {
    const sources = new Map<string, PortNode[]>();
    wiring.push([sources, operator]);
    for (const { key } of operator.outputs) {
      const port = globalPortId(key);
      const print = fingerprints.get(port);
      const [hash, json] = print && "hash" in print ? [print.hash, print.json] : [undefined, undefined];
      const reason = print && "reason" in print ? print.reason : undefined;
      graph.set(port, { port, operator, hash, json, reason, sources });
    }
  }
  for (const [sources, { inputs }] of wiring)
    for (const { key } of inputs)
      sources.set(
        portLabel(key),
        (feeding.get(globalPortId(key)) ?? []).map(({ from }) => nodeOf(graph, globalPortId(from))),
      );
  return graph;
}
