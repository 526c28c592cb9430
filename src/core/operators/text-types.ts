// What texts can be: the type of a column whose values are written as text, found or checked.
import type { AttributeType } from "../plan.js";
import { utcOf } from "./instants.js";

const WHOLE = /^-?(?:0|[1-9]\d*)$/;
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][+-]?\d+)?$/;

const within = (text: string, bits: bigint): boolean => {
  const value = BigInt(text);
  return value >= -(2n ** (bits - 1n)) && value < 2n ** (bits - 1n);
};

/** Whether a text can be read as a value of the type. */
export const CAN_BE: Record<AttributeType, (text: string) => boolean> = {
  string: () => true,
  integer: (text) => WHOLE.test(text) && within(text, 32n),
  long: (text) => WHOLE.test(text) && within(text, 64n),
  double: (text) => NUMBER.test(text) && Number.isFinite(Number(text)),
  boolean: (text) => /^(?:true|false)$/i.test(text),
  timestamp: (text) => utcOf(text) !== undefined,
  binary: (text) => /^(?:[0-9a-f]{2})*$/i.test(text),
  any(text) {
    try {
      JSON.parse(text);
      return true;
    } catch {
      // It is asked whether this is JSON.
      return false;
    }
  },
};

/** What a text of the type looks like, for sentences. */
export const LOOKS_LIKE: Record<AttributeType, string> = {
  string: "any text",
  integer: "a whole number of at most 32 bits",
  long: "a whole number of at most 64 bits",
  double: "a number",
  boolean: "true or false",
  timestamp: "a date such as 2024-01-31 or 2024-01-31T08:30:00Z",
  binary: "bytes in hexadecimal digits",
  any: "JSON",
};

/** The narrowest type all texts can be; text when there is none. */
export function typeOfTexts(texts: readonly string[]): AttributeType {
  if (texts.length === 0) return "string";
  const types = ["long", "double", "boolean", "timestamp"] as const;
  return types.find((type) => texts.every(CAN_BE[type])) ?? "string";
}

/** The same for values of JSON, where a bigint is a whole number of 64 bits: what is nested or mixed is any. */
export function typeOfJson(values: readonly unknown[]): AttributeType {
  const kinds = new Set(values.map((value) => (typeof value === "bigint" ? "number" : typeof value)));
  const [kind, ...others] = kinds;
  if (kind === undefined || others.length > 0) return "any";
  if (kind === "string") {
    const isTime = values.every((value) => CAN_BE.timestamp(value as string));
    return isTime ? "timestamp" : "string";
  }
  if (kind === "number")
    return values.every((value) => typeof value === "bigint" || Number.isSafeInteger(value)) ? "long" : "double";
  return kind === "boolean" ? "boolean" : "any";
}
