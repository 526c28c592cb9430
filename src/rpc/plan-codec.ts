// Core plan ⇄ wire plan: the only file that knows both.
//
// C1  fromWire(toWire(plan)) is the plan, also through bytes and through proto3 JSON, so its digest is the same on
//     both sides.
// C2  What is missing or unknown on the wire is refused with a sentence; nothing is guessed.

import * as wire from "../contract/postern/v1/plan.js";
import { AppError, type Diagnostic, invalid } from "../core/app-error.js";
import { digestOf } from "../core/canonical-json.js";
import * as core from "../core/plan.js";
import { enumCodec } from "./enum-codec.js";
import { carriedProperties, refuseLostName } from "./properties.js";

export {
  executionStateFromWire,
  executionStateToWire,
  runStateFromWire,
  runStateToWire,
} from "./state-codec.js";

const attributeTypes = enumCodec<core.AttributeType, wire.AttributeType>("column type", {
  string: wire.AttributeType.ATTRIBUTE_TYPE_STRING,
  integer: wire.AttributeType.ATTRIBUTE_TYPE_INTEGER,
  long: wire.AttributeType.ATTRIBUTE_TYPE_LONG,
  double: wire.AttributeType.ATTRIBUTE_TYPE_DOUBLE,
  boolean: wire.AttributeType.ATTRIBUTE_TYPE_BOOLEAN,
  timestamp: wire.AttributeType.ATTRIBUTE_TYPE_TIMESTAMP,
  binary: wire.AttributeType.ATTRIBUTE_TYPE_BINARY,
  any: wire.AttributeType.ATTRIBUTE_TYPE_ANY,
});
export const attributeTypeToWire = attributeTypes.toWire;
export const attributeTypeFromWire = attributeTypes.fromWire;

const outputModes = enumCodec<core.OutputMode, wire.OutputMode>("output mode", {
  "set-delta": wire.OutputMode.OUTPUT_MODE_SET_DELTA,
  "set-snapshot": wire.OutputMode.OUTPUT_MODE_SET_SNAPSHOT,
  "single-snapshot": wire.OutputMode.OUTPUT_MODE_SINGLE_SNAPSHOT,
});
const languages = enumCodec<core.Language, wire.UserFunction_Language>("language of a user function", {
  python: wire.UserFunction_Language.LANGUAGE_PYTHON,
  javascript: wire.UserFunction_Language.LANGUAGE_JAVASCRIPT,
});
const fileFormatKinds = enumCodec<core.FileFormat["kind"], wire.FileFormat_Kind>("file format", {
  csv: wire.FileFormat_Kind.KIND_CSV,
  json: wire.FileFormat_Kind.KIND_JSON,
  parquet: wire.FileFormat_Kind.KIND_PARQUET,
});
const functionCalls = enumCodec<core.FunctionCall, wire.UserFunction_Call>("way to call a user function", {
  tuple: wire.UserFunction_Call.CALL_TUPLE,
  batch: wire.UserFunction_Call.CALL_BATCH,
  table: wire.UserFunction_Call.CALL_TABLE,
  source: wire.UserFunction_Call.CALL_SOURCE,
});
const malformedRows = enumCodec<core.MalformedRows, wire.MalformedRows>("rule for malformed rows", {
  fail: wire.MalformedRows.MALFORMED_ROWS_FAIL,
  skip: wire.MalformedRows.MALFORMED_ROWS_SKIP,
});
const severities = enumCodec<Diagnostic["severity"], wire.Diagnostic_Severity>("severity", {
  error: wire.Diagnostic_Severity.SEVERITY_ERROR,
  warning: wire.Diagnostic_Severity.SEVERITY_WARNING,
});

function present<T>(value: T | undefined, what: string): T {
  if (value !== undefined) return value;
  throw invalid(`The plan is incomplete: ${what} is missing.`);
}

export const schemaToWire = (schema: core.Schema): wire.Schema => ({
  attributes: schema.map(({ name, type }) => ({ name, type: attributeTypeToWire(type) })),
});
export const schemaFromWire = (schema: wire.Schema | undefined): core.Schema =>
  present(schema, "a schema").attributes.map(({ name, type }) => ({ name, type: attributeTypeFromWire(type) }));

export const portKeyToWire = ({ operatorId, layer, portId, internal, input }: core.PortKey): wire.PortKey => ({
  operatorId,
  layer,
  portId,
  internal,
  input,
});
export const portKeyFromWire = (key: wire.PortKey | undefined): core.PortKey =>
  portKeyToWire(present(key, "a port key"));

export const diagnosticToWire = (d: Diagnostic): wire.Diagnostic => ({ ...d, severity: severities.toWire(d.severity) });
export const diagnosticFromWire = ({ severity, operatorId, property, message }: wire.Diagnostic): Diagnostic => ({
  severity: severities.fromWire(severity),
  operatorId,
  property,
  message,
});

