import { globalPortId, type OutputPort, operatorKey, type PhysicalOperator, type PhysicalPlan } from "../plan.js";

/**
 * Which of a plan's output ports are looked at, and which are in storage when it has run: those looked at and those read
 * from there. What nobody consumes is looked at. Of operators that do not run, only what is stored already is there.
 */
export function markOutputPorts(
  { operators, links }: Pick<PhysicalPlan, "operators" | "links">,
  viewResult: (operatorId: string) => boolean,
  runs: (operator: PhysicalOperator) => boolean = () => true,
  stored: ReadonlySet<string> = new Set(),
): PhysicalOperator[] {
  const consumed = new Set(links.map((link) => globalPortId(link.from)));
  const read = new Set(links.filter((link) => link.materialized).map((link) => globalPortId(link.from)));
  const mark = (operator: PhysicalOperator, port: OutputPort): OutputPort => {
    const id = globalPortId(port.key);
    const viewed = viewResult(operator.operatorId) || !consumed.has(id);
    if (viewed && !runs(operator) && !stored.has(id))
      throw new Error(`Port ${id} is looked at and not stored, so ${operatorKey(operator)} must run.`);
    return { ...port, viewed, materialized: viewed || read.has(id) };
  };
  return operators.map((o) => ({ ...o, outputs: o.outputs.map((port) => mark(o, port)) }));
}
