// Regular expressions in settings. DuckDB runs them (RE2); here only their groups are counted, so that columns can be named
// after them.
import { z } from "zod";
import { quoteText } from "../scan-sql.js";
import type { NamedExpression } from "./operator.js";
import { withoutNul } from "./settings.js";

/** A regular expression. */
export const pattern = z
  .string()
  .min(1)
  .max(10_000)
  .refine(withoutNul, "The pattern holds the character U+0000, which no text can; remove it.")
  .describe(
    "A regular expression (RE2): (…) is a group, (?<name>…) one with a name, (?i) ignores upper and lower case.",
  );

/** A pattern as DuckDB reads it, which spells names of groups `(?P<name>…)`, and its groups. */
export interface ReadPattern {
  sql: string;
  /** In order, from 1: their names, or undefined for one without. */
  groups: (string | undefined)[];
}

export function readPattern(text: string): ReadPattern {
  const groups: (string | undefined)[] = [];
  let re2 = "";
  let copied = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "\\") {
      // Between \Q and \E everything stands for itself.
      if (text[i + 1] === "Q") i = endOf(text, "\\E", i);
      else i++;
    } else if (text[i] === "[") i = endOfClass(text, i);
    else if (text[i] === "(") {
      const rest = text.slice(i + 1);
      const [, p, name] = /^\?(P?)<([A-Za-z_]\w*)>/.exec(rest) ?? [];
      if (name !== undefined || !rest.startsWith("?")) groups.push(name);
      if (p === "") {
        re2 += `${text.slice(copied, i)}(?P`;
        copied = i + 2;
      }
    }
  }
  return { sql: quoteText(re2 + text.slice(copied)), groups };
}

function endOf(text: string, mark: string, from: number): number {
  const at = text.indexOf(mark, from);
  return at < 0 ? text.length : at + mark.length - 1;
}

/** The `]` that closes a class; one that comes first belongs to it. */
function endOfClass(text: string, from: number): number {
  let i = from + 1;
  if (text[i] === "^") i++;
  for (let first = true; i < text.length; i++, first = false) {
    if (text[i] === "\\") i++;
    else if (text.startsWith("[:", i)) i = endOf(text, ":]", i);
    else if (text[i] === "]" && !first) return i;
  }
  return i;
}

/** Lets DuckDB say what is wrong with a pattern, at its setting. */
export const patternCheck = ({ sql }: ReadPattern): NamedExpression => ({
  path: "pattern",
  sql: `regexp_matches('', ${sql})`,
});