export const fileFormatToWire = ({ kind, delimiter, header, encoding }: core.FileFormat): wire.FileFormat => ({
  kind: fileFormatKinds.toWire(kind),
  delimiter,
  header,
  encoding,
});
export const fileFormatFromWire = (format: wire.FileFormat | undefined): core.FileFormat => {
  const { kind, delimiter, header, encoding } = present(format, "a file format");
  return { kind: fileFormatKinds.fromWire(kind), delimiter, header, encoding: encodingOf(encoding) };
};

/** An encoding by name; empty stands for UTF-8. */
export function encodingOf(name: string): core.Encoding {
  if (name === "" || (core.ENCODINGS as readonly string[]).includes(name)) return name as core.Encoding;
  throw invalid(
    `There is no encoding ${JSON.stringify(name.slice(0, 40))}; it must be one of ${core.ENCODINGS.join(", ")}.`,
  );
}

export const logicalPlanToWire = ({ operators, links }: core.LogicalPlan): wire.LogicalPlan => ({
  operators: operators.map((o) => ({ ...o, properties: carriedProperties(o.id, o.properties) })),
  links: links.map((l) => ({ ...l })),
});
export const logicalPlanFromWire = (plan: wire.LogicalPlan): core.LogicalPlan => ({
  operators: plan.operators.map(({ id, type, properties, displayName, disabled, viewResult }) => ({
    id,
    type,
    properties: carriedProperties(id, (properties ?? {}) as core.Properties),
    displayName,
    disabled,
    viewResult,
  })),
  links: plan.links.map(({ from, fromPort, to, toPort }) => ({ from, fromPort, to, toPort })),
});

export const physicalPlanToWire = (plan: core.PhysicalPlan): wire.PhysicalPlan => ({
  format: plan.format,
  operators: plan.operators.map(operatorToWire),
  links: plan.links.map((l) => ({ ...l, from: portKeyToWire(l.from), to: portKeyToWire(l.to) })),
  regions: plan.regions.map((r) => ({ ...r, operators: r.operators.map(operatorKeyOf) })),
});

/** Refuses a plan of a newer format: this release cannot know what it means. */
export function physicalPlanFromWire(plan: wire.PhysicalPlan): core.PhysicalPlan {
  if (plan.format < 1 || plan.format > core.PLAN_FORMAT)
    throw new AppError(
      "precondition",
      "INVALID_REQUEST",
      `The plan has format ${plan.format}, this release reads up to ${core.PLAN_FORMAT}; upgrade it.`,
    );
  return {
    format: plan.format,
    operators: plan.operators.map(operatorFromWire),
    links: plan.links.map(({ id, from, to, materialized, why, mustMaterialize }) => ({
      id,
      from: portKeyFromWire(from),
      to: portKeyFromWire(to),
      materialized,
      why,
      mustMaterialize,
    })),
    regions: plan.regions.map(({ id, level, operators, cached }) => ({
      id,
      level,
      operators: operators.map(operatorKeyOf),
      cached,
    })),
  };
}

/** SHA-256 (hex) of the canonical JSON of the plan's proto3 JSON: what PlanDigest fields hold. */
export const planDigest = (plan: core.PhysicalPlan): string =>
  digestOf(wire.PhysicalPlan.toJSON(physicalPlanToWire(plan)));

/** The same for what the author drew: the identity of a workflow version. */
export const logicalPlanDigest = (plan: core.LogicalPlan): string =>
  digestOf(wire.LogicalPlan.toJSON(logicalPlanToWire(plan)));

const operatorKeyOf = ({ operatorId, layer }: core.PhysicalOperatorKey): core.PhysicalOperatorKey => ({
  operatorId,
  layer,
});

const operatorToWire = (o: core.PhysicalOperator): wire.PhysicalOperator => ({
  ...o,
  properties: carriedProperties(o.operatorId, o.properties),
  inputs: o.inputs.map((p) => ({
    key: portKeyToWire(p.key),
    schema: schemaToWire(p.schema),
    dependsOn: p.dependsOn.map(portKeyToWire),
    manyLinks: p.manyLinks,
    partition: partitionToWire(p.partition),
  })),
  outputs: o.outputs.map((p) => ({
    ...p,
    key: portKeyToWire(p.key),
    schema: schemaToWire(p.schema),
    mode: outputModes.toWire(p.mode),
  })),
  implementation: implementationToWire(o),
});

