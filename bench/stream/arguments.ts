// What `make bench-stream ARGS="…"` takes.
import { parseArgs } from "node:util";
import { FULL, QUICK, type Scale } from "./plan.js";

export interface BenchArguments {
  scale: Scale;
  /** Names of figures, or beginnings of names; empty for all. */
  only: string[];
  /** Leave with 1 when a figure does not hold. */
  strict: boolean;
  /** Servers write CPU profiles. */
  profile: boolean;
}

export const USAGE = `make bench-stream ARGS="…"
  --only NAME    a figure, or the beginning of some (several times for several)
  --rounds N     rounds of each side (5)
  --seconds S    how long one side of a round lasts (1.5)
  --quick        a smoke run: few executors, short rounds; its numbers mean nothing
  --profile      servers write CPU profiles into .build/profiles
  --strict       exit status 1 when a figure does not hold`;

export function readArguments(args: string[]): BenchArguments {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: "string", multiple: true, default: [] },
      rounds: { type: "string" },
      seconds: { type: "string" },
      quick: { type: "boolean", default: false },
      profile: { type: "boolean", default: false },
      strict: { type: "boolean", default: false },
    },
  });
  const scale = values.quick ? QUICK : FULL;
  const { only, strict, profile } = values;
  return {
    scale: {
      ...scale,
      rounds: Math.ceil(positive("--rounds", values.rounds, scale.rounds)),
      seconds: positive("--seconds", values.seconds, scale.seconds),
    },
    only,
    strict,
    profile,
  };
}

function positive(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (Number.isFinite(value) && value > 0 && value <= 1_000) return value;
  throw new Error(`${name} is ${text}: it must be a number above 0 and at most 1,000.`);
}
