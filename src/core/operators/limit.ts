import { z } from "zod";
import { exampleRows } from "./example-rows.js";
import { defineOperator } from "./operator.js";
import { orderBy } from "./total-order.js";

/**
 * Keeps some rows. After a sort the query sorts again, so that which rows stay depends neither on how rows travel
 * between operators nor on threads; DuckDB turns that into a top-n.
 */
export const limit = defineOperator({
  type: "limit",
  summary: "Keeps the first rows; put a sort before it to say which are first.",
  group: "rows",
  inputs: 1,
  settings: z.strictObject({
    count: z.int().min(0).describe("How many rows stay at most."),
    offset: z.int().min(0).default(0).describe("How many rows are passed over first."),
  }),
  example: {
    properties: { count: 10 },
    inputs: [exampleRows({ origin: "string", delay: "long" }, ["SEA", 4], ["SFO", 40])],
    outputs: [exampleRows({ origin: "string", delay: "long" }, ["SEA", 4], ["SFO", 40])],
  },
  describe: ({ count, offset }) => ({
    partition: () => ({ kind: "single" }),
    ordering: ([ordering]) => ordering,
    nondeterminism: ([ordering]) =>
      ordering ? undefined : "Without a sort directly before it, which rows a limit keeps is left to chance.",
    body: {
      kind: "query",
      sql: (_, [ordering]) =>
        `SELECT * FROM input0 ${ordering ? `${orderBy(ordering)} ` : ""}LIMIT ${count}${offset > 0 ? ` OFFSET ${offset}` : ""}`,
    },
  }),
});