const operatorFromWire = (o: wire.PhysicalOperator): core.PhysicalOperator => ({
  operatorId: o.operatorId,
  layer: o.layer,
  type: o.type,
  properties: (o.properties ?? {}) as core.Properties,
  displayName: o.displayName,
  inputs: o.inputs.map((p) => ({
    key: portKeyFromWire(p.key),
    schema: schemaFromWire(p.schema),
    dependsOn: p.dependsOn.map(portKeyFromWire),
    manyLinks: p.manyLinks,
    partition: partitionFromWire(p.partition),
  })),
  outputs: o.outputs.map((p) => ({
    key: portKeyFromWire(p.key),
    schema: schemaFromWire(p.schema),
    blocking: p.blocking,
    mode: outputModes.fromWire(p.mode),
    materialized: p.materialized,
    viewed: p.viewed,
    subdagHash: p.subdagHash,
    uncacheableReason: p.uncacheableReason,
  })),
  implementation: implementationFromWire(o),
});

const PARTITION_KINDS = {
  none: wire.PartitionRule_Kind.KIND_UNSPECIFIED,
  hash: wire.PartitionRule_Kind.KIND_HASH,
  range: wire.PartitionRule_Kind.KIND_RANGE,
  single: wire.PartitionRule_Kind.KIND_SINGLE,
  broadcast: wire.PartitionRule_Kind.KIND_BROADCAST,
  "one-to-one": wire.PartitionRule_Kind.KIND_ONE_TO_ONE,
} as const satisfies Record<core.PartitionRule["kind"], wire.PartitionRule_Kind>;

const partitionToWire = (rule: core.PartitionRule): wire.PartitionRule => ({
  kind: PARTITION_KINDS[rule.kind],
  attributes: "attributes" in rule ? [...rule.attributes] : [],
  min: rule.kind === "range" ? rule.min : 0n,
  max: rule.kind === "range" ? rule.max : 0n,
});

const partitionKinds = enumCodec<core.PartitionRule["kind"], wire.PartitionRule_Kind>(
  "partition rule",
  PARTITION_KINDS,
);

/** An absent rule requires nothing. */
function partitionFromWire(rule: wire.PartitionRule | undefined): core.PartitionRule {
  if (rule === undefined) return { kind: "none" };
  const { attributes, min, max } = rule;
  const kind = partitionKinds.fromWire(rule.kind);
  if (kind === "hash") return { kind, attributes };
  if (kind === "range") return { kind, attributes, min, max };
  return { kind };
}

function implementationToWire({
  operatorId,
  implementation: i,
}: core.PhysicalOperator): wire.PhysicalOperator["implementation"] {
  switch (i.kind) {
    case "scan":
      return { $case: "scan", value: datasetScanToWire(i.scan) };
    case "query":
      return { $case: "query", value: { sql: i.sql, furtherSql: [...i.furtherSql] } };
    case "user-function":
      refuseLostName(operatorId, i.userFunction.environment);
      return {
        $case: "userFunction",
        value: {
          ...i.userFunction,
          language: languages.toWire(i.userFunction.language),
          call: functionCalls.toWire(i.userFunction.call),
        },
      };
  }
}

function implementationFromWire({ operatorId, implementation }: wire.PhysicalOperator): core.Implementation {
  switch (implementation?.$case) {
    case "scan":
      return { kind: "scan", scan: datasetScanFromWire(implementation.value) };
    case "query":
      return { kind: "query", sql: implementation.value.sql, furtherSql: [...implementation.value.furtherSql] };
    case "userFunction": {
      const { language, code, entryPoint, retainInputColumns, environment, call } = implementation.value;
      return {
        kind: "user-function",
        userFunction: {
          language: languages.fromWire(language),
          code,
          entryPoint,
          retainInputColumns,
          environment,
          call: call === wire.UserFunction_Call.CALL_UNSPECIFIED ? "tuple" : functionCalls.fromWire(call),
        },
      };
    }
    case undefined:
      throw invalid(
        `Operator ${JSON.stringify(operatorId)} says nothing this release can run; upgrade it, or name an implementation.`,
      );
  }
}

export const datasetScanToWire = (scan: core.DatasetScan): wire.DatasetScan => ({
  ...scan,
  format: fileFormatToWire(scan.format),
  fileSchema: schemaToWire(scan.fileSchema),
  malformedRows: malformedRows.toWire(scan.malformedRows),
});
export const datasetScanFromWire = (scan: wire.DatasetScan): core.DatasetScan => ({
  datasetId: scan.datasetId,
  datasetName: scan.datasetName,
  version: scan.version,
  contentHash: scan.contentHash,
  uri: scan.uri,
  format: fileFormatFromWire(scan.format),
  rowCount: scan.rowCount,
  byteCount: scan.byteCount,
  fileSchema: schemaFromWire(scan.fileSchema),
  offset: scan.offset,
  limit: scan.limit,
  malformedRows:
    scan.malformedRows === wire.MalformedRows.MALFORMED_ROWS_UNSPECIFIED
      ? "fail"
      : malformedRows.fromWire(scan.malformedRows),
});
