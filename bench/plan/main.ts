// The bench of planning: one JSON line per figure on standard output, notes for people on standard error. It ends with 0
// unless the bench itself breaks, or a figure does not hold under --strict.
import { parseArgs } from "node:util";
import { judge } from "../figure.js";
import { FULL, QUICK } from "./figure-group.js";
import { fingerprintFigures } from "./fingerprints.js";
import { largePlans, smallPlans, workflows } from "./schedules.js";

const GROUPS = [smallPlans, workflows, largePlans, fingerprintFigures];

const USAGE = `make bench-plan ARGS="…"
  --only NAME    a figure, or the beginning of some (several times for several)
  --quick        a smoke run: few plans, short deadlines; its numbers mean little
  --strict       exit status 1 when a figure does not hold`;

const note = (line: string) => void process.stderr.write(`${line}\n`);

/** Measures and prints; returns the exit status. */
async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: "string", multiple: true, default: [] },
      quick: { type: "boolean", default: false },
      strict: { type: "boolean", default: false },
    },
  });
  const wanted = (figure: string) => values.only.length === 0 || values.only.some((name) => figure.startsWith(name));
  const groups = GROUPS.filter(({ figures }) => figures.some(wanted));
  if (groups.length === 0)
    throw new Error(`There is no such figure. These are: ${GROUPS.flatMap(({ figures }) => figures).join(", ")}.`);
  let failed = 0;
  for (const group of groups)
    for await (const measurement of group.measure({ scale: values.quick ? QUICK : FULL, note })) {
      if (!wanted(measurement.figure)) continue;
      const figure = judge(measurement);
      if (!figure.holds) failed++;
      process.stdout.write(`${JSON.stringify(figure)}\n`);
    }
  note(failed === 0 ? "every figure holds" : `${failed} figures do not hold`);
  return values.strict && failed > 0 ? 1 : 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  note(`${(error as Error).stack}\n\n${USAGE}`);
  process.exitCode = 1;
}
