// What is wrong with an operator's settings, in sentences. Zod finds it; the words are ours, because zod's own speak of
// types and not of what to write.
import { z } from "zod";
import { didYouMean, listNames } from "../names.js";
import type { Json, Properties } from "../plan.js";
import type { Finding } from "./operator.js";

/** One finding per issue, unknown names one by one. */
export function explainIssues(error: z.ZodError, properties: Properties, settings: z.ZodType): Finding[] {
  return error.issues.flatMap((issue) => {
    const path = issue.path.map(String);
    if (issue.code === "unrecognized_keys") {
      const known = knownKeys(settings, path);
      return issue.keys.map((key) => ({
        property: [...path, key].join("."),
        message: `Unknown property ${JSON.stringify(key)}${didYouMean(key, known)} Known here: ${listNames(known)}.`,
      }));
    }
    return [{ property: path.join("."), message: explain(issue, valueAt(properties, path), path) }];
  });
}

function explain(issue: z.core.$ZodIssue, value: Json | undefined, path: string[]): string {
  const name = path.filter((step) => !/^\d+$/.test(step)).at(-1);
  const subject = name === undefined ? "This" : JSON.stringify(name);
  if (value === undefined && issue.code !== "custom") return `${subject} is missing${wanted(issue)}.`;
  switch (issue.code) {
    case "invalid_type":
      return `${subject} must be ${TYPES[issue.expected] ?? `of type ${issue.expected}`}; it is ${shown(value)}.`;
    case "invalid_value": {
      const meant = typeof value === "string" ? didYouMean(value, issue.values.map(String)) : ".";
      return `${subject} is ${shown(value)}${meant} It must be one of: ${issue.values.map((v) => JSON.stringify(v)).join(", ")}.`;
    }
    case "too_small":
      if (issue.origin === "number") return `${subject} must be at least ${issue.minimum}; it is ${shown(value)}.`;
      return Number(issue.minimum) === 1
        ? `${subject} must not be empty.`
        : `${subject} needs at least ${issue.minimum} ${issue.origin === "array" ? "entries" : "characters"}.`;
    case "too_big":
      if (issue.origin === "number") return `${subject} must be at most ${issue.maximum}; it is ${shown(value)}.`;
      return `${subject} may have at most ${issue.maximum} ${issue.origin === "array" ? "entries" : "characters"}.`;
    default:
      return issue.message;
  }
}

const TYPES: Record<string, string> = {
  string: "text in quotes",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list in [ ]",
  object: "an object in { }",
  record: "an object in { }",
};

function wanted(issue: z.core.$ZodIssue): string {
  if (issue.code === "invalid_value")
    return `; it must be one of: ${issue.values.map((v) => JSON.stringify(v)).join(", ")}`;
  if (issue.code === "invalid_type" && issue.expected in TYPES) return `; it must be ${TYPES[issue.expected]}`;
  return "";
}

function shown(value: Json | undefined): string {
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "an object";
  const text = JSON.stringify(value) ?? "absent";
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

function valueAt(value: Json, path: string[]): Json | undefined {
  let at: Json | undefined = value;
  for (const step of path) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, step)) return undefined;
    at = (at as { [key: string]: Json })[step];
  }
  return at;
}

interface JsonSchema {
  properties?: Record<string, JsonSchema>;
  items?: JsonSchema;
}

/** The names a settings schema knows at a path. */
function knownKeys(settings: z.ZodType, path: string[]): string[] {
  let at: JsonSchema | undefined = z.toJSONSchema(settings, { io: "input" }) as JsonSchema;
  for (const step of path) at = /^\d+$/.test(step) ? at?.items : at?.properties?.[step];
  return Object.keys(at?.properties ?? {});
}
