import { z } from "zod";
import { quoteName } from "../sql-text.js";
import { callOf, FURTHER_FUNCTIONS, misfit, SIMPLE_FUNCTIONS } from "./aggregate-functions.js";
import { exampleRows } from "./example-rows.js";
import { defineOperator, type Finding } from "./operator.js";
import { columnName, columnOf, findColumn, NUL, repeatedNames, withoutNul } from "./settings.js";
import { sortColumns } from "./total-order.js";

const aggregateSettings = z.strictObject({
  function: z
    .enum([...SIMPLE_FUNCTIONS, ...FURTHER_FUNCTIONS])
    .describe(
      "Nulls are passed over, except by first and last. median and percentile lie between two values where none is in the middle; stddev and variance are those of a sample, null for a single value.",
    ),
  column: columnName.optional().describe("What is aggregated. count without a column counts rows."),
  as: columnName.describe("Name of the result column."),
  percent: z.number().min(0).max(100).optional().describe("Of percentile: how many of a hundred values lie below."),
  separator: z
    .string()
    .max(100)
    .refine(withoutNul, NUL)
    .optional()
    .describe("Of concat: between two values; a comma when left out."),
  orderBy: sortColumns
    .optional()
    .describe("Of first and last: which row is which. Of concat: in which order; that of the values when left out."),
  exact: z
    .boolean()
    .optional()
    .describe(
      "Of sum and avg over doubles: true adds them in the order of their size, so that even the last digit is the same in every run. Takes much longer.",
    ),
});
type Aggregate = z.output<typeof aggregateSettings>;

/** One row per group, or one row in all. */
export const aggregate = defineOperator({
  type: "aggregate",
  summary: "Computes counts, sums, averages, extremes, percentiles and more per group.",
  group: "group",
  inputs: 1,
  settings: z
    .strictObject({
      groupBy: z
        .array(columnName)
        .max(1_000)
        .default([])
        .describe(
          "Columns of the groups, of which a null is one; empty: everything is one group, and there is one row.",
        ),
      aggregates: z
        .array(aggregateSettings)
        .max(1_000)
        .default([])
        .describe("The result columns after those of the groups."),
    })
    .refine(({ groupBy, aggregates }) => groupBy.length + aggregates.length > 0, {
      message: '"groupBy" and "aggregates" must not both be empty.',
    }),
  example: {
    properties: {
      groupBy: ["origin"],
      aggregates: [
        { function: "count", as: "flights" },
        { function: "avg", column: "delay", as: "mean" },
        { function: "percentile", column: "delay", percent: 90, as: "p90" },
        { function: "concat", column: "delay", as: "delays" },
      ],
    },
    inputs: [exampleRows({ origin: "string", delay: "long" }, ["SEA", 4], ["SEA", 14], ["SFO", null])],
    outputs: [
      exampleRows(
        { origin: "string", flights: "long", mean: "double", p90: "double", delays: "string" },
        ["SEA", 2, 9, 13, "4,14"],
        ["SFO", 1, null, null, null],
      ),
    ],
  },
  describe: ({ groupBy, aggregates }) => ({
    blocking: true,
    columns: [
      ...groupBy.map((column, i) => ({ path: `groupBy.${i}`, input: 0, column })),
      ...aggregates.flatMap(({ column, orderBy = [] }, i) => [
        ...(column === undefined ? [] : [{ path: `aggregates.${i}.column`, input: 0, column }]),
        ...orderBy.map((by, j) => ({ path: `aggregates.${i}.orderBy.${j}.column`, input: 0, column: by.column })),
      ]),
    ],
    partition: () => (groupBy.length === 0 ? { kind: "single" } : { kind: "hash", attributes: groupBy }),
    findings: [
      ...repeatedNames([...groupBy, ...aggregates.map(({ as }) => as)], (i) =>
        i < groupBy.length ? `groupBy.${i}` : `aggregates.${i - groupBy.length}.as`,
      ),
      ...aggregates.flatMap((one, i) => wrongSettings(one, `aggregates.${i}`)),
    ],
    check: ([input]) =>
      aggregates.flatMap(({ function: name, column = "" }, i) => {
        const found = findColumn(input!, column);
        const message = found && misfit(name, found);
        return message === undefined ? [] : [{ property: `aggregates.${i}.column`, message }];
      }),
    body: {
      kind: "query",
      sql([input]) {
        const keys = groupBy.map((name) => columnOf(0, input!, name));
        const items = aggregates.map((one) => `${callOf(one, input!)} AS ${quoteName(one.as)}`);
        return `SELECT ${[...keys, ...items].join(", ")} FROM input0${keys.length > 0 ? ` GROUP BY ${keys.join(", ")}` : ""}`;
      },
    },
  }),
});

/** Which functions take a setting beside the column, and which cannot do without it. */
const TAKES = {
  percent: { by: ["percentile"], needed: ["percentile"] },
  separator: { by: ["concat"], needed: [] },
  orderBy: { by: ["concat", "first", "last"], needed: ["first", "last"] },
  exact: { by: ["sum", "avg"], needed: [] },
} as const satisfies Partial<Record<keyof Aggregate, { by: readonly string[]; needed: readonly string[] }>>;

function wrongSettings(one: Aggregate, path: string): Finding[] {
  const name: string = one.function;
  const found: Finding[] = [];
  if (one.column === undefined && name !== "count")
    found.push({ property: `${path}.column`, message: `${name} needs a "column".` });
  for (const [setting, { by, needed }] of Object.entries(TAKES)) {
    const given = one[setting as keyof typeof TAKES] !== undefined;
    const property = `${path}.${setting}`;
    if (given && !by.some((taker) => taker === name))
      found.push({ property, message: `${name} takes no "${setting}", only ${by.join(", ")} can; leave it out.` });
    if (!given && needed.some((taker) => taker === name))
      found.push({ property, message: `${name} needs "${setting}".` });
  }
  return found;
}
