// Values that settings give, as SQL. A value must fit its column's type before a plan runs: "12" may stand for a number,
// as programs without 64-bit numbers write it, but 12 never stands for a text.
import { z } from "zod";
import type { Attribute } from "../plan.js";
import { quoteText } from "../scan-sql.js";
import { quoteName } from "../sql-text.js";
import { utcOf } from "./instants.js";
import { NUL, withoutNul } from "./settings.js";

const LONGEST_TEXT = 10_000;

/** A text, a number, true or false. */
export const scalar = z.union([z.string().max(LONGEST_TEXT).refine(withoutNul, NUL), z.number(), z.boolean()], {
  error: "This must be a text, a number, true or false.",
});
export type Scalar = z.output<typeof scalar>;

/** SQL of a value, or the sentence about why a column cannot have it. */
export type Literal = { sql: string } | { problem: string };

/**
 * The value as a column of this type compares with it. With `exact` the column could hold it as it is: no fraction for
 * whole numbers, nothing out of range.
 */
export function literalOf(value: Scalar, { name, type }: Attribute, { exact = false } = {}): Literal {
  const wrong = (wanted: string): Literal => ({
    problem: `${quoteName(name)} is ${type}, and ${JSON.stringify(value)} is not: write ${wanted}.`,
  });
  switch (type) {
    case "string":
      return typeof value === "string" ? { sql: quoteText(value) } : wrong("a text in quotes");
    case "any":
      return { sql: quoteText(JSON.stringify(value)) };
    case "boolean": {
      const text = String(value).toLowerCase();
      return text === "true" || text === "false" ? { sql: text } : wrong("true or false");
    }
    case "integer":
    case "long": {
      if (hasLostDigits(value))
        return {
          problem: `${JSON.stringify(value)} is beyond 2^53, where a JSON number may have lost its last digits; write it in quotes.`,
        };
      const text = numberText(value);
      if (text === undefined || (exact && !fits(text, type))) return wrong(exact ? RANGES[type].wanted : "a number");
      return { sql: comparedWithWhole(text) };
    }
    case "double": {
      const sql = numberText(value);
      return sql === undefined ? wrong("a number") : { sql: `CAST(${sql} AS DOUBLE)` };
    }
    case "timestamp": {
      const utc = typeof value === "string" ? utcOf(value.trim()) : undefined;
      return utc === undefined
        ? wrong('a date such as "2024-01-31" or "2024-01-31T08:30:00Z"')
        : { sql: `TIMESTAMP '${utc}'` };
    }
    case "binary": {
      const isHex = typeof value === "string" && /^(?:[0-9a-f]{2})*$/i.test(value);
      return isHex ? { sql: `from_hex('${value}')` } : wrong("its bytes in hexadecimal digits");
    }
  }
}

const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i;

function numberText(value: Scalar): string | undefined {
  const text = typeof value === "boolean" ? "" : String(value).trim();
  return NUMBER.test(text) && Number.isFinite(Number(text)) ? text : undefined;
}

/** A whole number that was rounded when it was read, though a 64-bit column could hold it. */
const hasLostDigits = (value: Scalar): boolean =>
  typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < 2 ** 63;

/**
 * A number beside a column of whole ones. DuckDB compares both as DECIMAL of at most 38 digits, 19 of which the column
 * may need; a fraction too long for that makes it a double.
 */
function comparedWithWhole(text: string): string {
  const [, fraction] = /^[+-]?\d*\.(\d*)$/.exec(text) ?? [];
  return fraction === undefined || fraction.length <= 19 ? text : `CAST(${text} AS DOUBLE)`;
}

const RANGES = {
  integer: { least: -(2n ** 31n), most: 2n ** 31n - 1n, wanted: "a whole number of at most 32 bits" },
  long: { least: -(2n ** 63n), most: 2n ** 63n - 1n, wanted: "a whole number of at most 64 bits" },
};

function fits(text: string, type: "integer" | "long"): boolean {
  if (!/^[+-]?\d+$/.test(text)) return false;
  const whole = BigInt(text.replace("+", ""));
  return whole >= RANGES[type].least && whole <= RANGES[type].most;
}
