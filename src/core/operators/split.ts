import { z } from "zod";
import { exampleRows } from "./example-rows.js";
import { defineOperator } from "./operator.js";
import { isAmong, lotOf } from "./row-lottery.js";
import { embedded, expression } from "./settings.js";

/** Every row leaves by exactly one of two ports. */
export const split = defineOperator({
  type: "split",
  summary: "Sends each row to output 0 or to output 1, by a predicate or by lot.",
  group: "rows",
  inputs: 1,
  outputs: 2,
  settings: z
    .strictObject({
      predicate: expression
        .optional()
        .describe(
          "A SQL expression: rows for which it is true go to output 0, those for which it is false or null to 1.",
        ),
      ratio: z
        .number()
        .min(0)
        .max(1)
        .optional()
        .describe("The chance of each row to go to output 0; 0.8 sends about four fifths there."),
      seed: z.int().optional().describe("With ratio: another seed draws other rows; 0 when left out."),
    })
    .refine(({ predicate, ratio }) => (predicate === undefined) !== (ratio === undefined), {
      message: 'Give either "predicate", an expression, or "ratio", a share of the rows.',
    })
    .refine(({ ratio, seed: given }) => ratio !== undefined || given === undefined, {
      path: ["seed"],
      message: '"seed" is about "ratio"; leave it out.',
    }),
  example: {
    properties: { predicate: "delay > 15" },
    inputs: [exampleRows({ origin: "string", delay: "long" }, ["SEA", 4], ["SFO", 40], ["LAX", null])],
    outputs: [
      exampleRows({ origin: "string", delay: "long" }, ["SFO", 40]),
      exampleRows({ origin: "string", delay: "long" }, ["SEA", 4], ["LAX", null]),
    ],
  },
  describe: ({ predicate, ratio = 0, seed: seedNumber = 0 }) => ({
    blocking: predicate === undefined,
    expressions: predicate === undefined ? [] : [{ path: "predicate", sql: predicate, expect: "boolean" }],
    partition: () => (predicate === undefined ? { kind: "single" } : { kind: "none" }),
    ordering: ([ordering]) => (predicate === undefined ? undefined : ordering),
    body: {
      kind: "query",
      sql([input]) {
        const [clause, chosen] =
          predicate === undefined
            ? ["QUALIFY", isAmong(lotOf(input!, seedNumber), ratio)]
            : ["WHERE", embedded(predicate)];
        return [`SELECT * FROM input0 ${clause} ${chosen}`, `SELECT * FROM input0 ${clause} (${chosen}) IS NOT TRUE`];
      },
    },
  }),
});
