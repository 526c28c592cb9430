// Why a port has no cached result: what differs between its fingerprint and an earlier one, and where.
//
// M1  An input that differs is followed upstream, to the operator whose own settings, code, dataset or links differ.
//     What lies between is not named.
// M2  An operator's columns follow from its settings and inputs: they are named only when nothing else differs there.
// M3  The hashes that feed one port are a bag. Those on both sides are equal; of the others each is compared with the
//     one it is most like.
// M4  Earlier fingerprints that are not known any more end the way: the input is then named itself.
import { canonicalJson } from "./canonical-json.js";
import {
  contentOf,
  describe,
  type Form,
  formOf,
  nodeOf,
  type PortNode,
  type PresentPlan,
  portGraph,
  readForm,
} from "./fingerprint-graph.js";
import { type KnownEarlier, mostAlike, unequal } from "./input-likeness.js";
import { type JsonDifference, jsonDifferences, memberPath, shown } from "./json-differences.js";

export type { PresentPlan } from "./fingerprint-graph.js";

/** One difference. `operatorId` is the operator of the present plan that has it. */
export interface Difference extends JsonDifference {
  operatorId: string;
}

export interface EarlierFingerprint extends KnownEarlier {
  /** Canonical JSON of the port as it was. */
  json: string;
}

/** What differs for a port, nearest operators first. Empty when nothing does. */
export const explainMiss = (present: PresentPlan, port: string, earlier: EarlierFingerprint): Difference[] =>
  missExplainer(present, earlier)(port, earlier.json);

/** `explainMiss` for many ports of one plan: what lies upstream of several of them is compared once. */
export function missExplainer(
  present: PresentPlan,
  earlier: KnownEarlier,
): (port: string, json: string) => Difference[] {
  const graph = portGraph(present);
  const compared = new Map<PortNode, Map<string, Comparison>>();

  function comparison(pair: Pair): Comparison {
    const ofPort = compared.get(pair.now) ?? new Map<string, Comparison>();
    compared.set(pair.now, ofPort);
    const known = ofPort.get(pair.json);
    if (known) return known;
    const made = pair.now.json === undefined ? chanceBehind(pair.now) : compare(pair, earlier);
    ofPort.set(pair.json, made);
    return made;
  }

  return (port, json) => {
    const found = new Map<string, Difference>();
    const pairs: Pair[] = [{ now: nodeOf(graph, port), json }];
    const seen = new Set<Comparison>();
    for (const pair of pairs) {
      if (pair.now.json === pair.json) continue;
      const made = comparison(pair);
      if (seen.has(made)) continue;
      seen.add(made);
      for (const difference of made.differences) {
        const key = JSON.stringify([difference.operatorId, difference.path]);
        if (!found.has(key)) found.set(key, difference);
      }
      pairs.push(...made.follow);
    }
    return [...found.values()];
  };
}

/** An output port of the present plan, and the fingerprint it had. */
interface Pair {
  now: PortNode;
  json: string;
}

interface Comparison {
  differences: Difference[];
  follow: Pair[];
}

/** One port beside its earlier form: what differs here, and which inputs to follow. */
function compare({ now, json }: Pair, earlier: KnownEarlier): Comparison {
  const operatorId = now.operator.operatorId;
  const [was, is] = [readForm(json), formOf(now)];
  const here = (differences: JsonDifference[]) => differences.map((difference) => ({ operatorId, ...difference }));
  if (was.version !== is.version)
    return { differences: here(jsonDifferences(was.version, is.version, "version")), follow: [] };
  const { inputs: wasFed, outputs: hadColumns, ...wasItself } = was;
  const { inputs: isFed, outputs: hasColumns, ...isItself } = is;
  const differences = jsonDifferences(wasItself, isItself);
  const follow: Pair[] = [];
  for (const label of new Set([...Object.keys(wasFed), ...Object.keys(isFed)])) {
    const path = memberPath("inputs", label);
    if (!Object.hasOwn(wasFed, label) || !Object.hasOwn(isFed, label)) {
      differences.push(...jsonDifferences(wasFed[label], isFed[label], path));
      continue;
    }
    const fed = { sources: now.sources.get(label) ?? [], is: isFed[label]!, was: wasFed[label]! };
    const inputs = compareInputs(fed, was, path, earlier);
    differences.push(...inputs.differences);
    follow.push(...inputs.follow);
  }
  if (differences.length + follow.length === 0) differences.push(...jsonDifferences(hadColumns, hasColumns, "outputs")); // M2
  return { differences: here(differences), follow };
}

