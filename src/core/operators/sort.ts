import { z } from "zod";
import { exampleRows } from "./example-rows.js";
import { defineOperator } from "./operator.js";
import { namedSortColumns, orderBy, sortColumns, totalOrder } from "./total-order.js";

/** Sorts rows. Rows equal in the given columns are sorted by all others, so that the order is always the same. */
export const sort = defineOperator({
  type: "sort",
  summary: "Sorts rows by columns, nulls last.",
  group: "order",
  inputs: 1,
  preservesRows: true,
  settings: z.strictObject({
    by: sortColumns.describe(
      "The columns, the first one before the others. Rows equal in them are sorted by all others.",
    ),
  }),
  example: {
    properties: { by: [{ column: "delay", descending: true }] },
    inputs: [exampleRows({ origin: "string", delay: "long" }, ["SFO", 4], ["SEA", 4], ["LAX", null], ["JFK", 90])],
    outputs: [exampleRows({ origin: "string", delay: "long" }, ["JFK", 90], ["SEA", 4], ["SFO", 4], ["LAX", null])],
  },
  describe: ({ by }) => ({
    blocking: true,
    ...namedSortColumns(by, "by"),
    partition: () => ({ kind: "single" }),
    ordering: (_, [input]) => totalOrder(by, input!),
    body: { kind: "query", sql: ([input]) => `SELECT * FROM input0 ${orderBy(totalOrder(by, input!))}` },
  }),
});
