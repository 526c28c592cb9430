// Pieces that settings of several operators are made of.
import { z } from "zod";
import { didYouMean, foldName, listNames } from "../names.js";
import type { Schema } from "../plan.js";
import { quoteName } from "../sql-text.js";
import type { Finding } from "./operator.js";

// Beyond these a plan is a mistake or an attack; both are better told so than compiled.
export const MOST_COLUMNS = 1_000;
const LONGEST_NAME = 255;
const LONGEST_EXPRESSION = 10_000;

export const withoutNul = (text: string): boolean => !text.includes("\0");
/** The sentence about a text that is not. */
export const NUL = "The text holds the character U+0000, which no column or expression can; remove it.";

/** Name of a column. */
export const columnName = z
  .string()
  .min(1)
  .max(LONGEST_NAME)
  .refine(withoutNul, NUL)
  .describe("Name of a column; case does not matter.");

/** One SQL expression over the columns of the input. */
export const expression = z
  .string()
  .min(1)
  .max(LONGEST_EXPRESSION)
  .refine(withoutNul, NUL)
  .describe("One SQL expression (DuckDB) over the columns of the input.");

/** A list of something about columns. */
export const listOf = <Item extends z.ZodType>(item: Item) => z.array(item).min(1).max(MOST_COLUMNS);

/** Findings for names used twice; `path` gives the property of the n-th name. */
export function repeatedNames(names: readonly string[], path: (index: number) => string): Finding[] {
  const seen = new Set<string>();
  return names.flatMap((name, index) => {
    const key = foldName(name);
    if (!seen.has(key)) {
      seen.add(key);
      return [];
    }
    return [
      { property: path(index), message: `The column name ${JSON.stringify(name)} is used twice; choose another.` },
    ];
  });
}

/** The column of a schema that a property means. */
export const findColumn = (schema: Schema, name: string) =>
  schema.find((column) => foldName(column.name) === foldName(name));

/** The sentence about a column that is not there. */
export function noColumn(name: string, schema: Schema): string {
  const names = schema.map((column) => column.name);
  return `There is no column ${JSON.stringify(name.slice(0, 140))}${didYouMean(name, names)} The columns are ${listNames(names)}.`;
}

/** `input0."Name"` with the name as the schema spells it. */
export function columnOf(input: number, schema: Schema, name: string): string {
  return `input${input}.${quoteName(findColumn(schema, name)?.name ?? name)}`;
}

/** An author's expression as part of a statement: a comment at its end must not swallow what follows. */
export const embedded = (sql: string): string => `(${sql}\n)`;

/** Columns of these types can be added up. */
export const isNumeric = (type: Schema[number]["type"]): boolean => ["integer", "long", "double"].includes(type);
