// How long things took, and when they happened: kept as two rows of numbers, summed up by stretches of time.
import { percentile } from "../../statistics.js";

/** A stretch of time on the clock of `nowUs`. */
export interface Stretch {
  fromUs: number;
  toUs: number;
}

export interface Summary {
  count: number;
  p50Ms: number;
  p99Ms: number;
}

export interface Latencies {
  add(atUs: number, tookUs: number): void;
  /** One summary for each stretch: of what happened within it. */
  summarise(stretches: Stretch[]): Summary[];
}

export function createLatencies(): Latencies {
  const at: number[] = [];
  const took: number[] = [];
  return {
    add(atUs, tookUs) {
      at.push(atUs);
      took.push(tookUs);
    },
    summarise: (stretches) =>
      stretches.map(({ fromUs, toUs }) => {
        const within = took.filter((_, n) => at[n]! >= fromUs && at[n]! < toUs);
        if (within.length === 0) return { count: 0, p50Ms: Number.NaN, p99Ms: Number.NaN };
        return {
          count: within.length,
          p50Ms: percentile(within, 0.5) / 1_000,
          p99Ms: percentile(within, 0.99) / 1_000,
        };
      }),
  };
}
