// Random graphs in layers: not what people draw, but harder. Links lead a few layers on, and only some must be
// materialised, so that little is decided without a search.
import type { SchedulingProblem } from "../../src/core/scheduling/scheduling-problem.js";
import { createRandom } from "./random-plans.js";

export interface LayeredShape {
  operators: number;
  links: number;
  /** Share of links that must be materialised. */
  must: number;
}

export function layeredPlan(seed: number, { operators: size, links: count, must }: LayeredShape): SchedulingProblem {
  const random = createRandom(seed);
  const below = (n: number) => Math.floor(random() * n);
  const operators = Array.from({ length: size }, (_, n) => ({ id: `o${n}`, seconds: Math.round(random() * 100) / 10 }));
  const reach = Math.max(2, Math.floor(size / 6));
  const links = Array.from({ length: count }, (_, n) => {
    const from = below(size - 1);
    const to = Math.min(size - 1, from + 1 + below(reach));
    const isMust = random() < must;
    return {
      id: `l${n}`,
      from: `o${from}`,
      fromPort: 0,
      to: `o${to}`,
      // One link in four joins another in its input port.
      toPort: n - (n % 4 === 3 ? 1 : 0),
      mustMaterialize: isMust,
      why: isMust ? "Drawn so." : "",
    };
  });
  const bytes = new Map(operators.map(({ id }) => [id, 10 + below(1_000)]));
  return { operators, links, viewed: [], bytes: (operator) => bytes.get(operator) };
}
