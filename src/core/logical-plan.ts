// A logical plan as people write it: proto3 JSON of LogicalPlan, read strictly. A misspelt field is a finding, not a
// default, and everything wrong is reported at once. Whether the plan makes sense is the compiler's question.
import type { Diagnostic } from "./app-error.js";
import { didYouMean } from "./names.js";
import type { Json, LogicalLink, LogicalOperator, LogicalPlan, Properties } from "./plan.js";

type Report = (path: string, message: string, operatorId?: string) => void;
type Fields = { [key: string]: unknown };

const OPERATOR_FIELDS = ["id", "type", "properties", "displayName", "disabled", "viewResult"];
const LINK_FIELDS = ["from", "fromPort", "to", "toPort"];

/** Reads a plan, or says everything that is wrong with its form; `property` is the path within the JSON. */
export function parseLogicalPlan(json: unknown): { plan: LogicalPlan } | { diagnostics: Diagnostic[] } {
  const diagnostics: Diagnostic[] = [];
  const report: Report = (property, message, operatorId = "") =>
    diagnostics.push({ severity: "error", operatorId, property, message });
  const plan = readPlan(json, report);
  return diagnostics.length === 0 ? { plan } : { diagnostics };
}

function readPlan(json: unknown, report: Report): LogicalPlan {
  if (!isObject(json)) {
    report("", `A workflow is an object with "operators" and "links"; this is ${kindOf(json)}.`);
    return { operators: [], links: [] };
  }
  refuseUnknown(json, ["operators", "links"], "", report);
  return {
    operators: readList(json, "operators", report).map((item, i) => readOperator(item, `operators.${i}`, report)),
    links: readList(json, "links", report).map((item, i) => readLink(item, `links.${i}`, report)),
  };
}

function readOperator(item: unknown, path: string, report: Report): LogicalOperator {
  const example = 'An operator is an object such as {"id": "late", "type": "filter"}';
  const fields = asObject(item, path, example, OPERATOR_FIELDS, report);
  const id = typeof fields.id === "string" ? fields.id : "";
  const about: Report = (at, message) => report(at, message, id);
  refuseUnknown(fields, OPERATOR_FIELDS, path, about);
  const properties = fields.properties ?? {};
  if (!isObject(properties))
    about(`${path}.properties`, `"properties" must be an object; it is ${kindOf(properties)}.`);
  return {
    id: readText(fields, "id", path, about, { required: true }),
    type: readText(fields, "type", path, about, { required: true }),
    properties: isObject(properties) ? (properties as Properties) : {},
    displayName: readText(fields, "displayName", path, about),
    disabled: readFlag(fields, "disabled", path, about),
    viewResult: readFlag(fields, "viewResult", path, about),
  };
}

function readLink(item: unknown, path: string, report: Report): LogicalLink {
  const example = 'A link is an object such as {"from": "flights", "to": "late"}';
  const fields = asObject(item, path, example, LINK_FIELDS, report);
  refuseUnknown(fields, LINK_FIELDS, path, report);
  return {
    from: readText(fields, "from", path, report, { required: true }),
    fromPort: readPort(fields, "fromPort", path, report),
    to: readText(fields, "to", path, report, { required: true }),
    toPort: readPort(fields, "toPort", path, report),
  };
}

const isObject = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Stands for what was no object: it has been reported as a whole, so its fields are not missed one by one. */
const NOTHING: Fields = {};

/** The value's fields by their JSON names; proto3 JSON also allows the names of the .proto, such as display_name. */
function asObject(value: unknown, path: string, meaning: string, known: string[], report: Report): Fields {
  if (!isObject(value)) {
    report(path, `${meaning}; this is ${kindOf(value)}.`);
    return NOTHING;
  }
  const camel = (key: string) => key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return Object.fromEntries(
    Object.entries(value).map(([key, field]) => [known.includes(camel(key)) ? camel(key) : key, field]),
  );
}

function refuseUnknown(fields: Fields, known: string[], path: string, report: Report): void {
  for (const key of Object.keys(fields).filter((key) => !known.includes(key)))
    report(join(path, key), `Unknown field ${JSON.stringify(key)}${didYouMean(key, known)}`);
}

function readList(fields: Fields, key: string, report: Report): unknown[] {
  const value = fields[key] ?? [];
  if (Array.isArray(value)) return value;
  report(key, `"${key}" must be a list in [ ]; it is ${kindOf(value)}.`);
  return [];
}

function readText(fields: Fields, key: string, path: string, report: Report, { required = false } = {}): string {
  const value = fields[key] ?? "";
  if (typeof value !== "string") report(join(path, key), `"${key}" must be text in quotes; it is ${kindOf(value)}.`);
  else if (value !== "") return value;
  else if (required && fields !== NOTHING) report(join(path, key), `"${key}" is missing.`);
  return "";
}

function readFlag(fields: Fields, key: string, path: string, report: Report): boolean {
  const value = fields[key] ?? false;
  if (typeof value === "boolean") return value;
  report(join(path, key), `"${key}" must be true or false; it is ${kindOf(value)}.`);
  return false;
}

/** A port number; proto3 JSON allows it in quotes. */
function readPort(fields: Fields, key: string, path: string, report: Report): number {
  const value = fields[key] ?? 0;
  const number = typeof value === "string" && /^\d{1,10}$/.test(value) ? Number(value) : value;
  if (Number.isInteger(number) && (number as number) >= 0 && (number as number) < 2 ** 31) return number as number;
  report(join(path, key), `"${key}" must be a port number from 0; it is ${JSON.stringify(value)}.`);
  return 0;
}

const join = (path: string, key: string): string => (path === "" ? key : `${path}.${key}`);

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (value === undefined) return "absent";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "an object";
  return `${typeof value} ${JSON.stringify(value as Json).slice(0, 60)}`;
}
