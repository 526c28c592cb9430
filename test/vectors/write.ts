// Writes what follows the plan in each fingerprint vector anew, after FINGERPRINT_VERSION was raised:
//   node --import tsx test/vectors/write.ts
// The plan's own text stays as it is, with its numbers as they are written.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { PhysicalPlan } from "../../src/contract/postern/v1/plan.js";
import { fingerprints } from "../../src/core/fingerprint.js";
import { physicalPlanFromWire, planDigest } from "../../src/rpc/plan-codec.js";

const here = new URL("./", import.meta.url);
const AFTER_PLAN = ',\n  "planDigest":';

for (const name of readdirSync(here).filter((file) => /^fingerprint-.*\.json$/.test(file))) {
  const file = new URL(name, here);
  const text = readFileSync(file, "utf8");
  const plan = physicalPlanFromWire(PhysicalPlan.fromJSON(JSON.parse(text).plan));
  const computed = { planDigest: planDigest(plan), fingerprints: Object.fromEntries(fingerprints(plan)) };
  const end = text.lastIndexOf(AFTER_PLAN);
  if (end < 0) throw new Error(`${name} has no "planDigest" after its plan; add an empty one.`);
  writeFileSync(file, `${text.slice(0, end)},${JSON.stringify(computed, null, 2).slice(1)}\n`);
}
