import { z } from "zod";
import type { Attribute } from "../plan.js";
import { quoteText } from "../scan-sql.js";
import { quoteName } from "../sql-text.js";
import { exampleRows } from "./example-rows.js";
import { literalOf, type Scalar, scalar } from "./literals.js";
import { defineOperator, type Finding } from "./operator.js";
import { columnName, columnOf, embedded, expression, findColumn, listOf } from "./settings.js";

const COMPARISONS = ["=", "!=", "<", "<=", ">", ">="] as const;
const OF_TEXT = {
  contains: "contains",
  "starts with": "starts_with",
  "ends with": "suffix",
  matches: "regexp_matches",
};
const isOfText = (condition: string): condition is keyof typeof OF_TEXT => Object.hasOwn(OF_TEXT, condition);

const predicateSettings = z.strictObject({
  column: columnName,
  condition: z
    .enum([
      ...COMPARISONS,
      "contains",
      "starts with",
      "ends with",
      "matches",
      "in",
      "between",
      "is null",
      "is not null",
    ])
    .describe(
      "How the column must stand to the value. contains, starts with, ends with and matches (a regular expression found anywhere) are of texts; between includes both ends.",
    ),
  value: z
    .union([scalar, z.array(scalar).min(1).max(10_000)], {
      error: "This must be a text, a number, true or false, or a list of them.",
    })
    .optional()
    .describe(
      "What the column is compared with: a list for in, two values for between, nothing for is null and is not null. Of a timestamp an ISO 8601 text.",
    ),
});
type Predicate = z.output<typeof predicateSettings>;

/** Keeps some rows. */
export const filter = defineOperator({
  type: "filter",
  summary: "Keeps the rows for which a predicate is true.",
  group: "rows",
  inputs: 1,
  settings: z
    .strictObject({
      predicate: expression.optional().describe("A SQL expression that is true or false; or give predicates."),
      predicates: listOf(predicateSettings)
        .optional()
        .describe("Conditions on columns. A null meets none but is null."),
      match: z.enum(["all", "any"]).optional().describe("How many of predicates a row must meet; all when left out."),
    })
    .refine(({ predicate, predicates }) => (predicate === undefined) !== (predicates === undefined), {
      path: ["predicate"],
      message: 'Give either "predicate", an expression, or "predicates", a list of conditions.',
    })
    .refine(({ predicates, match }) => predicates !== undefined || match === undefined, {
      path: ["match"],
      message: '"match" is about "predicates"; leave it out, or write AND and OR into "predicate".',
    }),
  example: {
    properties: {
      predicates: [
        { column: "delay", condition: ">", value: 15 },
        { column: "origin", condition: "in", value: ["SEA", "SFO"] },
      ],
    },
    inputs: [exampleRows({ origin: "string", delay: "long" }, ["SEA", 4], ["SFO", 40], ["LAX", 90], ["SEA", null])],
    outputs: [exampleRows({ origin: "string", delay: "long" }, ["SFO", 40])],
  },
  describe: ({ predicate, predicates = [], match = "all" }) => ({
    expressions:
      predicate === undefined ? patterns(predicates) : [{ path: "predicate", sql: predicate, expect: "boolean" }],
    columns: predicates.map(({ column }, i) => ({ path: `predicates.${i}.column`, input: 0, column })),
    findings: predicates.flatMap((one, i) => {
      const message = wrongValue(one);
      return message === undefined ? [] : [{ property: `predicates.${i}.value`, message }];
    }),
    check: ([input]) => predicates.flatMap((one, i) => misfit(one, findColumn(input!, one.column), `predicates.${i}`)),
    ordering: ([ordering]) => ordering,
    body: {
      kind: "query",
      sql([input]) {
        const conditions = predicates.map((one) => conditionSql(one, findColumn(input!, one.column)!));
        const where =
          predicate === undefined ? conditions.join(match === "all" ? " AND " : " OR ") : embedded(predicate);
        return `SELECT * FROM input0 WHERE ${where}`;
      },
    },
  }),
});

/** A regular expression is tried alone first, so that a fault in it is found where it stands. */
const patterns = (predicates: readonly Predicate[]) =>
  predicates.flatMap(({ condition, value }, i) =>
    condition === "matches" && typeof value === "string"
      ? [{ path: `predicates.${i}.value`, sql: `regexp_matches('', ${quoteText(value)})` }]
      : [],
  );

/** What is wrong with the form of a value, whatever the column is. */
function wrongValue({ condition, value }: Predicate): string | undefined {
  const isList = Array.isArray(value);
  if (condition === "is null" || condition === "is not null")
    return value === undefined ? undefined : `"${condition}" takes no value; leave it out.`;
  if (value === undefined) return `"${condition}" needs a "value".`;
  if (condition === "in") return isList ? undefined : '"in" needs a list of values, such as ["a", "b"].';
  if (condition === "between")
    return isList && value.length === 2 ? undefined : '"between" needs two values, such as [1, 9].';
  if (isList) return `"${condition}" takes one value; for several use "in".`;
  return isOfText(condition) && typeof value !== "string" ? `"${condition}" needs a text in quotes.` : undefined;
}

/** What is wrong with a condition on this column. */
function misfit({ condition, value }: Predicate, column: Attribute | undefined, path: string): Finding[] {
  if (!column || value === undefined) return [];
  const { type } = column;
  const name = quoteName(column.name);
  const refuse = (message: string): Finding[] => [{ property: `${path}.condition`, message }];
  if (isOfText(condition))
    return type === "string" || type === "any"
      ? []
      : refuse(`"${condition}" is of texts and ${name} is ${type}; compare it, or make it a text with a cast first.`);
  if (type === "any" || type === "binary")
    return refuse(
      `${name} is ${type}, which has no order or equality here; take a value out of it with a derive or cast first.`,
    );
  const isOrder = condition !== "=" && condition !== "!=" && condition !== "in";
  if (type === "boolean" && isOrder) return refuse(`${name} is boolean: use = or !=.`);
  return [value].flat().flatMap((one, i) => {
    const literal = literalOf(one, column);
    const property = Array.isArray(value) ? `${path}.value.${i}` : `${path}.value`;
    return "problem" in literal ? [{ property, message: literal.problem }] : [];
  });
}

function conditionSql({ condition, value }: Predicate, column: Attribute): string {
  const left = columnOf(0, [column], column.name);
  if (isOfText(condition)) return `${OF_TEXT[condition]}(${left}, ${quoteText(String(value))})`;
  const literals = (value === undefined ? [] : [value].flat()).map((one: Scalar) => {
    const literal = literalOf(one, column);
    if ("problem" in literal) throw new Error(literal.problem);
    return literal.sql;
  });
  switch (condition) {
    case "is null":
    case "is not null":
      return `${left} ${condition.toUpperCase()}`;
    case "in":
      return `${left} IN (${literals.join(", ")})`;
    case "between":
      return `${left} BETWEEN ${literals[0]} AND ${literals[1]}`;
    default:
      return `${left} ${condition === "!=" ? "<>" : condition} ${literals[0]}`;
  }
}
