// From the assignment to the first rows of the first operator, on an executor that has run before, without user code.
// What is timed is the arrival of the operator's whole port, which its first row precedes: a little more than the
// promise. Beside it: opening a DuckDB and copying the same rows by hand.
import { join } from "node:path";
import { planOf } from "../../../test/support/plans.js";
import { atMost } from "../../figure.js";
import { median, percentile, spread } from "../../statistics.js";
import type { FigureGroup } from "../system.js";
import { customers } from "../tables.js";

export const start: FigureGroup = {
  figures: ["start-no-code"],
  async *measure({ system, scale, note }) {
    const { path, dataset } = await customers(system);
    const plan = await system.compiled(
      planOf({
        customers: { type: "scan", dataset: "customers" },
        few: { type: "filter", from: ["customers"], predicate: "id < 1000", viewResult: true },
        counted: {
          type: "aggregate",
          from: ["few"],
          groupBy: ["region"],
          aggregates: [{ function: "count", as: "rows" }],
          viewResult: true,
        },
      }),
      [dataset],
    );
    const ours: number[] = [];
    const bare: number[] = [];
    for (let i = 0; i < scale.repeats + 2; i++) {
      let startedAt = performance.now();
      let firstAt: number | undefined;
      await system.run(plan, {
        onEvent: ({ $case }) => {
          if ($case === "portResult") firstAt ??= performance.now();
        },
      });
      ours.push(firstAt! - startedAt);
      startedAt = performance.now();
      const copy = `COPY (SELECT * FROM read_parquet('${path}') WHERE id < 1000) TO '${join(system.directory, "few.parquet")}' (FORMAT parquet)`;
      await system.bare((connection) => connection.run(copy));
      bare.push(performance.now() - startedAt);
    }
    const warm = ours.slice(2);
    note(`start-no-code: ${spread(warm)} ms, p95 ${percentile(warm, 0.95).toFixed(1)}`);
    yield {
      figure: "start-no-code",
      value: median(warm),
      unit: "ms",
      yardstick: median(bare.slice(2)),
      bound: atMost(60),
    };
  },
};
