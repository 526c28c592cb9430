// The course of a bench: what `--only` wants is measured, judged and printed, one JSON line per figure on standard
// output; notes for people go to standard error. Whatever was started is stopped, however it ends.
import { access } from "node:fs/promises";
import { removeAbandonedTestDirectories } from "../test/support/test-directory.js";
import type { SystemOptions } from "./base-system.js";
import { judge, type Measurement } from "./figure.js";
import { createUndo } from "./undo.js";

export interface FigureDeps<System, Scale> {
  system: System;
  scale: Scale;
  /** For people, on standard error. */
  note: (line: string) => void;
  /** False when `--only` leaves the figure out. */
  wanted: (figure: string) => boolean;
}

/** A group of figures that share what they start; it yields each figure as it is known. */
export interface FigureGroup<System, Scale> {
  figures: readonly string[];
  measure(deps: FigureDeps<System, Scale>): AsyncIterable<Measurement>;
}

export interface Bench<System, Scale> {
  groups: readonly FigureGroup<System, Scale>[];
  start(options: SystemOptions): Promise<System>;
  scale: Scale;
  /** Names of figures, or beginnings of names; empty for all. */
  only: string[];
  /** Leave with 1 when a figure does not hold. */
  strict: boolean;
  /** Servers write CPU profiles. */
  profile: boolean;
}

const PROFILES = ".build/profiles";
/** No run takes longer, in milliseconds. */
const DEADLINE_MS = 45 * 60_000;

export const note = (line: string) => void process.stderr.write(`${line}\n`);

/** Measures and prints; returns the exit status: 0 unless a figure does not hold under `strict`. */
export async function runGroups<System, Scale>(bench: Bench<System, Scale>): Promise<number> {
  const { only, scale } = bench;
  const wanted = (figure: string) => only.length === 0 || only.some((name) => figure.startsWith(name));
  const groups = bench.groups.filter(({ figures }) => figures.some(wanted));
  if (groups.length === 0)
    throw new Error(
      `There is no such figure. These are: ${bench.groups.flatMap(({ figures }) => figures).join(", ")}.`,
    );
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
    const system = await bench.start({ note, undo, profiles: bench.profile ? PROFILES : undefined });
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
  note(failed === 0 ? "every figure holds" : `${failed} ${failed === 1 ? "figure does" : "figures do"} not hold`);
  return bench.strict && failed > 0 ? 1 : 0;
}

/** Runs a bench as a program: what goes wrong is told with how to call it. */
export async function asProgram(run: () => Promise<number>, usage: string): Promise<void> {
  try {
    process.exitCode = await run();
  } catch (error) {
    note(`${(error as Error).stack}\n\n${usage}`);
    process.exitCode = 1;
  }
}
