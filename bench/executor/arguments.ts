// What `make bench-executor ARGS="…"` takes, and how large a run is.
import { BENCH_OPTIONS, readBenchArguments } from "../bench-arguments.js";

export interface Scale {
  /** Rows of the table that the relational workflow reads. */
  rows: number;
  /** Runs of each side; the median counts. */
  rounds: number;
  /** Runs of the small workflow, pauses, and the like. */
  repeats: number;
  /** Bytes of the file that is larger than memory. */
  largeBytes: number;
}

const FULL: Scale = { rows: 10_000_000, rounds: 3, repeats: 30, largeBytes: 1_000_000_000 };
/** Proves that the bench works; its numbers mean nothing. */
const QUICK: Scale = { rows: 200_000, rounds: 1, repeats: 3, largeBytes: 30_000_000 };

export const USAGE = `make bench-executor ARGS="…"
${BENCH_OPTIONS(FULL.rounds, "small tables, few runs")}`;

export const readArguments = (args: string[]) => readBenchArguments(args, { full: FULL, quick: QUICK });
