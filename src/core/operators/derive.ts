import { z } from "zod";
import { foldName } from "../names.js";
import { quoteName } from "../sql-text.js";
import { exampleRows } from "./example-rows.js";
import { defineOperator } from "./operator.js";
import { columnName, columnOf, embedded, expression, listOf, repeatedNames } from "./settings.js";
import { orderBeside } from "./total-order.js";

/** Adds computed columns. Every expression sees the input's columns only, not its neighbours. */
export const derive = defineOperator({
  type: "derive",
  summary: "Adds columns computed from others; one named like an existing column takes its place.",
  group: "columns",
  inputs: 1,
  preservesRows: true,
  settings: z.strictObject({
    columns: listOf(z.strictObject({ name: columnName, expression })).describe(
      "The columns to compute. Expressions see the columns of the input, not each other.",
    ),
  }),
  example: {
    properties: {
      columns: [
        { name: "late", expression: "delay > 15" },
        { name: "origin", expression: "lower(origin)" },
      ],
    },
    inputs: [exampleRows({ origin: "string", delay: "long" }, ["SEA", 4], ["SFO", null])],
    outputs: [
      exampleRows({ origin: "string", delay: "long", late: "boolean" }, ["sea", 4, false], ["sfo", null, null]),
    ],
  },
  describe: ({ columns }) => ({
    expressions: columns.map(({ expression: sql }, i) => ({ path: `columns.${i}.expression`, sql })),
    findings: repeatedNames(
      columns.map(({ name }) => name),
      (i) => `columns.${i}.name`,
    ),
    ordering: ([ordering]) =>
      orderBeside(
        columns.map(({ name }) => name),
        ordering,
      ),
    body: {
      kind: "query",
      sql([input]) {
        const derived = new Map(columns.map((column) => [foldName(column.name), column]));
        const existing = new Set(input!.map(({ name }) => foldName(name)));
        const item = (name: string, sql: string) => `${embedded(sql)} AS ${quoteName(name)}`;
        const kept = input!.map(({ name }) => {
          const replacement = derived.get(foldName(name));
          return replacement ? item(name, replacement.expression) : columnOf(0, input!, name);
        });
        const added = columns.filter(({ name }) => !existing.has(foldName(name)));
        return `SELECT ${[...kept, ...added.map((c) => item(c.name, c.expression))].join(", ")} FROM input0`;
      },
    },
  }),
});
