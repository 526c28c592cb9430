import { z } from "zod";
import { foldName } from "../names.js";
import { defineOperator, type Ordering } from "./operator.js";
import { orderBy } from "./order-by.js";
import { columnName, findColumn, listOf, repeatedNames } from "./settings.js";

const settings = z.strictObject({
  by: listOf(z.strictObject({ column: columnName, descending: z.boolean().default(false) })),
});

/** Sorts rows. Rows equal in the given columns are sorted by all others, so that the order is always the same. */
export const sort = defineOperator({
  type: "sort",
  summary: "Sorts rows by columns, nulls last.",
  inputs: 1,
  settings,
  describe({ by }) {
    const ordering = (input: Parameters<typeof findColumn>[0]): Ordering => {
      const named = new Set(by.map(({ column }) => foldName(column)));
      const rest = input.filter(({ name }) => !named.has(foldName(name)));
      return [
        ...by.map(({ column, descending }) => ({ column: findColumn(input, column)?.name ?? column, descending })),
        ...rest.map(({ name }) => ({ column: name, descending: false })),
      ];
    };
    return {
      blocking: true,
      columns: by.map(({ column }, i) => ({ path: `by.${i}.column`, input: 0, column })),
      partition: () => ({ kind: "single" }),
      findings: repeatedNames(
        by.map(({ column }) => column),
        (i) => `by.${i}.column`,
      ),
      ordering: (_, [input]) => ordering(input!),
      body: { kind: "query", sql: ([input]) => `SELECT * FROM input0 ${orderBy(ordering(input!))}` },
    };
  },
});
