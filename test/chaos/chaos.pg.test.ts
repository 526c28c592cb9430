// The short form of `make chaos`: every kind of fault once, and the proof that the kit finds what is broken. The long form
// is run by hand; docs/testing.md tells how.
import { rm } from "node:fs/promises";
import { expect } from "chai";
import { CHAOS_DEFAULTS, SABOTAGES, type Sabotage } from "./chaos-options.js";
import { type ChaosCourse, type ChaosResult, NeverBusy, runChaos } from "./chaos-run.js";
import { FAULT_KINDS, type FaultKind } from "./faults.js";
import { buildFor } from "./sabotage.js";
import { seededRandom } from "./seeded-random.js";

const SEED = "short form";
const SHAPE = { ...CHAOS_DEFAULTS, seed: SEED, leaseMs: 1_500, slots: 1, events: 2_000, restMs: 250 };

/** The faults that show each, because others may not: what is lost must be lost for good. */
const SHOWN_BY: Record<Sabotage, FaultKind[]> = {
  "ack-early": ["write-freeze", "commit-freeze"],
  "no-fence": ["late-words"],
  "max-ack": Array.from({ length: 10 }, () => "write-freeze" as const),
  "forget-tail": ["cut-up"],
  "double-apply": ["commit-stall", "commit-stall"],
  "skip-cursor": ["listen-terminate"],
};
/** Some faults show a sabotage only when they hit the right moment: a course that misses it is followed by another. */
const MOST_COURSES = 4;
/** A commit has to stall for longer than a server waits and shorter than an executor does. */
const STALL_LEASE_MS = 3_000;

describe("chaos, the short form", function () {
  this.timeout(420_000);

  let directory: string | undefined;
  afterEach(async function () {
    // What a failure left is for people to look at; its name is in the message.
    if (directory && this.currentTest?.state === "passed") await rm(directory, { recursive: true, force: true });
    directory = undefined;
  });

  /** The result, and what was said on the way for whoever reads a failure. */
  async function run(course: Partial<ChaosCourse>): Promise<{ result: ChaosResult; said: string }> {
    const lines: string[] = [];
    const build = await buildFor({ sabotage: course.sabotage, build: "dist" });
    const result = await runChaos({ ...SHAPE, ...course, build, say: (line) => void lines.push(line) });
    directory = result.directory;
    return { result, said: [...lines.slice(-60), JSON.stringify(result)].join("\n") };
  }

  it("nothing is missing, duplicated or out of order after every kind of fault", async () => {
    const schedule = seededRandom(SEED).shuffled(FAULT_KINDS);
    const { result, said } = await run({ schedule });
    expect(result, said).to.include({ missing: 0, duplicated: 0, out_of_order: 0, unended: 0, ok: true });
    expect(result.events_sent, said).to.be.greaterThan(10_000);
    expect(result.takeovers, said).to.be.greaterThan(0);
    expect(result.recoveries, said).to.be.greaterThan(0);
  });

  for (const sabotage of SABOTAGES) {
    it(`a build broken by ${sabotage} is found out`, async () => {
      const leaseMs = sabotage === "double-apply" ? STALL_LEASE_MS : SHAPE.leaseMs;
      const shape = { executors: 2, events: 1_500, restMs: 150, endWithinMs: 8_000, leaseMs };
      const tried: string[] = [];
      for (let course = 1; course <= MOST_COURSES; course++) {
        const seed = course === 1 ? SEED : `${SEED}, course ${course}`;
        const found = await run({ ...shape, seed, sabotage, schedule: SHOWN_BY[sabotage] }).catch((error: unknown) => {
          // An executor that drops its stream over every wrong Ack has noticed first.
          if (error instanceof NeverBusy && sabotage === "max-ack") return undefined;
          throw error;
        });
        if (!found) return;
        const { result, said } = found;
        tried.push(said);
        if (result.missing + result.duplicated + result.out_of_order > 0) {
          expect(result.ok).to.equal(false);
          return;
        }
        if (course < MOST_COURSES && directory) await rm(directory, { recursive: true, force: true });
      }
      expect.fail(`It was not found in ${MOST_COURSES} courses:\n${tried.join("\n\n")}`);
    });
  }
});
