import { z } from "zod";
import { foldName } from "../names.js";
import type { Schema } from "../plan.js";
import { quoteName } from "../sql-text.js";
import { exampleRows } from "./example-rows.js";
import { jsonMember, jsonValue, jsonValueType } from "./json-values.js";
import { defineOperator, type Finding } from "./operator.js";
import { columnName, columnOf, findColumn, repeatedNames } from "./settings.js";

const member = z.strictObject({
  name: z.string().min(1).max(255).describe("Name of the member, as the JSON spells it."),
  as: columnName.optional().describe("Name of the new column; the member's when left out."),
  type: jsonValueType.default("any").describe("What its value becomes. A value that is none ends the run."),
});

const unnestSettings = z.strictObject({
  column: columnName.describe("A column of lists or objects: of type any, or texts that hold JSON."),
  into: z
    .enum(["rows", "columns"])
    .default("rows")
    .describe("rows: one row for each element of a list; columns: one column for each member of an object."),
  as: columnName
    .optional()
    .describe("For rows: name of the column with the element; when left out, it takes the place of the list."),
  type: jsonValueType.default("any").describe("For rows: what an element becomes. One that is none ends the run."),
  position: columnName.optional().describe("For rows: name of a column with the element's number, from 1."),
  keepEmpty: z
    .boolean()
    .default(false)
    .describe("For rows: whether a row whose list is empty or null stays, with null for the element."),
  fields: z.array(member).max(1_000).default([]).describe("For columns: the members; null where an object has none."),
  keepColumn: z.boolean().default(true).describe("For columns: whether the object itself stays."),
});
type Unnest = z.output<typeof unnestSettings>;

/** Lists become rows, objects become columns. */
export const unnest = defineOperator({
  type: "unnest",
  summary: "Turns the elements of a list into rows, or the members of an object into columns.",
  group: "rows",
  inputs: 1,
  settings: unnestSettings,
  example: {
    properties: { column: "scores", as: "score", type: "long", position: "n" },
    inputs: [exampleRows({ name: "string", scores: "any" }, ["ann", [7, 9]], ["bob", []], ["cid", [8]])],
    outputs: [
      exampleRows(
        { name: "string", scores: "any", score: "long", n: "long" },
        ["ann", [7, 9], 7, 1],
        ["ann", [7, 9], 9, 2],
        ["cid", [8], 8, 1],
      ),
    ],
  },
  describe: (settings) => {
    const { column, into, as, position, fields, keepColumn } = settings;
    const added = into === "rows" ? [as, position].flatMap((name) => name ?? []) : fields.map((f) => f.as ?? f.name);
    const path = (i: number) =>
      into === "columns"
        ? `fields.${i}.${fields[i]?.as === undefined ? "name" : "as"}`
        : i === 0 && as
          ? "as"
          : "position";
    const isSource = (name: string) => foldName(name) === foldName(column);
    return {
      columns: [{ path: "column", input: 0, column }],
      ordering: ([ordering]) =>
        into === "columns" && (keepColumn || !ordering?.some((by) => isSource(by.column))) ? ordering : undefined,
      findings: [...misplaced(settings), ...repeatedNames(added, path)],
      check: ([input]) => [
        ...mustHoldJson(input!, column),
        ...added.flatMap((name, i) =>
          findColumn(input!, name) && !(into === "columns" && !keepColumn && isSource(name))
            ? [
                {
                  property: path(i),
                  message: `The input has a column ${JSON.stringify(name)} already; choose another name.`,
                },
              ]
            : [],
        ),
      ],
      body: {
        kind: "query",
        sql: ([input]) => (into === "rows" ? rowsSql(settings, input!) : columnsSql(settings, input!)),
      },
    };
  },
});

function rowsSql({ column, as, type, position, keepEmpty }: Unnest, input: Schema): string {
  const json = `CAST(${columnOf(0, input, column)} AS JSON)`;
  // A value that is no list counts as a list of one.
  const list = `CASE coalesce(json_type(${json}), 'NULL') WHEN 'ARRAY' THEN from_json(${json}, '["JSON"]') WHEN 'NULL' THEN NULL ELSE [${json}] END`;
  const nothing = "[CAST(NULL AS JSON)]";
  const kept = keepEmpty ? `CASE WHEN len(${list}) > 0 THEN ${list} ELSE ${nothing} END` : list;
  const element = "element 0";
  const items = input.map(({ name }) =>
    as === undefined && foldName(name) === foldName(column)
      ? `${jsonValue(quoteName(element), type)} AS ${quoteName(name)}`
      : `rows.${quoteName(`column ${input.findIndex((c) => c.name === name)}`)} AS ${quoteName(name)}`,
  );
  if (as !== undefined) items.push(`${jsonValue(quoteName(element), type)} AS ${quoteName(as)}`);
  if (position !== undefined)
    items.push(
      `${keepEmpty ? `CASE WHEN "is empty" THEN NULL ELSE "element number" END` : `"element number"`} AS ${quoteName(position)}`,
    );
  const columns = input.map(({ name }, i) => `${columnOf(0, input, name)} AS ${quoteName(`column ${i}`)}`);
  return `SELECT ${items.join(", ")} FROM (SELECT ${columns.join(", ")}, unnest(${kept}) AS ${quoteName(element)},
    unnest(range(1, len(${kept}) + 1)) AS "element number", coalesce(len(${list}), 0) = 0 AS "is empty" FROM input0) AS rows`;
}

function columnsSql({ column, fields, keepColumn }: Unnest, input: Schema): string {
  const json = `CAST(${columnOf(0, input, column)} AS JSON)`;
  const kept = input.filter(({ name }) => keepColumn || foldName(name) !== foldName(column));
  const items = fields.map(
    ({ name, as = name, type }) => `${jsonValue(jsonMember(json, name), type)} AS ${quoteName(as)}`,
  );
  return `SELECT ${[...kept.map(({ name }) => columnOf(0, input, name)), ...items].join(", ")} FROM input0`;
}

function mustHoldJson(input: Schema, column: string): Finding[] {
  const found = findColumn(input, column);
  if (!found || found.type === "any" || found.type === "string") return [];
  const message = `${quoteName(found.name)} is ${found.type}; only lists and objects (of type any, or texts that hold JSON) can be taken apart.`;
  return [{ property: "column", message }];
}

function misplaced({ into, as, position, keepEmpty, fields, type }: Unnest): Finding[] {
  const wrong = (property: string, message: string) => ({ property, message });
  if (into === "rows")
    return fields.length > 0
      ? [wrong("fields", '"fields" is for "into": "columns"; an element is named by "as".')]
      : [];
  const forRows = (property: string) => wrong(property, `"${property}" is for "into": "rows"; leave it out.`);
  return [
    ...(fields.length === 0 ? [wrong("fields", 'Name the members: "fields" must not be empty.')] : []),
    ...(as === undefined ? [] : [forRows("as")]),
    ...(position === undefined ? [] : [forRows("position")]),
    ...(keepEmpty ? [forRows("keepEmpty")] : []),
    ...(type === "any" ? [] : [forRows("type")]),
  ];
}
