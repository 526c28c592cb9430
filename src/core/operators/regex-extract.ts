import { z } from "zod";
import { foldName } from "../names.js";
import { duckdbType, quoteName } from "../sql-text.js";
import { exampleRows } from "./example-rows.js";
import { defineOperator, type Finding } from "./operator.js";
import { pattern, patternCheck, readPattern } from "./regex-pattern.js";
import { columnName, columnOf, findColumn, listOf, repeatedNames } from "./settings.js";

const extracted = z.strictObject({
  name: columnName.describe("Name of the new column; one named like an existing column takes its place."),
  group: z
    .union([z.int().min(0).max(1_000), z.string().min(1).max(255)], {
      error: "This must be the number of a group, or its name in quotes.",
    })
    .optional()
    .describe("Number of the group from 1, 0 for the whole match, or its name; when left out, the group of that name."),
  type: z
    .enum(["string", "integer", "long", "double", "boolean"])
    .default("string")
    .describe("What the text is converted to. A text that cannot be converted ends the run."),
});
type Extracted = z.output<typeof extracted>;

/** What groups of a regular expression match, as columns. */
export const regexExtract = defineOperator({
  type: "regex-extract",
  summary: "Takes parts of a text into columns by a regular expression.",
  group: "columns",
  inputs: 1,
  preservesRows: true,
  settings: z.strictObject({
    column: columnName.describe("The text column that is searched."),
    pattern,
    columns: listOf(extracted)
      .optional()
      .describe("The new columns; when left out, one for each group with a name. Null where nothing matches."),
  }),
  example: {
    properties: {
      column: "flight",
      pattern: "^(?<carrier>[A-Z]{2})(\\d+)",
      columns: [{ name: "carrier" }, { name: "number", group: 2, type: "integer" }],
    },
    inputs: [exampleRows({ flight: "string" }, ["AS12"], ["UA400 (late)"], ["none"])],
    outputs: [
      exampleRows(
        { flight: "string", carrier: "string", number: "integer" },
        ["AS12", "AS", 12],
        ["UA400 (late)", "UA", 400],
        ["none", null, null],
      ),
    ],
  },
  describe({ column, pattern: text, columns: wanted }) {
    const read = readPattern(text);
    const { groups } = read;
    const columns: Extracted[] = wanted ?? groups.flatMap((name) => (name ? [{ name, type: "string" as const }] : []));
    return {
      columns: [{ path: "column", input: 0, column }],
      expressions: [patternCheck(read)],
      ordering: ([ordering]) => (ordering?.some(({ column: by }) => isAmong(columns, by)) ? undefined : ordering),
      findings: [
        ...(columns.length === 0
          ? [
              {
                property: "pattern",
                message: 'The pattern has no group with a name; write (?<name>…), or list "columns".',
              },
            ]
          : []),
        ...repeatedNames(
          columns.map(({ name }) => name),
          (i) => (wanted ? `columns.${i}.name` : "pattern"),
        ),
        ...columns.flatMap((one, i) => unknownGroup(one, groups, `columns.${i}`)),
      ],
      check: ([input]) => mustBeText(input!, column, "column"),
      body: {
        kind: "query",
        sql([input]) {
          const source = columnOf(0, input!, column);
          const item = (one: Extracted) => {
            const name = findColumn(input!, one.name)?.name ?? one.name;
            return `${partOf(source, read.sql, numberOf(one, groups)!, one.type)} AS ${quoteName(name)}`;
          };
          const kept = input!.map(({ name }) => {
            const replacement = columns.find((one) => foldName(one.name) === foldName(name));
            return replacement ? item(replacement) : columnOf(0, input!, name);
          });
          const added = columns.filter(({ name }) => !findColumn(input!, name)).map(item);
          return `SELECT ${[...kept, ...added].join(", ")} FROM input0`;
        },
      },
    };
  },
});

const isAmong = (columns: readonly Extracted[], name: string): boolean =>
  columns.some((one) => foldName(one.name) === foldName(name));

/** The finding about a column that holds no text. */
export function mustBeText(input: Parameters<typeof findColumn>[0], column: string, property: string): Finding[] {
  const found = findColumn(input, column);
  if (!found || found.type === "string") return [];
  const message = `${quoteName(found.name)} is ${found.type}, and only texts can be searched; cast it to string first.`;
  return [{ property, message }];
}

/** Number of the group a column is taken from; undefined when there is none. */
function numberOf({ name, group = name }: Extracted, groups: readonly (string | undefined)[]): number | undefined {
  if (typeof group === "number") return group <= groups.length ? group : undefined;
  const at = groups.indexOf(group);
  return at < 0 ? undefined : at + 1;
}

/** DuckDB takes no group beyond this one. */
const LAST_GROUP = 9;

function unknownGroup(one: Extracted, groups: readonly (string | undefined)[], path: string): Finding[] {
  const number = numberOf(one, groups);
  if (number !== undefined && number <= LAST_GROUP) return [];
  if (number !== undefined) {
    const message = `Group ${number} cannot be taken, only those up to ${LAST_GROUP}; write (?:…) for groups you do not need.`;
    return [{ property: `${path}.group`, message }];
  }
  const named = groups.flatMap((name) => name ?? []);
  const message = `The pattern has no group ${JSON.stringify(one.group ?? one.name)}; it has ${groups.length}${named.length > 0 ? `, with the names ${named.join(", ")}` : ", none with a name"}.`;
  return [{ property: `${path}.group`, message }];
}

/** DuckDB gives an empty text both for no match and for a group that took no part. */
function partOf(source: string, pattern: string, group: number, type: Extracted["type"]): string {
  const part = `regexp_extract(${source}, ${pattern}, ${group})`;
  if (type !== "string") return `CAST(nullif(${part}, '') AS ${duckdbType(type)})`;
  return `CASE WHEN regexp_matches(${source}, ${pattern}) THEN ${part} END`;
}
