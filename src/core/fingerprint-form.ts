// The JSON text of a fingerprint. It is written piece by piece in canonical order, which is several times faster than
// sorting what is known; that it is canonical JSON is tested on any plan.
//
// Whoever changes the form, or what settings of an operator mean, raises FINGERPRINT_VERSION: results of the old form are
// then misses, never wrong hits.
import { canonicalJson, isPlain, quoted } from "./canonical-json.js";
import {
  ATTRIBUTE_TYPES,
  type AttributeType,
  type Json,
  type PhysicalOperator,
  type PortKey,
  type Schema,
} from "./plan.js";

export const FINGERPRINT_VERSION = 3;

/** Names a port within its operator, on its side: "0", or "internal-0" for one between layers. */
export const portLabel = ({ portId, internal }: PortKey): string => (internal ? `internal-${portId}` : String(portId));

/** The canonical JSON of an operator's fingerprints: the label of the output port goes between the two. */
export interface OperatorText {
  before: string;
  after: string;
}

/**
 * From the JSON texts of what feeds each input. Members stand in canonical order: inputs, layer,
 * outputs, port, properties, scan, type, userFunction, version.
 */
export function operatorText(operator: PhysicalOperator, inputs: PortText[]): OperatorText {
  const outputs: PortText[] = [];
  for (const { key, schema } of operator.outputs) outputs.push({ label: portLabel(key), text: schemaText(schema) });
  const before = `{"inputs":${byLabel(inputs)},"layer":${quoted(operator.layer)},"outputs":${byLabel(outputs)},"port":`;
  const [properties, scan, userFunction] = contentTexts(operator);
  const after = `,"properties":${properties}${scan},"type":${quoted(operator.type)}${userFunction},"version":${FINGERPRINT_VERSION}}`;
  return { before, after };
}

/** The JSON text of something about one port. */
export interface PortText {
  label: string;
  text: string;
}

/** An object with a member for each port, in canonical order. */
function byLabel(members: PortText[]): string {
  if (members.length > 1) members.sort((a, b) => (a.label < b.label ? -1 : 1));
  let text = "{";
  for (const member of members) text += `${text.length > 1 ? ',"' : '"'}${member.label}":${member.text}`;
  return `${text}}`;
}

function schemaText(schema: Schema): string {
  let text = "";
  for (const { name, type } of schema) {
    text += text === "" ? '[{"name":"' : '"},{"name":"';
    text += isPlain(name) ? name : quoted(name).slice(1, -1);
    text += TYPE_AFTER_NAME[type];
  }
  return text === "" ? "[]" : `${text}"}]`;
}

/** What stands between a column's name and the end of its type. */
const TYPE_AFTER_NAME = Object.fromEntries(ATTRIBUTE_TYPES.map((type) => [type, `","type":"${type}`])) as Record<
  AttributeType,
  string
>;

/**
 * What the operator does: its properties, and the members `scan` and `userFunction` with a comma before them, if there
 * are any. Settings that the implementation or the output's schema restates are left out, and so is how a dataset is
 * called: it counts by content.
 */
function contentTexts({ implementation, properties }: PhysicalOperator): [string, scan: string, userFunction: string] {
  switch (implementation.kind) {
    case "query":
      return [canonicalJson(properties), "", ""];
    case "scan": {
      const { contentHash, format, fileSchema } = implementation.scan;
      const scan = `,"scan":{"contentHash":${quoted(contentHash)},"fileSchema":${schemaText(fileSchema)},"format":${canonicalJson(format)}}`;
      return [canonicalJson(without(properties, SCAN_RESTATES)), scan, ""];
    }
    case "user-function": {
      const userFunction = `,"userFunction":${canonicalJson(implementation.userFunction)}`;
      return [canonicalJson(without(properties, FUNCTION_RESTATES)), "", userFunction];
    }
  }
}

const SCAN_RESTATES = new Set(["dataset", "columns"]);
const FUNCTION_RESTATES = new Set(["code", "environment", "retainInputColumns", "call"]);

const without = (properties: Record<string, Json>, names: ReadonlySet<string>): Record<string, Json> =>
  Object.fromEntries(Object.entries(properties).filter(([name]) => !names.has(name)));
