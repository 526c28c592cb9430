import { z } from "zod";
import { quoteName } from "../sql-text.js";
import { defineOperator } from "./operator.js";
import { columnName, columnOf, findColumn, isNumeric, repeatedNames } from "./settings.js";

const aggregateSettings = z.strictObject({
  function: z.enum(["count", "sum", "avg", "min", "max", "count_distinct"]),
  column: columnName.optional().describe("What is aggregated. count without a column counts rows."),
  as: columnName.describe("Name of the result column."),
});
type Aggregate = z.output<typeof aggregateSettings>;

/** One row per group, or one row in all. */
export const aggregate = defineOperator({
  type: "aggregate",
  summary: "Computes counts, sums, averages, minima and maxima per group.",
  inputs: 1,
  settings: z
    .strictObject({
      groupBy: z
        .array(columnName)
        .max(1_000)
        .default([])
        .describe("Columns of the groups; empty: everything is one group."),
      aggregates: z.array(aggregateSettings).max(1_000).default([]),
    })
    .refine(({ groupBy, aggregates }) => groupBy.length + aggregates.length > 0, {
      message: '"groupBy" and "aggregates" must not both be empty.',
    }),
  describe: ({ groupBy, aggregates }) => ({
    blocking: true,
    columns: [
      ...groupBy.map((column, i) => ({ path: `groupBy.${i}`, input: 0, column })),
      ...aggregates.flatMap(({ column }, i) =>
        column === undefined ? [] : [{ path: `aggregates.${i}.column`, input: 0, column }],
      ),
    ],
    partition: () => (groupBy.length === 0 ? { kind: "single" } : { kind: "hash", attributes: groupBy }),
    findings: [
      ...repeatedNames([...groupBy, ...aggregates.map(({ as }) => as)], (i) =>
        i < groupBy.length ? `groupBy.${i}` : `aggregates.${i - groupBy.length}.as`,
      ),
      ...aggregates.flatMap(({ function: name, column }, i) =>
        column === undefined && name !== "count"
          ? [{ property: `aggregates.${i}.column`, message: `${name} needs a "column".` }]
          : [],
      ),
    ],
    check: ([input]) =>
      aggregates.flatMap(({ function: name, column = "" }, i) => {
        const found = findColumn(input!, column);
        if (!found || (name !== "sum" && name !== "avg") || isNumeric(found.type)) return [];
        const message = `${name} needs numbers and ${quoteName(found.name)} is ${found.type}; convert it in a derive first.`;
        return [{ property: `aggregates.${i}.column`, message }];
      }),
    body: {
      kind: "query",
      sql([input]) {
        const keys = groupBy.map((name) => columnOf(0, input!, name));
        const items = aggregates.map(
          (a) => `${call(a, a.column === undefined ? "*" : columnOf(0, input!, a.column))} AS ${quoteName(a.as)}`,
        );
        return `SELECT ${[...keys, ...items].join(", ")} FROM input0${keys.length > 0 ? ` GROUP BY ${keys.join(", ")}` : ""}`;
      },
    },
  }),
});

const call = ({ function: name }: Aggregate, of: string): string =>
  name === "count_distinct" ? `count(DISTINCT ${of})` : `${name}(${of})`;
