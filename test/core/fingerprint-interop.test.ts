import { execFile } from "node:child_process";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect } from "chai";
import fc from "fast-check";
import { PhysicalPlan as WirePhysicalPlan } from "../../src/contract/postern/v1/plan.js";
import { fingerprints } from "../../src/core/fingerprint.js";
import type { PhysicalPlan } from "../../src/core/plan.js";
import { physicalPlanToWire, planDigest } from "../../src/rpc/plan-codec.js";
import { soundPlanArbitrary } from "../support/fingerprint-plans.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";

const VECTORS = fileURLToPath(new URL("../vectors/", import.meta.url));
const run = promisify(execFile);
const python = (...args: string[]) => run("python3", args, { cwd: VECTORS, timeout: 30_000 });
const isAbsent = (): Promise<boolean> =>
  python("--version").then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === "ENOENT",
  );

const vectorOf = (plan: PhysicalPlan) => ({
  plan: WirePhysicalPlan.toJSON(physicalPlanToWire(plan)),
  planDigest: planDigest(plan),
  fingerprints: Object.fromEntries(fingerprints(plan)),
});

describe("fingerprints in another language", () => {
  before(async function () {
    if (await isAbsent()) this.skip();
  });

  it("are the same byte for byte: every vector holds in Python, written from the specification", async () => {
    const files = (await readdir(VECTORS)).filter((name) => name.endsWith(".json"));
    const { stdout } = await python("fingerprint.py");
    expect(stdout.trim().split("\n").sort()).to.deep.equal(files.map((name) => `${name}: ok`).sort());
  });

  it("are the same for any plan", async () => {
    const directory = await makeTestDirectory();
    try {
      const files = fc.sample(soundPlanArbitrary, 200).map((plan, i) => ({ plan, file: join(directory, `${i}.json`) }));
      for (const { plan, file } of files) {
        // Some are left to chance, so that reasons flow as well.
        const port = plan.operators.at(-3)?.outputs[0];
        if (port) port.uncacheableReason = "The wind blows.";
        await writeFile(file, JSON.stringify(vectorOf(plan)));
      }
      const { stdout } = await python("fingerprint.py", ...files.map(({ file }) => file)).catch(
        (error: Error & { stdout?: string }) => ({ stdout: error.stdout ?? error.message }),
      );
      expect(stdout.split("\n").filter((line) => line !== "" && !line.endsWith(": ok"))).to.deep.equal([]);
    } finally {
      await removeTestDirectory(directory);
    }
  });
});
