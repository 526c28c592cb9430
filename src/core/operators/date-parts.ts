import { z } from "zod";
import { foldName } from "../names.js";
import { quoteText } from "../scan-sql.js";
import { quoteName } from "../sql-text.js";
import { exampleRows } from "./example-rows.js";
import { defineOperator } from "./operator.js";
import { columnName, columnOf, findColumn, listOf, repeatedNames } from "./settings.js";

/** How each part is computed from a local time. */
const PARTS = {
  year: (t: string) => `CAST(year(${t}) AS INTEGER)`,
  quarter: (t: string) => `CAST(quarter(${t}) AS INTEGER)`,
  month: (t: string) => `CAST(month(${t}) AS INTEGER)`,
  "month-name": (t: string) => `monthname(${t})`,
  week: (t: string) => `CAST(week(${t}) AS INTEGER)`,
  "iso-year": (t: string) => `CAST(isoyear(${t}) AS INTEGER)`,
  day: (t: string) => `CAST(day(${t}) AS INTEGER)`,
  "day-of-year": (t: string) => `CAST(dayofyear(${t}) AS INTEGER)`,
  weekday: (t: string) => `CAST(isodow(${t}) AS INTEGER)`,
  "weekday-name": (t: string) => `dayname(${t})`,
  hour: (t: string) => `CAST(hour(${t}) AS INTEGER)`,
  minute: (t: string) => `CAST(minute(${t}) AS INTEGER)`,
  second: (t: string) => `CAST(second(${t}) AS INTEGER)`,
  millisecond: (t: string) => `CAST(millisecond(${t}) % 1000 AS INTEGER)`,
  date: (t: string) => `CAST(date_trunc('day', ${t}) AS TIMESTAMP)`,
  "month-start": (t: string) => `CAST(date_trunc('month', ${t}) AS TIMESTAMP)`,
  "week-start": (t: string) => `CAST(date_trunc('week', ${t}) AS TIMESTAMP)`,
  "epoch-ms": (_: string, utc: string) => `epoch_ms(${utc})`,
} as const satisfies Record<string, (local: string, utc: string) => string>;
type Part = keyof typeof PARTS;

/** Parts of instants, as columns. */
export const dateParts = defineOperator({
  type: "date-parts",
  summary: "Adds columns with parts of a timestamp: year, month, weekday, hour and the like.",
  group: "columns",
  inputs: 1,
  preservesRows: true,
  settings: z.strictObject({
    column: columnName.describe("The timestamp column."),
    parts: listOf(
      z.strictObject({
        part: z
          .enum(Object.keys(PARTS) as [Part, ...Part[]])
          .describe(
            "Which part. Weeks are those of ISO 8601, of iso-year; weekdays count from Monday, 1, to Sunday, 7; names are English; date and the starts are timestamps at midnight.",
          ),
        as: columnName
          .optional()
          .describe("Name of the new column; the column's and the part's when left out: date_year."),
      }),
    ).describe("The parts to add, in this order."),
    timeZone: z
      .string()
      .min(1)
      .max(100)
      .refine(isTimeZone, {
        error: (issue) =>
          `There is no time zone ${JSON.stringify(issue.input)}; use a name such as "Europe/Paris" or "UTC".`,
      })
      .default("UTC")
      .describe("The time zone whose clocks and calendar count; epoch-ms does not depend on it."),
  }),
  example: {
    properties: {
      column: "at",
      parts: [{ part: "year", as: "year" }, { part: "weekday-name", as: "weekday" }, { part: "hour" }],
      timeZone: "America/New_York",
    },
    inputs: [exampleRows({ at: "timestamp" }, ["2024-01-01T02:30:00Z"], ["2024-07-01T12:00:00Z"], [null])],
    outputs: [
      exampleRows(
        { at: "timestamp", year: "integer", weekday: "string", at_hour: "integer" },
        ["2024-01-01T02:30:00Z", 2023, "Sunday", 21],
        ["2024-07-01T12:00:00Z", 2024, "Monday", 8],
        [null, null, null, null],
      ),
    ],
  },
  describe: ({ column, parts, timeZone }) => {
    const named = parts.map(({ part, as }) => ({ part, name: as ?? `${column}_${part.replaceAll("-", "_")}` }));
    const path = (i: number) => `parts.${i}.${parts[i]?.as === undefined ? "part" : "as"}`;
    return {
      columns: [{ path: "column", input: 0, column }],
      ordering: ([ordering]) => ordering,
      findings: repeatedNames(
        named.map(({ name }) => name),
        path,
      ),
      check: ([input]) => {
        const found = findColumn(input!, column);
        const findings = named.flatMap(({ name }, i) =>
          findColumn(input!, name)
            ? [
                {
                  property: path(i),
                  message: `The input has a column ${JSON.stringify(name)} already; choose another name with "as".`,
                },
              ]
            : [],
        );
        if (!found || found.type === "timestamp") return findings;
        const message = `${quoteName(found.name)} is ${found.type} and not timestamp; cast it first.`;
        return [{ property: "column", message }, ...findings];
      },
      body: {
        kind: "query",
        sql([input]) {
          const utc = columnOf(0, input!, column);
          const local =
            foldName(timeZone) === "utc" ? utc : `timezone(${quoteText(timeZone)}, timezone('UTC', ${utc}))`;
          const items = named.map(({ part, name }) => `${PARTS[part](local, utc)} AS ${quoteName(name)}`);
          return `SELECT ${[...input!.map(({ name }) => columnOf(0, input!, name)), ...items].join(", ")} FROM input0`;
        },
      },
    };
  },
});

/** By the same database of names as DuckDB's (IANA). */
function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return !/^[+-]/.test(name);
  } catch {
    // RangeError is how it says no.
    return false;
  }
}
