import { z } from "zod";
import { foldName } from "../names.js";
import { ATTRIBUTE_TYPES, type AttributeType } from "../plan.js";
import { quoteText } from "../scan-sql.js";
import { duckdbType, quoteName } from "../sql-text.js";
import { exampleRows } from "./example-rows.js";
import { jsonValue } from "./json-values.js";
import { defineOperator, type NamedExpression } from "./operator.js";
import { columnName, columnOf, findColumn, isNumeric, listOf, NUL, repeatedNames, withoutNul } from "./settings.js";
import { orderBeside } from "./total-order.js";

const castSettings = z.strictObject({
  column: columnName,
  to: z
    .enum(ATTRIBUTE_TYPES)
    .describe(
      "The new type. Texts and binary are converted by UTF-8, timestamps and whole numbers by milliseconds since 1970; a fraction is rounded where a whole number is wanted, and NaN and infinity become null in JSON.",
    ),
  format: z
    .string()
    .min(1)
    .max(200)
    .refine(withoutNul, NUL)
    .optional()
    .describe(
      'Between texts and timestamps: how the text is written, such as "%d.%m.%Y %H:%M"; ISO 8601 when left out.',
    ),
});
type Cast = z.output<typeof castSettings>;

/** Converts columns in their place. */
export const cast = defineOperator({
  type: "cast",
  summary: "Converts columns to other types, in their place; a null stays a null.",
  group: "columns",
  inputs: 1,
  preservesRows: true,
  settings: z.strictObject({
    columns: listOf(castSettings).describe("The columns to convert."),
    onError: z
      .enum(["fail", "null"])
      .default("fail")
      .describe("What becomes of a value that cannot be converted: fail ends the run, null takes its place."),
  }),
  example: {
    properties: {
      columns: [
        { column: "delay", to: "integer" },
        { column: "day", to: "timestamp", format: "%d.%m.%Y" },
      ],
      onError: "null",
    },
    inputs: [exampleRows({ delay: "string", day: "string" }, ["4", "31.01.2024"], ["none", null])],
    outputs: [exampleRows({ delay: "integer", day: "timestamp" }, [4, "2024-01-31T00:00:00Z"], [null, null])],
  },
  describe: ({ columns, onError }) => ({
    columns: columns.map(({ column }, i) => ({ path: `columns.${i}.column`, input: 0, column })),
    findings: repeatedNames(
      columns.map(({ column }) => column),
      (i) => `columns.${i}.column`,
    ),
    expressions: formats(columns),
    check: ([input]) =>
      columns.flatMap((one, i) => {
        const found = findColumn(input!, one.column);
        if (!found) return [];
        const path = `columns.${i}`;
        if (one.format !== undefined && !isOfDateText(found.type, one.to))
          return [{ property: `${path}.format`, message: '"format" is for texts and timestamps; leave it out.' }];
        if (conversion("", found.type, one) !== undefined) return [];
        const message = `${quoteName(found.name)} is ${found.type}, which cannot become ${one.to}; cast it to string, or derive a column from it.`;
        return [{ property: `${path}.to`, message }];
      }),
    ordering: ([ordering]) =>
      orderBeside(
        columns.map(({ column }) => column),
        ordering,
      ),
    body: {
      kind: "query",
      sql([input]) {
        const casts = new Map(columns.map((one) => [foldName(one.column), one]));
        const items = input!.map(({ name, type }) => {
          const [column, one] = [columnOf(0, input!, name), casts.get(foldName(name))];
          if (!one) return column;
          const sql = conversion(column, type, one)!;
          return `${onError === "null" ? `TRY(${sql})` : sql} AS ${quoteName(name)}`;
        });
        return `SELECT ${items.join(", ")} FROM input0`;
      },
    },
  }),
});

/** A format is tried alone first, so that a fault in it is found where it stands. */
const formats = (columns: readonly Cast[]): NamedExpression[] =>
  columns.flatMap(({ to, format }, i) => {
    if (format === undefined) return [];
    const text = quoteText(format);
    const sql =
      to === "timestamp"
        ? `strptime(CAST(NULL AS VARCHAR), ${text})`
        : `strftime(CAST('2000-01-01' AS TIMESTAMP), ${text})`;
    return [{ path: `columns.${i}.format`, sql }];
  });

const isOfDateText = (from: AttributeType, to: AttributeType): boolean =>
  (from === "string" && to === "timestamp") || (from === "timestamp" && to === "string");

/** SQL of a column in another type; undefined when there is no sensible way. */
function conversion(column: string, from: AttributeType, { to, format }: Cast): string | undefined {
  if (from === to) return column;
  const direct = `CAST(${column} AS ${duckdbType(to)})`;
  switch (`${from} ${to}`) {
    case "string timestamp":
      return format === undefined
        ? `timezone('UTC', CAST(${column} AS TIMESTAMPTZ))`
        : `strptime(${column}, ${quoteText(format)})`;
    case "timestamp string":
      return format === undefined ? direct : `strftime(${column}, ${quoteText(format)})`;
    case "string binary":
      return `encode(${column})`;
    case "binary string":
      return `decode(${column})`;
    case "integer timestamp":
    case "long timestamp":
      return `make_timestamp_ms(CAST(${column} AS BIGINT))`;
    case "timestamp long":
      return `epoch_ms(${column})`;
    case "string any":
      return `to_json(${column})`;
  }
  // JSON has no infinite number.
  if (to === "any" && from === "double") return `CASE WHEN isfinite(${column}) THEN to_json(${column}) END`;
  if (to === "any") return from === "binary" ? undefined : `to_json(${column})`;
  // A text within JSON stands for itself, without its quotes.
  if (from === "any") return to === "binary" ? undefined : jsonValue(`CAST(${column} AS JSON)`, to);
  if (from === "binary" || to === "binary" || from === "timestamp" || to === "timestamp") return undefined;
  return to === "string" || from === "string" || isNumeric(from) || isNumeric(to) ? direct : undefined;
}
