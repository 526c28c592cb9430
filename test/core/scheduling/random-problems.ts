// Random scheduling problems for property tests, small enough for brute force.
import fc from "fast-check";
import type { SchedulingProblem } from "../../../src/core/scheduling/scheduling-problem.js";

export interface Shape {
  operators: number;
  links: number;
}

/** Links lead from earlier operators to later ones; ports, marks and numbers are drawn at random. */
export const randomProblem = (most: Shape): fc.Arbitrary<SchedulingProblem> =>
  fc.integer({ min: 2, max: most.operators }).chain((size) =>
    fc
      .record({
        seconds: fc.array(fc.integer({ min: 0, max: 6 }), { minLength: size, maxLength: size }),
        links: fc.array(
          fc.record({
            ends: fc.tuple(fc.nat(size - 1), fc.nat(size - 1)).filter(([a, b]) => a !== b),
            fromPort: fc.integer({ min: 0, max: 1 }),
            toPort: fc.integer({ min: 0, max: 2 }),
            must: fc.integer({ min: 0, max: 9 }).map((n) => n < 3),
            stored: fc.integer({ min: 0, max: 14 }).map((n) => n === 0),
          }),
          { maxLength: most.links },
        ),
        viewed: fc.array(fc.record({ operator: fc.nat(size - 1), port: fc.integer({ min: 0, max: 1 }) }), {
          maxLength: 3,
        }),
        bytes: fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 2 * size, maxLength: 2 * size }),
      })
      .map(({ seconds, links, viewed, bytes }) => ({
        operators: seconds.map((s, n) => ({ id: `o${n}`, seconds: s / 2 })),
        links: links.map(({ ends: [a, b], fromPort, toPort, must, stored }, n) => ({
          id: `l${n}`,
          from: `o${Math.min(a, b)}`,
          fromPort,
          to: `o${Math.max(a, b)}`,
          toPort,
          mustMaterialize: must,
          why: must ? "drawn so" : "",
          stored,
        })),
        viewed: viewed.map(({ operator, port }) => ({ operator: `o${operator}`, port })),
        bytes: (operator, port) => bytes[2 * Number(operator.slice(1)) + port]!,
      })),
  );
