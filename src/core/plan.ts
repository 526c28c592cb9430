// Plans as plain data: what the author drew (logical) and what runs (physical). Wire forms are in plan.proto;
// rpc/plan-codec.ts is the only file that knows both, so fingerprints do not change when the wire format does.
import type { Diagnostic } from "./app-error.js";

export const ATTRIBUTE_TYPES = [
  "string",
  "integer",
  "long",
  "double",
  "boolean",
  "timestamp",
  "binary",
  "any",
] as const;
export type AttributeType = (typeof ATTRIBUTE_TYPES)[number];

export interface Attribute {
  name: string;
  type: AttributeType;
}
export type Schema = Attribute[];

/** JSON values, as operator properties hold them. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Properties = { [key: string]: Json };

export interface LogicalPlan {
  operators: LogicalOperator[];
  links: LogicalLink[];
}
export interface LogicalOperator {
  id: string;
  type: string;
  properties: Properties;
  /** Empty: the id is shown. */
  displayName: string;
  disabled: boolean;
  viewResult: boolean;
}
export interface LogicalLink {
  from: string;
  fromPort: number;
  to: string;
  toPort: number;
}

export interface PortKey {
  operatorId: string;
  layer: string;
  portId: number;
  internal: boolean;
  input: boolean;
}

/** Printed form of a port key; ids hold no comma or parenthesis (core/ids.ts), so it can be parsed back. */
export const globalPortId = (k: PortKey): string =>
  `(logicalOpId=${k.operatorId},layerName=${k.layer},portId=${k.portId},isInternal=${k.internal},isInput=${k.input})`;

const PRINTED =
  /^\(logicalOpId=([^,()]+),layerName=([^,()]+),portId=(\d+),isInternal=(true|false),isInput=(true|false)\)$/;

/** Reads the printed form back; undefined when it is not one. */
export function parseGlobalPortId(text: string): PortKey | undefined {
  const m = PRINTED.exec(text);
  if (!m) return undefined;
  return {
    operatorId: m[1]!,
    layer: m[2]!,
    portId: Number(m[3]),
    internal: m[4] === "true",
    input: m[5] === "true",
  };
}

export interface PhysicalPlan {
  /** PLAN_FORMAT of the server that made it. */
  format: number;
  /** Each after what it reads. */
  operators: PhysicalOperator[];
  links: PhysicalLink[];
  regions: Region[];
}
export const PLAN_FORMAT = 1;

export interface PhysicalOperatorKey {
  operatorId: string;
  layer: string;
}
export const operatorKey = (o: PhysicalOperatorKey): string => `${o.operatorId}/${o.layer}`;

export interface PhysicalOperator {
  operatorId: string;
  layer: string;
  type: string;
  properties: Properties;
  displayName: string;
  inputs: InputPort[];
  outputs: OutputPort[];
  implementation: Implementation;
}

export interface InputPort {
  key: PortKey;
  schema: Schema;
  dependsOn: PortKey[];
  manyLinks: boolean;
  partition: PartitionRule;
}

export type OutputMode = "set-delta" | "set-snapshot" | "single-snapshot";

export interface OutputPort {
  key: PortKey;
  schema: Schema;
  blocking: boolean;
  mode: OutputMode;
  materialized: boolean;
  viewed: boolean;
  /** Hex SHA-256; empty when uncacheable. */
  subdagHash: string;
  /** A sentence; empty when cacheable. */
  uncacheableReason: string;
}

export type PartitionRule =
  | { kind: "none" }
  | { kind: "hash"; attributes: string[] }
  | { kind: "range"; attributes: string[]; min: bigint; max: bigint }
  | { kind: "single" }
  | { kind: "broadcast" }
  | { kind: "one-to-one" };

export interface PhysicalLink {
  id: string;
  from: PortKey;
  to: PortKey;
  materialized: boolean;
  why: string;
  /** True when the link's own ends demand it, false when the schedule chose it. */
  mustMaterialize: boolean;
}

export interface Region {
  id: number;
  level: number;
  operators: PhysicalOperatorKey[];
  cached: boolean;
}

export interface FileFormat {
  kind: "csv" | "json" | "parquet";
  /** CSV only; empty: find out. */
  delimiter: string;
  /** CSV only; undefined: find out. */
  header: boolean | undefined;
  /** CSV only; empty: UTF-8. */
  encoding: Encoding;
}
export const ENCODINGS = ["utf-8", "utf-16", "latin-1"] as const;
export type Encoding = "" | (typeof ENCODINGS)[number];

export type Implementation =
  | { kind: "scan"; scan: DatasetScan }
  /** A SELECT for output port 0, and one for each further port. */
  | { kind: "query"; sql: string; furtherSql: string[] }
  | { kind: "user-function"; userFunction: UserFunction };

export interface DatasetScan {
  datasetId: string;
  datasetName: string;
  version: number;
  contentHash: string;
  uri: string;
  format: FileFormat;
  rowCount: bigint;
  byteCount: bigint;
  fileSchema: Schema;
  /** Rows of the file passed over first. */
  offset: bigint;
  /** Rows read at most; undefined: all. */
  limit: bigint | undefined;
  malformedRows: MalformedRows;
}
export const MALFORMED_ROWS = ["fail", "skip"] as const;
export type MalformedRows = (typeof MALFORMED_ROWS)[number];

export type Language = "python" | "javascript";

export interface UserFunction {
  language: Language;
  code: string;
  entryPoint: string;
  retainInputColumns: boolean;
  environment: Record<string, string>;
  call: FunctionCall;
}
/** Once per row, per batch of rows, per input port with all its rows; or once, to make rows. */
export const FUNCTION_CALLS = ["tuple", "batch", "table", "source"] as const;
export type FunctionCall = (typeof FUNCTION_CALLS)[number];

/** What a compilation gives: a plan, or the errors that prevent one; warnings either way. */
export type Compilation =
  | { ok: true; plan: PhysicalPlan; planDigest: string; diagnostics: Diagnostic[] }
  | { ok: false; diagnostics: Diagnostic[] };
