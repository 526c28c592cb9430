import { z } from "zod";
import { foldName } from "../names.js";
import type { Schema } from "../plan.js";
import { quoteName } from "../sql-text.js";
import { misfit } from "./aggregate-functions.js";
import { exampleRows } from "./example-rows.js";
import { defineOperator, type Finding } from "./operator.js";
import { columnName, columnOf, findColumn, listOf, repeatedNames } from "./settings.js";
import { namedSortColumns, orderBy, type SortColumn, sortColumn, spelt, totalOrder } from "./total-order.js";

const RANKS = ["row_number", "rank", "dense_rank"] as const;
const NEIGHBOURS = ["lag", "lead"] as const;
const OVER_FRAME = ["sum", "avg", "min", "max", "count"] as const;
const isOneOf = (names: readonly string[], name: string): boolean => names.includes(name);

const edge = z.union([z.literal("all"), z.int().min(0).max(1_000_000_000)], {
  error: 'This must be a number of rows, 0 or more, or "all".',
});

const functionSettings = z.strictObject({
  function: z
    .enum([...RANKS, ...NEIGHBOURS, ...OVER_FRAME])
    .describe(
      "row_number counts the rows of a partition; rank gives equal rows the same number and leaves a gap, dense_rank none; lag and lead give an earlier or later row's value; the others aggregate the frame, passing over nulls.",
    ),
  column: columnName.optional().describe("What is taken or aggregated. count without a column counts rows."),
  as: columnName.describe("Name of the new column."),
  offset: z
    .int()
    .min(1)
    .max(1_000_000_000)
    .optional()
    .describe("Of lag and lead: how many rows away; 1 when left out. Where there is no such row the value is null."),
  frame: z
    .strictObject({
      preceding: edge.default("all").describe('How many rows before the current one belong to it, or "all".'),
      following: edge.default("all").describe('How many after it, or "all".'),
    })
    .optional()
    .describe("Of sum, avg, min, max and count: which rows around the current one; the whole partition when left out."),
});
type WindowFunction = z.output<typeof functionSettings>;

/** Adds columns computed from a row's neighbours. Ties are settled by all other columns, except for ranks, which show them. */
export const window = defineOperator({
  type: "window",
  summary: "Adds columns computed over the rows around each row: numbers, ranks, neighbours, running sums.",
  group: "order",
  inputs: 1,
  preservesRows: true,
  settings: z.strictObject({
    partitionBy: z.array(columnName).max(1_000).default([]).describe("Rows equal in these columns belong together."),
    orderBy: z
      .array(sortColumn)
      .max(1_000)
      .default([])
      .describe("The order within a partition, nulls last. Rows equal in these columns are told apart by all others."),
    functions: listOf(functionSettings).describe("The new columns."),
  }),
  example: {
    properties: {
      partitionBy: ["origin"],
      orderBy: [{ column: "day" }],
      functions: [
        { function: "row_number", as: "n" },
        { function: "lag", column: "delay", as: "before" },
        { function: "sum", column: "delay", as: "running", frame: { following: 0 } },
      ],
    },
    inputs: [
      exampleRows({ origin: "string", day: "integer", delay: "long" }, ["SEA", 2, 9], ["SEA", 1, 4], ["SFO", 1, 7]),
    ],
    outputs: [
      exampleRows(
        { origin: "string", day: "integer", delay: "long", n: "long", before: "long", running: "long" },
        ["SEA", 1, 4, 1, null, 4],
        ["SEA", 2, 9, 2, 4, 13],
        ["SFO", 1, 7, 1, null, 7],
      ),
    ],
  },
  describe({ partitionBy, orderBy: by, functions }) {
    const sorted = namedSortColumns(by, "orderBy");
    return {
      blocking: true,
      columns: [
        ...partitionBy.map((column, i) => ({ path: `partitionBy.${i}`, input: 0, column })),
        ...sorted.columns,
        ...functions.flatMap(({ column }, i) =>
          column === undefined ? [] : [{ path: `functions.${i}.column`, input: 0, column }],
        ),
      ],
      partition: () => (partitionBy.length === 0 ? { kind: "single" } : { kind: "hash", attributes: partitionBy }),
      findings: [
        ...sorted.findings,
        ...repeatedNames(partitionBy, (i) => `partitionBy.${i}`),
        ...repeatedNames(
          functions.map(({ as }) => as),
          (i) => `functions.${i}.as`,
        ),
        ...functions.flatMap((one, i) => wrongSettings(one, by, `functions.${i}`)),
      ],
      check: ([input]) => functions.flatMap((one, i) => misfits(one, input!, `functions.${i}`)),
      body: {
        kind: "query",
        sql([input]) {
          const keys = partitionBy.map((name) => columnOf(0, input!, name)).join(", ");
          const partition = keys === "" ? "" : `PARTITION BY ${keys} `;
          const items = functions.map((one) => {
            const over = `${partition}${orderOf(one, by, input!)}${frameOf(one)}`;
            return `${callOf(one, input!)} OVER (${over}) AS ${quoteName(one.as)}`;
          });
          return `SELECT ${[...input!.map(({ name }) => columnOf(0, input!, name)), ...items].join(", ")} FROM input0`;
        },
      },
    };
  },
});

