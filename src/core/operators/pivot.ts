import { z } from "zod";
import { quoteName } from "../sql-text.js";
import { callOf, misfit, SIMPLE_FUNCTIONS } from "./aggregate-functions.js";
import { exampleRows } from "./example-rows.js";
import { literalOf, scalar } from "./literals.js";
import { defineOperator, type Finding } from "./operator.js";
import { columnName, columnOf, findColumn, listOf, repeatedNames } from "./settings.js";

const settings = z
  .strictObject({
    groupBy: z.array(columnName).max(1_000).default([]).describe("Columns of the rows; empty: one row in all."),
    column: columnName.describe("The column whose values become columns."),
    values: listOf(
      z.strictObject({
        value: scalar.describe("A value of the column. Rows with none of the values listed count nowhere."),
        as: columnName.optional().describe("Name of its column; the value itself when left out."),
      }),
    ).describe("Which values become columns, in this order; they are listed so that columns are known before a run."),
    function: z.enum(SIMPLE_FUNCTIONS).describe("What is computed for each group and value."),
    of: columnName.optional().describe("What it is computed of. count without it counts rows."),
  })
  .refine(({ function: name, of }) => name === "count" || of !== undefined, {
    path: ["of"],
    message: 'All functions but count need "of", the column they are computed of.',
  });

/** Values become columns. */
export const pivot = defineOperator({
  type: "pivot",
  summary: "Turns values of a column into columns, with an aggregate for each group and value.",
  group: "group",
  inputs: 1,
  settings,
  example: {
    properties: {
      groupBy: ["origin"],
      column: "month",
      values: [
        { value: 1, as: "january" },
        { value: 2, as: "february" },
      ],
      function: "sum",
      of: "delay",
    },
    inputs: [
      exampleRows({ origin: "string", month: "integer", delay: "long" }, ["SEA", 1, 4], ["SEA", 1, 5], ["SFO", 2, 7]),
    ],
    outputs: [exampleRows({ origin: "string", january: "long", february: "long" }, ["SEA", 9, null], ["SFO", null, 7])],
  },
  describe: ({ groupBy, column, values, function: name, of }) => ({
    blocking: true,
    columns: [
      ...groupBy.map((key, i) => ({ path: `groupBy.${i}`, input: 0, column: key })),
      { path: "column", input: 0, column },
      ...(of === undefined ? [] : [{ path: "of", input: 0, column: of }]),
    ],
    partition: () => (groupBy.length === 0 ? { kind: "single" } : { kind: "hash", attributes: groupBy }),
    findings: [
      ...repeatedNames([...groupBy, ...values.map(nameOf)], (i) =>
        i < groupBy.length ? `groupBy.${i}` : `values.${i - groupBy.length}`,
      ),
      ...values.flatMap((one, i) =>
        columnName.safeParse(nameOf(one)).success
          ? []
          : [{ property: `values.${i}.as`, message: 'An empty or very long text cannot name a column; give "as".' }],
      ),
    ],
    check([input]) {
      const findings: Finding[] = [];
      const [keys, computed] = [findColumn(input!, column), of === undefined ? undefined : findColumn(input!, of)];
      if (!keys) return [];
      if (keys.type === "any" || keys.type === "binary") {
        const message = `${quoteName(keys.name)} is ${keys.type}, whose values cannot be listed; cast it to string first.`;
        findings.push({ property: "column", message });
      } else
        for (const [i, { value }] of values.entries()) {
          const literal = literalOf(value, keys);
          if ("problem" in literal) findings.push({ property: `values.${i}.value`, message: literal.problem });
        }
      const message = computed && misfit(name, computed);
      if (message !== undefined) findings.push({ property: "of", message });
      return findings;
    },
    body: {
      kind: "query",
      sql([input]) {
        const keys = groupBy.map((key) => columnOf(0, input!, key));
        const from = findColumn(input!, column)!;
        const call = callOf({ function: name, column: of }, input!);
        const items = values.map((one) => {
          const literal = literalOf(one.value, from);
          if ("problem" in literal) throw new Error(literal.problem);
          return `${call} FILTER (WHERE ${columnOf(0, input!, column)} = ${literal.sql}) AS ${quoteName(nameOf(one))}`;
        });
        return `SELECT ${[...keys, ...items].join(", ")} FROM input0${keys.length > 0 ? ` GROUP BY ${keys.join(", ")}` : ""}`;
      },
    },
  }),
});

const nameOf = ({ value, as }: z.output<typeof settings>["values"][number]): string => as ?? String(value);
