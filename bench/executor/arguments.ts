// What `make bench-executor ARGS="…"` takes, and how large a run is.
import { parseArgs } from "node:util";

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
  --only NAME    a figure, or the beginning of some (several times for several)
  --rounds N     runs of each side (${FULL.rounds})
  --quick        a smoke run: small tables, few runs; its numbers mean nothing
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
