// Which of the inputs a port has is which of those it had, when neither has the other's hash.
import { formOf, type PortNode, readForm } from "./fingerprint-graph.js";
import { jsonDifferences } from "./json-differences.js";

/** Finds earlier fingerprints by hash. */
export interface KnownEarlier {
  /** Canonical JSON; undefined when it is not known any more. */
  jsonOf(hash: string): string | undefined;
}

/** What stands on one side only; both are bags. */
export function unequal(sources: readonly PortNode[], wasFed: readonly string[]): [PortNode[], string[]] {
  const gone = [...wasFed];
  const fresh = sources.filter(({ hash }) => {
    const at = gone.indexOf(hash!);
    if (at >= 0) gone.splice(at, 1);
    return at < 0;
  });
  return [fresh, gone];
}

/** Beyond this many comparisons inputs are paired in their order. */
const MOST_COMPARISONS = 2_500;

/** Pairs by likeness, the most alike first; what is left over stands alone. */
export function mostAlike(
  fresh: readonly PortNode[],
  gone: readonly string[],
  earlier: KnownEarlier,
): [PortNode | undefined, string | undefined][] {
  const length = Math.max(fresh.length, gone.length);
  if (length <= 1 || fresh.length * gone.length > MOST_COMPARISONS)
    return Array.from({ length }, (_, i) => [fresh[i], gone[i]]);
  const known = new Map<string, number>();
  const scored = fresh.flatMap((now, i) =>
    gone.map((before, j) => ({ i, j, score: likeness(now, before, earlier, MOST_LEVELS, known) })),
  );
  scored.sort((a, b) => b.score - a.score);
  const [partners, taken] = [new Map<number, number>(), new Set<number>()];
  for (const { i, j } of scored) {
    if (partners.has(i) || taken.has(j)) continue;
    partners.set(i, j);
    taken.add(j);
  }
  return [
    ...fresh.map((now, i): [PortNode, string | undefined] => [now, gone[partners.get(i) ?? -1]]),
    ...gone.flatMap((before, j): [undefined, string][] => (taken.has(j) ? [] : [[undefined, before]])),
  ];
}

/** How far upstream two inputs are compared. */
const MOST_LEVELS = 16;

/** How much of an input is as it was: the operator itself counts more than what is before it. */
function likeness(
  now: PortNode,
  before: string,
  earlier: KnownEarlier,
  levels: number,
  known: Map<string, number>,
): number {
  if (now.hash === before) return 1;
  const json = earlier.jsonOf(before);
  if (json === undefined || now.json === undefined || levels === 0) return 0;
  const key = `${now.port} ${before}`;
  const remembered = known.get(key);
  if (remembered !== undefined) return remembered;
  const [was, is] = [readForm(json), formOf(now)];
  const members = [...new Set([...Object.keys(was), ...Object.keys(is)])].filter((name) => name !== "inputs");
  const equal = members.filter((name) => jsonDifferences(was[name], is[name]).length === 0).length;
  const labels = Object.keys(is.inputs);
  let inputs = 0;
  for (const label of labels) {
    const [fresh, gone] = unequal(now.sources.get(label) ?? [], was.inputs[label] ?? []);
    if (fresh.length === 0 && gone.length === 0) inputs += 1;
    else if (fresh.length === 1 && gone.length === 1)
      inputs += likeness(fresh[0]!, gone[0]!, earlier, levels - 1, known);
  }
  const score = 0.5 * (equal / members.length) + 0.5 * (labels.length === 0 ? 1 : inputs / labels.length);
  known.set(key, score);
  return score;
}
