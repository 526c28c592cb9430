// What `make bench-cache ARGS="…"` takes, and how large a run is.
import { BENCH_OPTIONS, readBenchArguments } from "../bench-arguments.js";

export interface Scale {
  /** Entries in the cache of the lookup figures. */
  entries: number;
  /** Lookups per round and size, and rounds. */
  lookups: number;
  rounds: number;
  /** How long lookups go on beside the writers, in seconds. */
  seconds: number;
  /** Runs of the unchanged workflow. */
  reruns: number;
  /** Executions of one workflow at once. */
  executions: number;
}

const FULL: Scale = { entries: 1_000_000, lookups: 60, rounds: 5, seconds: 20, reruns: 60, executions: 50 };
/** Proves that the bench works; its numbers mean nothing. */
const QUICK: Scale = { entries: 5_000, lookups: 5, rounds: 1, seconds: 1, reruns: 5, executions: 6 };

export const USAGE = `make bench-cache ARGS="…"
${BENCH_OPTIONS(FULL.rounds, "a small cache, few executions")}`;

export const readArguments = (args: string[]) => readBenchArguments(args, { full: FULL, quick: QUICK });
