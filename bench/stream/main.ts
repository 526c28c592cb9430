// The bench of the streams: one JSON line per figure on standard output, notes for people on standard error.
//
// Real processes: a durable embedded Postgres, servers from dist, loads of their own. Both sides of a ratio take turns;
// medians are compared. It ends with 0 unless the bench itself breaks, or a figure does not hold under --strict.
import { access } from "node:fs/promises";
import { removeAbandonedTestDirectories } from "../../test/support/test-directory.js";
import { judge } from "../figure.js";
import { type BenchArguments, readArguments, USAGE } from "./arguments.js";
import { commitDelay, durable } from "./figures/durable.js";
import { idle } from "./figures/idle.js";
import { offered, replicas } from "./figures/offered.js";
import { single } from "./figures/single.js";
import { unary } from "./figures/unary.js";
import { startSystem } from "./system.js";
import { createUndo } from "./undo.js";

const GROUPS = [durable, single, offered, replicas, unary, idle, commitDelay];
const PROFILES = ".build/profiles";
/** No run takes longer, in milliseconds. */
const DEADLINE_MS = 45 * 60_000;

const note = (line: string) => void process.stderr.write(`${line}\n`);

/** Measures and prints; returns the exit status. */
async function main({ scale, only, strict, profile }: BenchArguments): Promise<number> {
  const wanted = (figure: string) => only.length === 0 || only.some((name) => figure.startsWith(name));
  const groups = GROUPS.filter(({ figures }) => figures.some(wanted));
  if (groups.length === 0) {
    throw new Error(`There is no such figure. These are: ${GROUPS.flatMap(({ figures }) => figures).join(", ")}.`);
  }
  await access("dist/src/cli/main.js").catch(() => {
    throw new Error("The server has not been built: run make build, and this from the project's directory.");
  });
  const undo = createUndo();
  const interrupted = (why: string, status: number) => {
    note(`${why}; stopping what was started`);
    void undo.run().finally(() => process.exit(status));
  };
  process.once("SIGINT", () => interrupted("interrupted", 130));
  process.once("SIGTERM", () => interrupted("asked to end", 143));
  const deadline = setTimeout(() => interrupted("the bench takes too long", 1), DEADLINE_MS);
  let failed = 0;
  try {
    await removeAbandonedTestDirectories();
    const system = await startSystem({ note, undo, profiles: profile ? PROFILES : undefined });
    for (const group of groups)
      for await (const measurement of group.measure({ system, scale, note, wanted })) {
        if (!wanted(measurement.figure)) continue;
        const figure = judge(measurement);
        if (!figure.holds) failed++;
        process.stdout.write(`${JSON.stringify(figure)}\n`);
      }
  } finally {
    clearTimeout(deadline);
    await undo.run();
  }
  note(failed === 0 ? "every figure holds" : `${failed} figures do not hold`);
  return strict && failed > 0 ? 1 : 0;
}

try {
  process.exitCode = await main(readArguments(process.argv.slice(2)));
} catch (error) {
  note(`${(error as Error).stack}\n\n${USAGE}`);
  process.exitCode = 1;
}
