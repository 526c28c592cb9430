// Conditions as SQL expressions, over columns whose types are not known here.
import { quoteName } from "../sql-text.js";

export const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** The column as text. */
export const textOf = (column: string): string => `CAST(${quoteName(column)} AS VARCHAR)`;

const NUMBER = /^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$/;

export const COMPARISONS = ["=", ">", ">=", "<", "<=", "!=", "is null", "is not null"] as const;
export type Comparison = (typeof COMPARISONS)[number];

/**
 * A comparison as Texera makes it: with a number, values that are numbers (texts too) are compared as numbers, and other
 * texts as texts; anything else is compared with the value read in the column's type.
 */
export function comparison(column: string, condition: Comparison, value: string): string {
  const name = quoteName(column);
  if (condition === "is null") return `${name} IS NULL`;
  if (condition === "is not null") return `${name} IS NOT NULL`;
  if (!isPlainNumber(value)) return `${name} ${condition} ${literal(value)}`;
  return `coalesce(TRY_CAST(${name} AS DOUBLE) ${condition} ${asDouble(value)}, ${textOf(column)} ${condition} ${literal(value)})`;
}

/** With an exponent, so that it is a DOUBLE and no DECIMAL. */
const asDouble = (value: string): string => `CAST(${literal(value.trim())} AS DOUBLE)`;

/** True for a number that is compared as one; beyond 53 bits only the column's own type compares exactly. */
export const isPlainNumber = (value: string): boolean => NUMBER.test(value) && Math.abs(Number(value)) < 2 ** 53;
