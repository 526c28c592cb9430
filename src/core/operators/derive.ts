import { z } from "zod";
import { foldName } from "../names.js";
import { quoteName } from "../sql-text.js";
import { defineOperator } from "./operator.js";
import { columnName, columnOf, embedded, expression, listOf, repeatedNames } from "./settings.js";

/** Adds computed columns. Every expression sees the input's columns only, not its neighbours. */
export const derive = defineOperator({
  type: "derive",
  summary: "Adds columns computed from others; one named like an existing column takes its place.",
  inputs: 1,
  settings: z.strictObject({ columns: listOf(z.strictObject({ name: columnName, expression })) }),
  describe: ({ columns }) => ({
    expressions: columns.map(({ expression: sql }, i) => ({ path: `columns.${i}.expression`, sql })),
    findings: repeatedNames(
      columns.map(({ name }) => name),
      (i) => `columns.${i}.name`,
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
