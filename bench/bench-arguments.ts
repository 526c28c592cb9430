// What the benches take that measure systems: which figures, how many rounds, how large.
import { parseArgs } from "node:util";

/** The options, for a usage text. */
export const BENCH_OPTIONS = (fullRounds: number, quick: string): string => `\
  --only NAME    a figure, or the beginning of some (several times for several)
  --rounds N     rounds of each side (${fullRounds})
  --quick        a smoke run: ${quick}; its numbers mean nothing
  --profile      servers write CPU profiles into .build/profiles
  --strict       exit status 1 when a figure does not hold`;

/** Reads the arguments; throws with a sentence for people. */
export function readBenchArguments<Scale extends { rounds: number }>(
  args: string[],
  scales: { full: Scale; quick: Scale },
) {
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
  const scale = values.quick ? scales.quick : scales.full;
  const rounds = values.rounds === undefined ? scale.rounds : Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 100)
    throw new Error(`--rounds is ${values.rounds}: it must be a whole number from 1 to 100.`);
  return { scale: { ...scale, rounds }, only, strict, profile };
}