/** What feeds one input port, the hashes of that, and the hashes that fed it. */
interface Fed {
  sources: readonly PortNode[];
  is: readonly string[];
  was: readonly string[];
}

function compareInputs(
  fed: Fed,
  consumer: Form,
  path: string,
  earlier: KnownEarlier,
): { differences: JsonDifference[]; follow: Pair[] } {
  const [fresh, gone] = unequal(fed.sources, fed.was);
  const differences: JsonDifference[] = [];
  const follow: Pair[] = [];
  const name = (hash: string, hashes: readonly string[]) => memberPath(path, String(hashes.indexOf(hash)));
  for (const [now, before] of mostAlike(fresh, gone, earlier)) {
    const json = before === undefined ? undefined : earlier.jsonOf(before);
    if (now && json !== undefined && !isAnother(now, before!, json, consumer, earlier)) follow.push({ now, json });
    else
      differences.push({
        path: now ? name(now.hash!, fed.is) : name(before!, fed.was),
        ...shown(before === undefined ? "" : describeEarlier(before, json), now ? describe(formOf(now), now) : ""),
      });
  }
  return { differences, follow };
}

/**
 * Whether an input is another operator's, not the same operator changed: it fed this operator before, directly or from
 * further upstream, or what fed it before is now further upstream, or nothing of it is as it was.
 */
function isAnother(now: PortNode, before: string, json: string, consumer: Form, earlier: KnownEarlier): boolean {
  if (earlier.jsonOf(now.hash!) !== undefined && wasUpstream(now.hash!, consumer, earlier)) return true;
  if (isUpstream(before, now)) return true;
  const [was, is] = [readForm(json), formOf(now)];
  return was.type !== is.type && canonicalJson(contentOf(was)) !== canonicalJson(contentOf(is));
}

/** How many ports upstream of one are looked at, the nearest first: edits put operators in and out one by one. */
const NEAR = 64;

function isUpstream(hash: string, of: PortNode): boolean {
  const reached = new Set([of]);
  for (const node of reached)
    for (const source of [...node.sources.values()].flat()) {
      if (source.hash === hash) return true;
      if (reached.size < NEAR) reached.add(source);
    }
  return false;
}

function wasUpstream(hash: string, of: Form, earlier: KnownEarlier): boolean {
  const reached = new Set(Object.values(of.inputs).flat());
  for (const one of reached) {
    if (one === hash) return true;
    const json = reached.size < NEAR ? earlier.jsonOf(one) : undefined;
    if (json !== undefined) for (const input of Object.values(readForm(json).inputs).flat()) reached.add(input);
  }
  return false;
}

/** A port without a fingerprint is explained by the operators that leave it to chance. */
function chanceBehind(port: PortNode): Comparison {
  const reached = new Set([port]);
  const differences: Difference[] = [];
  for (const node of reached) {
    const behind = [...node.sources.values()].flat().filter(({ reason }) => reason !== undefined);
    for (const source of behind) reached.add(source);
    if (behind.length > 0) continue;
    const after = JSON.stringify(node.reason);
    differences.push({ operatorId: node.operator.operatorId, path: "uncacheableReason", before: "", after });
  }
  return { differences, follow: [] };
}

const describeEarlier = (hash: string, json: string | undefined): string =>
  json === undefined ? `a result that is not known any more (${hash.slice(0, 12)})` : describe(readForm(json));
