// Fingerprints: what determines the content of an output port, as canonical JSON, and its SHA-256.
//
// F1  The form is a Merkle tree: an input contributes the hashes of the ports that feed it, so all ports of a plan cost
//     O(operators + links).
// F2  What does not determine the content stays out: ids, names for people, positions, where a dataset lies, and the
//     SQL an operator was translated to.
// F3  A port whose content is left to chance has a reason instead of a hash, and so has every port downstream of it.
// F4  The JSON is stored beside a cached result and compared on a hit: two fingerprints with one hash are no hit.
//
// Whoever changes the form, or what settings of an operator mean, raises FINGERPRINT_VERSION: results of the old form are
// then misses, never wrong hits.
// test/vectors/fingerprint-*.json pin it.
import { canonicalJson, sha256Hex } from "./canonical-json.js";
import { groupBy } from "./group-by.js";
import { globalPortId, type OutputPort, type PhysicalOperator, type PhysicalPlan } from "./plan.js";

export const FINGERPRINT_VERSION = 1;

/** The hash and the JSON it is of; or why there is none, as a sentence. */
export type Fingerprint = { hash: string; json: string } | { reason: string };

/**
 * The fingerprint of every output port, by global port id. A port that states an `uncacheableReason` has none; the
 * plan's operators come each after what it reads.
 */
export function fingerprints(plan: Pick<PhysicalPlan, "operators" | "links">): Map<string, Fingerprint> {
  const feeding = groupBy(plan.links, (link) => globalPortId(link.to));
  const found = new Map<string, Fingerprint>();
  for (const operator of plan.operators) {
    const inputs = operator.inputs.map((port) =>
      (feeding.get(globalPortId(port.key)) ?? []).map((link) => found.get(globalPortId(link.from))!),
    );
    const chance = inputs.flat().find((input) => "reason" in input);
    const hashes = inputs.map((port) => port.flatMap((input) => ("hash" in input ? [input.hash] : [])).sort());
    const common = { version: FINGERPRINT_VERSION, type: operator.type, ...contentOf(operator), inputs: hashes };
    for (const port of operator.outputs) found.set(globalPortId(port.key), fingerprint(operator, port, common, chance));
  }
  return found;
}

function fingerprint(
  operator: PhysicalOperator,
  port: OutputPort,
  common: object,
  chance: Fingerprint | undefined,
): Fingerprint {
  if (port.uncacheableReason !== "") return { reason: port.uncacheableReason };
  if (chance) return chance;
  const outputs = operator.outputs.map(({ schema }) => schema);
  const json = canonicalJson({ ...common, outputs, port: port.key.portId });
  return { hash: sha256Hex(json), json };
}

/** What the operator does. A scan's columns are those of its output; its dataset counts by content, not by name. */
function contentOf({ implementation, properties }: PhysicalOperator): object {
  switch (implementation.kind) {
    case "scan": {
      const { contentHash, format, fileSchema } = implementation.scan;
      return { scan: { contentHash, format, fileSchema } };
    }
    case "user-function":
      return { userFunction: implementation.userFunction };
    case "query":
      return { properties };
  }
}

/** The plan with hash or reason on every output port. */
export function withFingerprints(plan: PhysicalPlan): PhysicalPlan {
  const prints = fingerprints(plan);
  const stamped = (port: OutputPort): OutputPort => {
    const print = prints.get(globalPortId(port.key))!;
    return "hash" in print
      ? { ...port, subdagHash: print.hash, uncacheableReason: "" }
      : { ...port, subdagHash: "", uncacheableReason: print.reason };
  };
  return { ...plan, operators: plan.operators.map((o) => ({ ...o, outputs: o.outputs.map(stamped) })) };
}
