import { z } from "zod";
import { exampleRows } from "./example-rows.js";
import { defineOperator } from "./operator.js";
import { isAmong, lotOf, seed } from "./row-lottery.js";
import { columnOf } from "./settings.js";

/** A random choice of rows that is the same every time (row-lottery.ts). */
export const sample = defineOperator({
  type: "sample",
  summary: "Keeps a random choice of rows, the same one every time.",
  group: "rows",
  inputs: 1,
  settings: z
    .strictObject({
      fraction: z
        .number()
        .min(0)
        .max(1)
        .optional()
        .describe("The chance of each row to stay; 0.1 keeps about a tenth."),
      count: z.int().min(0).optional().describe("How many rows stay, exactly; all when there are no more."),
      seed,
    })
    .refine(({ fraction, count }) => (fraction === undefined) !== (count === undefined), {
      message: 'Give either "fraction", a share of the rows, or "count", their number.',
    }),
  example: {
    properties: { count: 2, seed: 7 },
    inputs: [exampleRows({ name: "string" }, ["a"], ["b"], ["c"], ["d"], ["e"])],
    outputs: [exampleRows({ name: "string" }, ["a"], ["c"])],
  },
  describe: ({ fraction, count, seed: seedNumber }) => ({
    blocking: true,
    partition: () => ({ kind: "single" }),
    body: {
      kind: "query",
      sql([input]) {
        const lot = lotOf(input!, seedNumber);
        if (fraction !== undefined) return `SELECT * FROM input0 QUALIFY ${isAmong(lot, fraction)}`;
        const columns = input!.map(({ name }) => columnOf(0, input!, name)).join(", ");
        return `SELECT * FROM input0 ORDER BY ${lot}, ${columns} LIMIT ${count}`;
      },
    },
  }),
});
