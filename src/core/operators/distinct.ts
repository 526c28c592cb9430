import { z } from "zod";
import { exampleRows } from "./example-rows.js";
import { defineOperator } from "./operator.js";

/** Drops repeated rows. */
export const distinct = defineOperator({
  type: "distinct",
  summary: "Keeps one of each set of equal rows; a null equals a null.",
  group: "rows",
  inputs: 1,
  settings: z.strictObject({}),
  example: {
    properties: {},
    inputs: [exampleRows({ origin: "string", delay: "long" }, ["SEA", 4], ["SEA", 4], ["SEA", null], ["SEA", null])],
    outputs: [exampleRows({ origin: "string", delay: "long" }, ["SEA", 4], ["SEA", null])],
  },
  describe: () => ({
    blocking: true,
    partition: (_, input) => ({ kind: "hash", attributes: input.map(({ name }) => name) }),
    body: { kind: "query", sql: () => "SELECT DISTINCT * FROM input0" },
  }),
});
