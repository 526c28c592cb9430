import { z } from "zod";
import { foldName } from "../names.js";
import { duckdbType, quoteName } from "../sql-text.js";
import { exampleRows } from "./example-rows.js";
import { literalOf, scalar } from "./literals.js";
import { defineOperator, type Finding } from "./operator.js";
import { columnName, columnOf, findColumn, isNumeric, listOf, repeatedNames } from "./settings.js";
import { orderBeside } from "./total-order.js";

const fillSettings = z
  .strictObject({
    column: columnName,
    value: scalar
      .optional()
      .describe("What stands in for a null. Of a timestamp an ISO 8601 text, of binary hexadecimal digits."),
    from: columnName
      .optional()
      .describe("Another column, whose value stands in; where that is null too, it stays null."),
  })
  .refine(({ value, from }) => (value === undefined) !== (from === undefined), {
    message: 'Give either "value" or "from", another column.',
  });
type Fill = z.output<typeof fillSettings>;

/** Puts values in the place of nulls. */
export const fillNulls = defineOperator({
  type: "fill-nulls",
  summary: "Puts a value, or that of another column, in the place of nulls.",
  group: "columns",
  inputs: 1,
  preservesRows: true,
  settings: z.strictObject({ columns: listOf(fillSettings).describe("The columns to fill; their types stay.") }),
  example: {
    properties: {
      columns: [
        { column: "delay", value: 0 },
        { column: "city", from: "origin" },
      ],
    },
    inputs: [
      exampleRows({ origin: "string", city: "string", delay: "long" }, ["SEA", "Seattle", null], ["SFO", null, 4]),
    ],
    outputs: [
      exampleRows({ origin: "string", city: "string", delay: "long" }, ["SEA", "Seattle", 0], ["SFO", "SFO", 4]),
    ],
  },
  describe: ({ columns }) => ({
    columns: columns.flatMap(({ column, from }, i) => [
      { path: `columns.${i}.column`, input: 0, column },
      ...(from === undefined ? [] : [{ path: `columns.${i}.from`, input: 0, column: from }]),
    ]),
    findings: repeatedNames(
      columns.map(({ column }) => column),
      (i) => `columns.${i}.column`,
    ),
    check: ([input]) =>
      columns.flatMap(({ column, value, from }, i): Finding[] => {
        const target = findColumn(input!, column);
        if (!target) return [];
        if (value !== undefined) {
          const literal = literalOf(value, target, { exact: true });
          return "problem" in literal ? [{ property: `columns.${i}.value`, message: literal.problem }] : [];
        }
        const source = findColumn(input!, from!);
        const fits = !source || source.type === target.type || (isNumeric(source.type) && isNumeric(target.type));
        if (fits) return [];
        const message = `${quoteName(target.name)} is ${target.type} and ${quoteName(source.name)} is ${source.type}; convert one of them with a cast first.`;
        return [{ property: `columns.${i}.from`, message }];
      }),
    ordering: ([ordering]) =>
      orderBeside(
        columns.map(({ column }) => column),
        ordering,
      ),
    body: {
      kind: "query",
      sql([input]) {
        const fills = new Map(columns.map((one) => [foldName(one.column), one]));
        const standIn = ({ value, from }: Fill, column: (typeof input & object)[number]): string => {
          if (value === undefined) return columnOf(0, input!, from!);
          const literal = literalOf(value, column, { exact: true });
          if ("problem" in literal) throw new Error(literal.problem);
          return literal.sql;
        };
        const items = input!.map((column) => {
          const [name, fill] = [columnOf(0, input!, column.name), fills.get(foldName(column.name))];
          if (!fill) return name;
          // JSON is kept as text.
          const type = column.type === "any" ? "VARCHAR" : duckdbType(column.type);
          const filled = `coalesce(${name}, ${standIn(fill, column)})`;
          return `${column.type === "any" ? `CAST(${filled} AS JSON)` : `CAST(${filled} AS ${type})`} AS ${quoteName(column.name)}`;
        });
        return `SELECT ${items.join(", ")} FROM input0`;
      },
    },
  }),
});
