// Mocha's ordinary report, and the counts beside it for whoever closes the run (.ci/run prints them last).
import { mkdirSync, writeFileSync } from "node:fs";
import Mocha from "mocha";

// biome-ignore lint/style/noDefaultExport: mocha takes the default export of a reporter's module.
export default class CountingReporter extends Mocha.reporters.Spec {
  constructor(runner: Mocha.Runner, options: Mocha.MochaOptions) {
    super(runner, options);
    runner.once(Mocha.Runner.constants.EVENT_RUN_END, () => {
      const { passes = 0, failures = 0, pending = 0 } = runner.stats ?? {};
      mkdirSync(".build", { recursive: true });
      writeFileSync(
        ".build/test-counts.json",
        `${JSON.stringify({ passed: passes, failed: failures, skipped: pending })}\n`,
      );
    });
  }
}
