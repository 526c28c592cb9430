// Which dataset versions a result was made from.
import { globalPortId, operatorKey, type PhysicalPlan } from "./plan.js";

/**
 * The dataset versions behind each output port, by global port id: `<dataset id>@<version>`, sorted. Operators come each
 * after what it reads.
 */
export function datasetsBehind({ operators, links }: Pick<PhysicalPlan, "operators" | "links">): Map<string, string[]> {
  const reads = new Map<string, string[]>();
  for (const { from, to } of links) {
    const reader = operatorKey(to);
    const known = reads.get(reader);
    if (known) known.push(globalPortId(from));
    else reads.set(reader, [globalPortId(from)]);
  }
  const behind = new Map<string, string[]>();
  for (const operator of operators) {
    const { implementation } = operator;
    const sources = (reads.get(operatorKey(operator)) ?? []).map((port) => behind.get(port) ?? []);
    if (implementation.kind === "scan")
      sources.push([`${implementation.scan.datasetId}@${implementation.scan.version}`]);
    const versions = sources.length === 1 ? sources[0]! : [...new Set(sources.flat())].sort();
    for (const { key } of operator.outputs) behind.set(globalPortId(key), versions);
  }
  return behind;
}
