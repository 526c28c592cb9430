// A scheduling problem by numbers: operators and links in the order of their ids, so that no answer depends on the
// order in which they were given. Links whose rows are stored already constrain nothing and are not in it.
import { invalid } from "../app-error.js";
import { findCycles, orderByLinks } from "../plan-order.js";
import type { ProblemLink, ProblemOperator, SchedulingProblem } from "./scheduling-problem.js";

export interface LinkGraph {
  operators: ProblemOperator[];
  /** Those that can be cut: all but the stored ones. */
  links: ProblemLink[];
  stored: ProblemLink[];
  /** Per link, the numbers of the operators at its ends. */
  from: Int32Array;
  to: Int32Array;
  /** 1 where the link must be materialised. */
  must: Uint8Array;
  /** Numbers of the operators, each after what it reads. */
  order: Int32Array;
}

const byId = (a: { id: string }, b: { id: string }): number => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);

/** Refuses ids that are not unique, links to nowhere, and plans that are no acyclic graph. */
export function linkGraph(problem: SchedulingProblem): LinkGraph {
  const operators = problem.operators.toSorted(byId);
  const sorted = problem.links.toSorted(byId);
  refuseTwins("operators", operators);
  refuseTwins("links", sorted);
  const numbers = new Map(operators.map(({ id }, n) => [id, n]));
  for (const { id, from, to, stored } of sorted)
    for (const end of stored ? [to] : [from, to])
      if (!numbers.has(end))
        throw invalid(`Link ${JSON.stringify(id)} ends at ${JSON.stringify(end)}, which is no operator; name one.`);
  const links = sorted.filter(({ stored }) => !stored);
  const ids = operators.map(({ id }) => id);
  const order = orderByLinks(ids, links);
  if (order.length < ids.length) {
    const [cycle] = findCycles(ids, links);
    throw invalid(`A plan has no cycles, but ${cycle!.join(" → ")} is one; remove one of its links.`);
  }
  return {
    operators,
    links,
    stored: sorted.filter(({ stored }) => stored),
    from: Int32Array.from(links, (link) => numbers.get(link.from)!),
    to: Int32Array.from(links, (link) => numbers.get(link.to)!),
    must: Uint8Array.from(links, (link) => (link.mustMaterialize ? 1 : 0)),
    order: Int32Array.from(order, (id) => numbers.get(id)!),
  };
}

function refuseTwins(what: string, sorted: readonly { id: string }[]): void {
  const twin = sorted.find(({ id }, n) => n > 0 && sorted[n - 1]!.id === id);
  if (twin) throw invalid(`Two ${what} are called ${JSON.stringify(twin.id)}; give each an id of its own.`);
}
