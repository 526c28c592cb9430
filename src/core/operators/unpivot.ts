import { z } from "zod";
import { foldName } from "../names.js";
import { quoteText } from "../scan-sql.js";
import { quoteName } from "../sql-text.js";
import { exampleRows } from "./example-rows.js";
import { defineOperator } from "./operator.js";
import { columnName, columnOf, findColumn, isNumeric, listOf, repeatedNames } from "./settings.js";

/** Columns become rows. */
export const unpivot = defineOperator({
  type: "unpivot",
  summary: "Turns columns into rows: one for each of them, with its name and its value.",
  group: "group",
  inputs: 1,
  settings: z.strictObject({
    columns: listOf(columnName).describe(
      "The columns that become rows; all of one type, or all numbers. The others stay.",
    ),
    nameColumn: columnName.default("name").describe("Where their names go."),
    valueColumn: columnName.default("value").describe("Where their values go."),
    keepNulls: z.boolean().default(false).describe("Whether a null gives a row too."),
  }),
  example: {
    properties: { columns: ["january", "february"], nameColumn: "month", valueColumn: "delay" },
    inputs: [exampleRows({ origin: "string", january: "long", february: "long" }, ["SEA", 9, null], ["SFO", 3, 7])],
    outputs: [
      exampleRows(
        { origin: "string", month: "string", delay: "long" },
        ["SEA", "january", 9],
        ["SFO", "january", 3],
        ["SFO", "february", 7],
      ),
    ],
  },
  describe: ({ columns, nameColumn, valueColumn, keepNulls }) => ({
    columns: columns.map((column, i) => ({ path: `columns.${i}`, input: 0, column })),
    findings: [
      ...repeatedNames(columns, (i) => `columns.${i}`),
      ...repeatedNames([nameColumn, valueColumn], () => "valueColumn"),
    ],
    check([input]) {
      const [first, ...others] = columns.flatMap((column) => findColumn(input!, column) ?? []);
      if (!first) return [];
      const other = others.find(({ type }) => type !== first.type && !(isNumeric(type) && isNumeric(first.type)));
      const gone = new Set(columns.map(foldName));
      const kept = input!.filter(({ name }) => !gone.has(foldName(name))).map(({ name }) => name);
      const clashes = repeatedNames([...kept, nameColumn, valueColumn], (i) =>
        i === kept.length ? "nameColumn" : "valueColumn",
      );
      if (!other) return clashes;
      const message = `${quoteName(first.name)} is ${first.type} and ${quoteName(other.name)} is ${other.type}; convert them to one type with a cast first.`;
      return [{ property: "columns", message }, ...clashes];
    },
    body: {
      kind: "query",
      sql([input]) {
        const gone = new Set(columns.map(foldName));
        const kept = input!
          .filter(({ name }) => !gone.has(foldName(name)))
          .map(({ name }) => columnOf(0, input!, name));
        const found = columns.map((column) => findColumn(input!, column)!.name);
        const names = `unnest([${found.map(quoteText).join(", ")}]) AS ${quoteName(nameColumn)}`;
        const values = `unnest([${found.map((name) => columnOf(0, input!, name)).join(", ")}]) AS ${quoteName(valueColumn)}`;
        const rows = `SELECT ${[...kept, names, values].join(", ")} FROM input0`;
        return keepNulls ? rows : `SELECT * FROM (${rows}) WHERE ${quoteName(valueColumn)} IS NOT NULL`;
      },
    },
  }),
});
