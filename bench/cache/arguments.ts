// What `make bench-cache ARGS="…"` takes, and how large a run is.
import { parseArgs } from "node:util";

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
  --only NAME    a figure, or the beginning of some (several times for several)
  --rounds N     rounds of each side (${FULL.rounds})
  --quick        a smoke run: a small cache, few executions; its numbers mean nothing
  --profile      servers write CPU profiles into .build/profiles
  --strict       exit status 1 when a figure does not hold`;

export function readArguments(args: string[]) {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: "string", multiple: true, default: [] },
      rounds: { type: "string" },
      quick: { type: "boolean", default: false },
      profile: { type: "boolean", default: false },
      strict: { type: "boolean", default: false },
    },
  });
  const { only, strict, profile } = values;
  const scale = values.quick ? QUICK : FULL;
  const rounds = values.rounds === undefined ? scale.rounds : Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 100)
    throw new Error(`--rounds is ${values.rounds}: it must be a whole number from 1 to 100.`);
  return { scale: { ...scale, rounds }, only, strict, profile };
}
