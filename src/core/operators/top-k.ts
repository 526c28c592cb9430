import { z } from "zod";
import { foldName } from "../names.js";
import { exampleRows } from "./example-rows.js";
import { defineOperator } from "./operator.js";
import { columnName, columnOf, repeatedNames } from "./settings.js";
import { namedSortColumns, orderBy, sortColumns, totalOrder } from "./total-order.js";

/** The first rows of an order, in all or per group. Ties are settled by all other columns, so the same rows stay always. */
export const topK = defineOperator({
  type: "top-k",
  summary: "Keeps the first rows of an order, in all or of each group, and sorts them.",
  group: "order",
  inputs: 1,
  settings: z.strictObject({
    by: sortColumns.describe(
      "The columns of the order, nulls last. Rows equal in them are told apart by all other columns.",
    ),
    count: z.int().min(0).describe("How many rows stay at most, of each group when there are groups."),
    groupBy: z.array(columnName).max(1_000).default([]).describe("Columns of the groups; empty: one group."),
  }),
  example: {
    properties: { by: [{ column: "delay", descending: true }], count: 1, groupBy: ["origin"] },
    inputs: [exampleRows({ origin: "string", delay: "long" }, ["SEA", 4], ["SEA", 90], ["SFO", 12], ["SFO", null])],
    outputs: [exampleRows({ origin: "string", delay: "long" }, ["SEA", 90], ["SFO", 12])],
  },
  describe({ by, count, groupBy }) {
    const { columns, findings } = namedSortColumns(by, "by");
    const groups = groupBy.map((column) => ({ column, descending: false }));
    return {
      blocking: true,
      columns: [...columns, ...groupBy.map((column, i) => ({ path: `groupBy.${i}`, input: 0, column }))],
      findings: [...findings, ...repeatedNames(groupBy, (i) => `groupBy.${i}`)],
      partition: () => (groupBy.length === 0 ? { kind: "single" } : { kind: "hash", attributes: groupBy }),
      ordering: (_, [input]) => totalOrder([...groups, ...withoutGroups(by, groupBy)], input!),
      body: {
        kind: "query",
        sql([input]) {
          const order = orderBy(totalOrder([...groups, ...withoutGroups(by, groupBy)], input!));
          if (groupBy.length === 0) return `SELECT * FROM input0 ${order} LIMIT ${count}`;
          const keys = groupBy.map((column) => columnOf(0, input!, column)).join(", ");
          return `SELECT * FROM input0 QUALIFY row_number() OVER (PARTITION BY ${keys} ${order}) <= ${count} ${order}`;
        },
      },
    };
  },
});

/** Within a group the group's columns are all equal. */
const withoutGroups = <Sorted extends { column: string }>(
  by: readonly Sorted[],
  groupBy: readonly string[],
): Sorted[] => {
  const grouped = new Set(groupBy.map(foldName));
  return by.filter(({ column }) => !grouped.has(foldName(column)));
};
