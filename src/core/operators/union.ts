import { z } from "zod";
import { exampleRows } from "./example-rows.js";
import { differingColumns } from "./matching-columns.js";
import { defineOperator } from "./operator.js";
import { columnOf } from "./settings.js";

/** Puts rows of several inputs together, columns matched by name, in the order of input 0. Equal rows stay. */
export const union = defineOperator({
  type: "union",
  summary: "Puts the rows of several inputs with the same columns together; equal rows stay.",
  group: "combine",
  inputs: 'as many as "inputs" says',
  settings: z.strictObject({
    inputs: z.int().min(2).max(16).default(2).describe("Number of input ports; each takes one link."),
  }),
  example: {
    properties: {},
    inputs: [
      exampleRows({ origin: "string", delay: "long" }, ["SEA", 4], ["SFO", null]),
      exampleRows({ delay: "long", origin: "string" }, [4, "SEA"]),
    ],
    outputs: [exampleRows({ origin: "string", delay: "long" }, ["SEA", 4], ["SFO", null], ["SEA", 4])],
  },
  describe: ({ inputs: ports }) => ({
    inputs: ports,
    check: ([first, ...others]) => others.flatMap((other, i) => differingColumns(first!, other, i + 1)),
    body: {
      kind: "query",
      sql: (inputs) =>
        inputs
          .map(
            (input, i) => `SELECT ${inputs[0]!.map(({ name }) => columnOf(i, input, name)).join(", ")} FROM input${i}`,
          )
          .join(" UNION ALL "),
    },
  }),
});
