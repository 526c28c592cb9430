import { z } from "zod";
import { bothSides } from "./clashing-names.js";
import { exampleRows } from "./example-rows.js";
import { defineOperator } from "./operator.js";

/** Every pair of rows. The right side is read completely before the first row of the left one. */
export const cartesianProduct = defineOperator({
  type: "cartesian-product",
  summary: "Pairs every row of input 0 with every row of input 1; their numbers of rows multiply.",
  group: "combine",
  inputs: 2,
  settings: z.strictObject({}),
  example: {
    properties: {},
    inputs: [
      exampleRows({ size: "string" }, ["S"], ["L"]),
      exampleRows({ colour: "string", size: "integer" }, ["red", 1], ["blue", 2]),
    ],
    outputs: [
      exampleRows(
        { size: "string", colour: "string", "size#@1": "integer" },
        ["S", "red", 1],
        ["S", "blue", 2],
        ["L", "red", 1],
        ["L", "blue", 2],
      ),
    ],
  },
  describe: () => ({
    partition: (port) => (port === 0 ? { kind: "none" } : { kind: "broadcast" }),
    dependsOn: (port) => (port === 0 ? [1] : []),
    body: {
      kind: "query",
      sql: ([left, right]) => `SELECT ${bothSides(left!, right!)} FROM input0 CROSS JOIN input1`,
    },
  }),
});
