// Physical plans built by hand, in the shape the compiler gives them, for tests of the executor.
import {
  CacheMode,
  type CacheUse,
  type ExecutionSpec,
  type OperatorStatistics,
} from "../../src/contract/postern/v1/execution.js";
import type { PortResult } from "../../src/contract/postern/v1/port_registry.js";
import { newExecutionId } from "../../src/core/ids.js";
import type {
  AttributeType,
  DatasetScan,
  Implementation,
  Language,
  OutputPort,
  PhysicalLink,
  PhysicalOperator,
  PhysicalPlan,
  PortKey,
  Schema,
} from "../../src/core/plan.js";
import { physicalPlanToWire, planDigest } from "../../src/rpc/plan-codec.js";

/** `"id:long name:string"` as a schema. */
export const columns = (text: string): Schema =>
  text.split(" ").map((column) => {
    const [name, type] = column.split(":");
    return { name: name!, type: type as AttributeType };
  });

const port = (operatorId: string, portId: number, input: boolean): PortKey => ({
  operatorId,
  layer: "main",
  portId,
  internal: false,
  input,
});
export const outputKey = (operatorId: string, portId = 0): PortKey => port(operatorId, portId, false);

export interface OperatorDraft {
  id: string;
  type: string;
  inputs: Schema[];
  output: Schema;
  /** Of the output ports from 1 on. */
  furtherOutputs?: Schema[];
  implementation: Implementation;
  /** It gives rows once it has all of its input. */
  blocking?: boolean;
  /** Write its rows. */
  materialized?: boolean;
  /** Make a subdag hash for it. */
  subdagHash?: string;
}

export const scan = (id: string, output: Schema, dataset: Partial<DatasetScan> & { uri: string }): OperatorDraft => ({
  id,
  type: "scan",
  inputs: [],
  output,
  implementation: {
    kind: "scan",
    scan: {
      datasetId: "0190aaaa-0000-7000-8000-000000000001",
      datasetName: id,
      version: 1,
      contentHash: "",
      format: { kind: "csv", delimiter: ",", header: true, encoding: "" },
      rowCount: 0n,
      byteCount: 0n,
      fileSchema: output,
      offset: 0n,
      limit: undefined,
      malformedRows: "fail",
      ...dataset,
    },
  },
});

export const query = (id: string, type: string, inputs: Schema[], sql: string, output: Schema): OperatorDraft => ({
  id,
  type,
  inputs,
  output,
  implementation: { kind: "query", sql, furtherSql: [] },
});

export const userFunction = (
  id: string,
  language: Language,
  input: Schema,
  code: string,
  output: Schema,
  retainInputColumns = false,
): OperatorDraft => ({
  id,
  type: `${language}-function`,
  inputs: [input],
  output,
  implementation: {
    kind: "user-function",
    userFunction: {
      language,
      code,
      entryPoint: language === "python" ? "process_tuple" : "processTuple",
      retainInputColumns,
      environment: {},
      call: "tuple",
    },
  },
});

const operatorOf = (draft: OperatorDraft): PhysicalOperator => {
  const outputs = [draft.output, ...(draft.furtherOutputs ?? [])].map(
    (schema, n): OutputPort => ({
      key: outputKey(draft.id, n),
      schema,
      blocking: draft.blocking ?? false,
      mode: "set-snapshot",
      materialized: draft.materialized ?? false,
      viewed: draft.materialized ?? false,
      subdagHash: draft.subdagHash ?? "",
      uncacheableReason: draft.subdagHash ? "" : "made by a test",
    }),
  );
  return {
    operatorId: draft.id,
    layer: "main",
    type: draft.type,
    properties: {},
    displayName: draft.id,
    inputs: draft.inputs.map((schema, n) => ({
      key: port(draft.id, n, true),
      schema,
      dependsOn: [],
      manyLinks: false,
      partition: { kind: "none" },
    })),
    outputs,
    implementation: draft.implementation,
  };
};

/**
 * A plan of operators and links such as `"scan>filter"`, `"customers>join:1"` or `"split:1>filter"`. Without `regions` all operators are in
 * one; else each entry lists its members as `"level: a b c"`.
 */
export function planOf(drafts: OperatorDraft[], links: string[], regions?: string[]): PhysicalPlan {
  const regionOf = new Map<string, number>();
  const parsed = (regions ?? [`0: ${drafts.map((d) => d.id).join(" ")}`]).map((text, n) => {
    const [level, members] = text.split(": ");
    const ids = members!.split(" ");
    for (const id of ids) regionOf.set(id, n);
    return {
      id: n + 1,
      level: Number(level),
      cached: false,
      operators: ids.map((operatorId) => ({ operatorId, layer: "main" })),
    };
  });
  return {
    format: 1,
    operators: drafts.map(operatorOf),
    links: links.map((text, n): PhysicalLink => {
      const [source, target] = text.split(">");
      const [from, fromPort = "0"] = source!.split(":");
      const [to, portId = "0"] = target!.split(":");
      const materialized = regionOf.get(from!) !== regionOf.get(to!);
      return {
        id: `link-${n}`,
        from: outputKey(from!, Number(fromPort)),
        to: port(to!, Number(portId), true),
        materialized,
        why: materialized ? "made by a test" : "",
        mustMaterialize: false,
      };
    }),
    regions: parsed,
  };
}

/** What an executor would be given to run the plan. */
export function specOf(
  plan: PhysicalPlan,
  resultPrefix: string,
  more: {
    leaseMs?: number;
    attempt?: number;
    alreadyMaterialized?: PortResult[];
    executionId?: string;
    planDigest?: string;
    cache?: CacheUse;
    usual?: OperatorStatistics[];
  } = {},
): ExecutionSpec {
  return {
    executionId: more.executionId ?? newExecutionId(),
    projectId: "test",
    workflowId: "workflow",
    workflowVersion: 1,
    attempt: more.attempt ?? 1,
    epoch: 1n,
    plan: physicalPlanToWire(plan),
    planDigest: more.planDigest ?? planDigest(plan),
    resultPrefix,
    lastRun: [],
    leaseMs: more.leaseMs ?? 5_000,
    alreadyMaterialized: more.alreadyMaterialized ?? [],
    cache: more.cache ?? { mode: CacheMode.CACHE_MODE_USE, operators: {} },
    usual: more.usual ?? [],
  };
}
