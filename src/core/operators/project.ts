import { z } from "zod";
import { foldName } from "../names.js";
import type { Schema } from "../plan.js";
import { quoteName } from "../sql-text.js";
import { exampleRows } from "./example-rows.js";
import { defineOperator } from "./operator.js";
import { columnName, columnOf, listOf, repeatedNames } from "./settings.js";
import { orderAmong } from "./total-order.js";

const settings = z
  .strictObject({
    columns: listOf(
      z.strictObject({ name: columnName, as: columnName.optional().describe("New name; the old one when absent.") }),
    )
      .optional()
      .describe("The columns that stay, in this order. Without it all stay but those of drop."),
    drop: listOf(columnName).optional().describe("Columns that go; the others stay as they are."),
    rename: listOf(z.strictObject({ name: columnName, as: columnName.describe("New name.") }))
      .optional()
      .describe("New names for columns, which keep their place."),
  })
  .refine(({ columns, drop, rename }) => (columns === undefined) !== (drop === undefined && rename === undefined), {
    message: 'Give either "columns", what stays, or "drop" and "rename", what changes.',
  });
type Settings = z.output<typeof settings>;

/** Chooses, orders and renames columns. */
export const project = defineOperator({
  type: "project",
  summary: "Keeps the columns listed, in this order, under new names where given; or drops and renames some.",
  group: "columns",
  inputs: 1,
  preservesRows: true,
  settings,
  example: {
    properties: { columns: [{ name: "origin", as: "from" }, { name: "delay" }] },
    inputs: [exampleRows({ delay: "long", origin: "string", day: "timestamp" }, [4, "SEA", "2024-05-01T00:00:00Z"])],
    outputs: [exampleRows({ from: "string", delay: "long" }, ["SEA", 4])],
  },
  describe: (read) => ({
    columns: [
      ...(read.columns ?? []).map(({ name }, i) => ({ path: `columns.${i}.name`, input: 0, column: name })),
      ...(read.drop ?? []).map((column, i) => ({ path: `drop.${i}`, input: 0, column })),
      ...(read.rename ?? []).map(({ name }, i) => ({ path: `rename.${i}.name`, input: 0, column: name })),
    ],
    findings: [
      ...repeatedNames(
        (read.columns ?? []).map(({ name, as }) => as ?? name),
        (i) => `columns.${i}.${read.columns?.[i]?.as === undefined ? "name" : "as"}`,
      ),
      ...repeatedNames([...(read.drop ?? []), ...(read.rename ?? []).map(({ name }) => name)], (i) =>
        i < (read.drop ?? []).length ? `drop.${i}` : `rename.${i - (read.drop ?? []).length}.name`,
      ),
    ],
    check([input]) {
      const kept = keptColumns(read, input!);
      if (kept.length === 0) return [{ property: "drop", message: "No column would be left; keep one at least." }];
      return repeatedNames(
        kept.map(({ as }) => as),
        () => "rename",
      );
    },
    ordering([ordering], [input]) {
      const kept = keptColumns(read, input!);
      return orderAmong((column) => kept.find(({ name }) => foldName(name) === foldName(column))?.as, ordering);
    },
    body: {
      kind: "query",
      sql: ([input]) =>
        `SELECT ${keptColumns(read, input!)
          .map(({ name, as }) => `${columnOf(0, input!, name)}${as === name ? "" : ` AS ${quoteName(as)}`}`)
          .join(", ")} FROM input0`,
    },
  }),
});

/** What stays of an input, and under which names. */
function keptColumns({ columns, drop = [], rename = [] }: Settings, input: Schema): { name: string; as: string }[] {
  if (columns) return columns.map(({ name, as }) => ({ name, as: as ?? name }));
  const gone = new Set(drop.map(foldName));
  const names = new Map(rename.map(({ name, as }) => [foldName(name), as]));
  return input
    .filter(({ name }) => !gone.has(foldName(name)))
    .map(({ name }) => ({ name, as: names.get(foldName(name)) ?? name }));
}
