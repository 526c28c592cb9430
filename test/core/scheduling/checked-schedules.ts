// What a schedule is, said a second time and without the search's means: regions by flooding, cycles by taking away
// regions that wait for nobody, costs by counting names. Slow and plain on purpose.
import type { CostModel } from "../../../src/core/scheduling/find-schedule.js";
import type { SchedulingProblem } from "../../../src/core/scheduling/scheduling-problem.js";

/** Regions of a cut as sets of operator ids; stored links hold nothing together. */
export function floodRegions({ operators, links }: SchedulingProblem, cut: ReadonlySet<string>): Set<string>[] {
  const joined = links.filter((link) => !link.stored && !cut.has(link.id));
  const regions: Set<string>[] = [];
  for (const { id } of operators) {
    if (regions.some((region) => region.has(id))) continue;
    const region = new Set([id]);
    for (const member of region)
      for (const { from, to } of joined) {
        if (from === member) region.add(to);
        if (to === member) region.add(from);
      }
    regions.push(region);
  }
  return regions;
}

/** Whether regions can run one after the other; a materialised link inside one is a cycle. */
export function isSchedulable(problem: SchedulingProblem, cut: ReadonlySet<string>): boolean {
  let waiting = floodRegions(problem, cut);
  const between = problem.links.filter((link) => !link.stored && cut.has(link.id));
  while (waiting.length > 0) {
    const ready = waiting.filter(
      (region) => !between.some(({ from, to }) => region.has(to) && waiting.some((other) => other.has(from))),
    );
    if (ready.length === 0) return false;
    waiting = waiting.filter((region) => !ready.includes(region));
  }
  return true;
}

/** The cost as the words say it. `cut` holds the links that must be materialised, too. */
export function plainCost(problem: SchedulingProblem, cut: ReadonlySet<string>, model: CostModel): number {
  const total = (values: Iterable<number>) => [...values].reduce((sum, value) => sum + value, 0);
  if (model === "seconds") {
    const seconds = new Map(problem.operators.map((o) => [o.id, o.seconds ?? 0]));
    return total(floodRegions(problem, cut).map((region) => Math.max(...[...region].map((id) => seconds.get(id)!))));
  }
  const bytes = (operator: string, port: number) => (model === "ports" ? 1 : (problem.bytes?.(operator, port) ?? 0));
  const written = new Map<string, number>();
  const read = new Map<string, number>();
  for (const { operator, port } of problem.viewed) written.set(`${operator}:${port}`, bytes(operator, port));
  for (const { id, from, fromPort, to, toPort, stored } of problem.links) {
    if (!stored && !cut.has(id)) continue;
    if (!stored) written.set(`${from}:${fromPort}`, bytes(from, fromPort));
    const pair = model === "ports" ? `${to}:${toPort}` : `${from}:${fromPort}>${to}:${toPort}`;
    read.set(pair, bytes(from, fromPort));
  }
  return total(written.values()) + total(read.values());
}

export const mustBeCut = ({ links }: SchedulingProblem): string[] =>
  links.filter((link) => link.mustMaterialize && !link.stored).map(({ id }) => id);

/**
 * The least any cut costs. Looks at every one, link by link, but for those that cost no less than one found before: a cut
 * never becomes cheaper by more of it.
 */
export function bruteForceCost(problem: SchedulingProblem, model: CostModel): number {
  const free = problem.links.filter((link) => !link.mustMaterialize && !link.stored).map(({ id }) => id);
  const cut = new Set([...mustBeCut(problem), ...free]);
  let least = plainCost(problem, cut, model);
  for (const id of free) cut.delete(id);
  const decide = (n: number): void => {
    const cost = plainCost(problem, cut, model);
    if (cost >= least - 1e-9) return;
    if (isSchedulable(problem, cut)) {
      least = cost;
      return;
    }
    if (n === free.length) return;
    decide(n + 1);
    cut.add(free[n]!);
    decide(n + 1);
    cut.delete(free[n]!);
  };
  decide(0);
  return least;
}
