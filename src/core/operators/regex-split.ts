import { z } from "zod";
import { foldName } from "../names.js";
import { quoteName } from "../sql-text.js";
import { exampleRows } from "./example-rows.js";
import { defineOperator, type Finding } from "./operator.js";
import { mustBeText } from "./regex-extract.js";
import { pattern, patternCheck, readPattern } from "./regex-pattern.js";
import { columnName, columnOf, findColumn, repeatedNames } from "./settings.js";

/** Pieces of a text, as rows or as columns. */
export const regexSplit = defineOperator({
  type: "regex-split",
  summary: "Splits a text where a regular expression matches, into rows or into columns.",
  group: "rows",
  inputs: 1,
  settings: z.strictObject({
    column: columnName.describe("The text column that is split."),
    pattern: pattern.describe("What stands between two pieces, as a regular expression (RE2)."),
    into: z
      .enum(["rows", "columns"])
      .default("rows")
      .describe("rows: one row for each piece; columns: one column for each of the first pieces."),
    as: columnName
      .optional()
      .describe("For rows: name of the column with the piece; when left out, it takes the place of the text."),
    position: columnName.optional().describe("For rows: name of a column with the number of the piece, from 1."),
    columns: z
      .array(columnName)
      .max(1_000)
      .optional()
      .describe(
        "For columns: names for the pieces in order. Where there are fewer pieces the rest is null; more are left out.",
      ),
    keepText: z.boolean().default(true).describe("For columns: whether the text itself stays."),
  }),
  example: {
    properties: { column: "tags", pattern: "\\s*[,;]\\s*", as: "tag", position: "n" },
    inputs: [exampleRows({ id: "long", tags: "string" }, [1, "red, green;blue"], [2, "red"], [3, null])],
    outputs: [
      exampleRows(
        { id: "long", tags: "string", tag: "string", n: "long" },
        [1, "red, green;blue", "red", 1],
        [1, "red, green;blue", "green", 2],
        [1, "red, green;blue", "blue", 3],
        [2, "red", "red", 1],
        [3, null, null, 1],
      ),
    ],
  },
  describe: ({ column, pattern: text, into, as, position, columns = [], keepText }) => {
    const read = readPattern(text);
    const added = into === "rows" ? [as, position].flatMap((name) => name ?? []) : columns;
    return {
      columns: [{ path: "column", input: 0, column }],
      expressions: [patternCheck(read)],
      findings: [
        ...misplaced({ into, as, position, columns }),
        ...repeatedNames(added, (i) => (into === "columns" ? `columns.${i}` : i === 0 && as ? "as" : "position")),
      ],
      check: ([input]) => [
        ...mustBeText(input!, column, "column"),
        ...added
          .filter((name) => findColumn(input!, name) && !(!keepText && foldName(name) === foldName(column)))
          .map((name) => ({
            property: into === "columns" ? "columns" : name === as ? "as" : "position",
            message: `The input has a column ${JSON.stringify(name)} already; choose another name.`,
          })),
      ],
      body: {
        kind: "query",
        sql([input]) {
          const source = columnOf(0, input!, column);
          const pieces = `regexp_split_to_array(${source}, ${read.sql})`;
          const isText = (name: string) => foldName(name) === foldName(column);
          if (into === "columns") {
            const kept = input!
              .filter(({ name }) => keepText || !isText(name))
              .map(({ name }) => columnOf(0, input!, name));
            const items = columns.map((name, i) => `${pieces}[${i + 1}] AS ${quoteName(name)}`);
            return `SELECT ${[...kept, ...items].join(", ")} FROM input0`;
          }
          // A null is one piece, so that its row stays.
          const list = `coalesce(${pieces}, [CAST(NULL AS VARCHAR)])`;
          const items = input!.map(({ name }) =>
            as === undefined && isText(name) ? `unnest(${list}) AS ${quoteName(name)}` : columnOf(0, input!, name),
          );
          if (as !== undefined) items.push(`unnest(${list}) AS ${quoteName(as)}`);
          if (position !== undefined) items.push(`unnest(range(1, len(${list}) + 1)) AS ${quoteName(position)}`);
          return `SELECT ${items.join(", ")} FROM input0`;
        },
      },
    };
  },
});

function misplaced({
  into,
  as,
  position,
  columns,
}: {
  into: "rows" | "columns";
  as: string | undefined;
  position: string | undefined;
  columns: readonly string[];
}): Finding[] {
  const wrong = (property: string, message: string) => ({ property, message });
  if (into === "rows")
    return columns.length > 0
      ? [wrong("columns", '"columns" is for "into": "columns"; name the piece with "as".')]
      : [];
  return [
    ...(columns.length === 0 ? [wrong("columns", 'Name the pieces: "columns" must not be empty.')] : []),
    ...(as === undefined ? [] : [wrong("as", '"as" is for "into": "rows"; use "columns".')]),
    ...(position === undefined ? [] : [wrong("position", '"position" is for "into": "rows"; leave it out.')]),
  ];
}