const TAKERS = { offset: NEIGHBOURS, frame: OVER_FRAME, column: [...NEIGHBOURS, ...OVER_FRAME] } as const;

function wrongSettings(one: WindowFunction, by: readonly SortColumn[], path: string): Finding[] {
  const name = one.function;
  const found: Finding[] = [];
  if (one.column === undefined && name !== "count" && isOneOf(TAKERS.column, name))
    found.push({ property: `${path}.column`, message: `${name} needs a "column".` });
  for (const [setting, takers] of Object.entries(TAKERS))
    if (one[setting as keyof typeof TAKERS] !== undefined && !isOneOf(takers, name))
      found.push({
        property: `${path}.${setting}`,
        message: `${name} takes no "${setting}", only ${takers.join(", ")} can; leave it out.`,
      });
  if (by.length === 0 && !isOneOf(OVER_FRAME, name))
    found.push({ property: "orderBy", message: `${name} needs an order; name its columns in "orderBy".` });
  if (by.length === 0 && one.frame && (one.frame.preceding !== "all" || one.frame.following !== "all"))
    found.push({ property: "orderBy", message: 'A frame of some rows needs an order; name its columns in "orderBy".' });
  return found;
}

function misfits({ function: name, column, as }: WindowFunction, input: Schema, path: string): Finding[] {
  if (input.some((existing) => foldName(existing.name) === foldName(as)))
    return [
      { property: `${path}.as`, message: `There is a column ${JSON.stringify(as)} already; choose another name.` },
    ];
  const found = column === undefined ? undefined : findColumn(input, column);
  const message = found && (name === "sum" || name === "avg") ? misfit(name, found) : undefined;
  return message === undefined ? [] : [{ property: `${path}.column`, message }];
}

function callOf({ function: name, column, offset = 1 }: WindowFunction, input: Schema): string {
  if (isOneOf(RANKS, name)) return `${name}()`;
  if (column === undefined) return "count(*)";
  const of = columnOf(0, input, column);
  return isOneOf(NEIGHBOURS, name) ? `${name}(${of}, ${offset})` : `${name}(${of})`;
}

/** Only ranks see ties; over a whole partition no order is needed. */
function orderOf(one: WindowFunction, by: readonly SortColumn[], input: Schema): string {
  if (by.length === 0) return "";
  return orderBy(one.function === "rank" || one.function === "dense_rank" ? spelt(by, input) : totalOrder(by, input));
}

function frameOf({ function: name, frame }: WindowFunction): string {
  if (!isOneOf(OVER_FRAME, name)) return "";
  const { preceding = "all", following = "all" } = frame ?? {};
  const rows = (count: "all" | number, side: string) =>
    count === 0 ? "CURRENT ROW" : `${count === "all" ? "UNBOUNDED" : count} ${side}`;
  return ` ROWS BETWEEN ${rows(preceding, "PRECEDING")} AND ${rows(following, "FOLLOWING")}`;
}
