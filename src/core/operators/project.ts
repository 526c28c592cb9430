import { z } from "zod";
import { quoteName } from "../sql-text.js";
import { defineOperator } from "./operator.js";
import { columnName, columnOf, listOf, repeatedNames } from "./settings.js";

/** Chooses, orders and renames columns. */
export const project = defineOperator({
  type: "project",
  summary: "Keeps the columns listed, in this order, under new names where given.",
  inputs: 1,
  settings: z.strictObject({
    columns: listOf(
      z.strictObject({ name: columnName, as: columnName.optional().describe("New name; the old one when absent.") }),
    ),
  }),
  describe: ({ columns }) => ({
    columns: columns.map(({ name }, i) => ({ path: `columns.${i}.name`, input: 0, column: name })),
    findings: repeatedNames(
      columns.map(({ name, as }) => as ?? name),
      (i) => `columns.${i}.${columns[i]?.as === undefined ? "name" : "as"}`,
    ),
    body: {
      kind: "query",
      sql: ([input]) =>
        `SELECT ${columns
          .map(({ name, as }) => {
            const column = columnOf(0, input!, name);
            return as === undefined ? column : `${column} AS ${quoteName(as)}`;
          })
          .join(", ")} FROM input0`,
    },
  }),
});
