// Fingerprints: what determines the content of an output port, as canonical JSON, and its SHA-256.
//
// F1  The form is a Merkle tree: an input contributes the hashes of the ports that feed it, so all ports of a plan cost
//     O(operators + links).
// F2  What does not determine the content stays out: ids, names for people, positions, where a dataset lies, and the
//     SQL an operator was translated to.
// F3  A port whose content is left to chance has a reason instead of a hash, and so has every port downstream of it.
// F4  The JSON is stored beside a cached result, and a hit needs it to be the same under a second digest: two fingerprints
//     with one hash are no hit.
// F5  The content is a bag of rows. Links into one port have no order, and rounding of sums over doubles is no chance.
//
// fingerprint-form.ts writes the JSON; docs/fingerprints.md is the specification, test/vectors/fingerprint-*.json pin it.
import { invalid } from "./app-error.js";
import { sha256Hex } from "./canonical-json.js";
import { type OperatorText, operatorText, type PortText, portLabel } from "./fingerprint-form.js";
import {
  globalPortId,
  type OutputPort,
  operatorKey,
  type PhysicalOperator,
  type PhysicalPlan,
  type PortKey,
} from "./plan.js";
import { orderByLinks } from "./plan-order.js";

export { FINGERPRINT_VERSION } from "./fingerprint-form.js";

/** The hash and the JSON it is of; or why there is none, as a sentence. */
export type Fingerprint = { hash: string; json: string } | { reason: string };

type Plan = Pick<PhysicalPlan, "operators" | "links">;

/**
 * The fingerprint of every output port, by global port id. A port that states an `uncacheableReason` has none. Fastest
 * when operators come each after what it reads, as in every compiled plan; any other order gives the same.
 */
export function fingerprints(plan: Plan): Map<string, Fingerprint> {
  const walk: Walk = { feeding: sourcesByTarget(plan), prints: new Map(), passedOn: new Map() };
  const found = new Map<string, Fingerprint>();
  const waiting = plan.operators.some((operator) => !take(operator, walk, found));
  if (waiting) for (const operator of inOrder(plan)) if (!take(operator, walk, found)) throw unfed(operator);
  return found;
}

/**
 * Something about ports of one side: by operator id a chain of its ports. An operator has few, and its id is a text that
 * is there, so following the chain costs less than making a printed key for each lookup.
 */
type ByPort<Value> = Map<string, PortEntry<Value>>;
interface PortEntry<Value> {
  key: PortKey;
  value: Value;
  next: PortEntry<Value> | undefined;
}

function valueAt<Value>(index: ByPort<Value>, { operatorId, layer, portId, internal }: PortKey): Value | undefined {
  for (let entry = index.get(operatorId); entry !== undefined; entry = entry.next) {
    const { key } = entry;
    if (key.portId === portId && key.internal === internal && key.layer === layer) return entry.value;
  }
  return undefined;
}

const addAt = <Value>(index: ByPort<Value>, key: PortKey, value: Value): void =>
  void index.set(key.operatorId, { key, value, next: index.get(key.operatorId) });

interface Walk {
  /** The output ports that feed each input port. */
  feeding: ByPort<PortKey[]>;
  /** Of the output ports so far. */
  prints: ByPort<Fingerprint>;
  /** What ports downstream of a reason have instead of a hash. */
  passedOn: Map<Fingerprint, Fingerprint>;
}

function sourcesByTarget({ links }: Plan): ByPort<PortKey[]> {
  const sources: ByPort<PortKey[]> = new Map();
  for (const { from, to } of links) {
    const known = valueAt(sources, to);
    if (known) known.push(from);
    else addAt(sources, to, [from]);
  }
  return sources;
}

const NO_PORTS: readonly PortKey[] = [];

/** Adds an operator's ports; false when something that feeds it is still to come. */
function take(
  operator: PhysicalOperator,
  { feeding, prints, passedOn }: Walk,
  found: Map<string, Fingerprint>,
): boolean {
  const inputs: PortText[] = [];
  let inherited: Fingerprint | undefined;
  for (const { key } of operator.inputs) {
    let hashes = "";
    const sources = valueAt(feeding, key) ?? NO_PORTS;
    const several: string[] = [];
    for (const source of sources) {
      const print = valueAt(prints, source);
      if (print === undefined) return false;
      if (!("hash" in print)) inherited ??= passedOn.get(print);
      else if (sources.length > 1) several.push(print.hash);
      else hashes = `"${print.hash}"`;
    }
    if (several.length > 0) hashes = `"${several.sort().join('","')}"`;
    inputs.push({ label: portLabel(key), text: `[${hashes}]` });
  }
  const text = inherited === undefined ? operatorText(operator, inputs) : undefined;
  for (const port of operator.outputs) {
    const print = ownReason(operator, port, passedOn) ?? inherited ?? hashed(text!, port);
    addAt(prints, port.key, print);
    found.set(globalPortId(port.key), print);
  }
  return true;
}

/** Why a port has no hash of its own account; what follows it gets a sentence that names its operator. */
function ownReason(
  { operatorId }: PhysicalOperator,
  { uncacheableReason }: OutputPort,
  passedOn: Walk["passedOn"],
): Fingerprint | undefined {
  if (uncacheableReason === "") return undefined;
  const own: Fingerprint = { reason: uncacheableReason };
  const downstream = {
    reason: `It depends on ${JSON.stringify(operatorId)}, which may differ from run to run. ${uncacheableReason}`,
  };
  passedOn.set(own, downstream).set(downstream, downstream);
  return own;
}

function hashed({ before, after }: OperatorText, { key }: OutputPort): Fingerprint {
  const json = `${before}"${portLabel(key)}"${after}`;
  return { hash: sha256Hex(json), json };
}

/** The operators, each after what it reads; what is on or behind a cycle is missing. */
function inOrder({ operators, links }: Plan): PhysicalOperator[] {
  const byKey = new Map(operators.map((operator) => [operatorKey(operator), operator]));
  const between = links.map(({ from, to }) => ({ from: operatorKey(from), to: operatorKey(to) }));
  const known = between.filter(({ from, to }) => byKey.has(from) && byKey.has(to));
  const order = orderByLinks([...byKey.keys()], known);
  if (order.length < byKey.size) throw invalid("The links of the plan form a cycle; remove one of them.");
  return order.map((key) => byKey.get(key)!);
}

const unfed = ({ operatorId }: PhysicalOperator) =>
  invalid(`A link to operator ${JSON.stringify(operatorId)} comes from an output port that the plan does not have.`);

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
