// The execution an executor gets: a plan of two operators that makes numbers and prints a line for each, so that it has
// many events to report. It reads no file. An executor that runs no plans may report events of its own instead.
import { CacheMode, type ExecutionSpec } from "../contract/postern/v1/execution.js";
import { newExecutionId } from "../core/ids.js";
import type { OutputPort, PhysicalOperator, PhysicalPlan, PortKey, Schema } from "../core/plan.js";
import { physicalPlanToWire, planDigest } from "../rpc/plan-codec.js";

const NUMBERS: Schema = [{ name: "n", type: "long" }];
const PRINT_EACH = 'function processTuple(tuple) { console.log("line " + tuple.n); return tuple; }';

const key = (operatorId: string, input: boolean): PortKey => ({
  operatorId,
  layer: "main",
  portId: 0,
  internal: false,
  input,
});

const output = (operatorId: string, materialized: boolean): OutputPort => ({
  key: key(operatorId, false),
  schema: NUMBERS,
  blocking: false,
  mode: "set-snapshot",
  materialized,
  viewed: materialized,
  subdagHash: "",
  uncacheableReason: "The plan of a conformance run is never cached.",
});

function linesPlan(lines: number): PhysicalPlan {
  const numbers: PhysicalOperator = {
    operatorId: "numbers",
    layer: "main",
    type: "range",
    properties: { count: lines },
    displayName: "numbers",
    inputs: [],
    outputs: [output("numbers", false)],
    implementation: { kind: "query", sql: `select range as n from range(1, ${lines + 1})`, furtherSql: [] },
  };
  const print: PhysicalOperator = {
    operatorId: "print",
    layer: "main",
    type: "javascript-function",
    properties: {},
    displayName: "print",
    inputs: [
      {
        key: key("print", true),
        schema: NUMBERS,
        dependsOn: [],
        manyLinks: false,
        partition: { kind: "none" },
      },
    ],
    outputs: [output("print", true)],
    implementation: {
      kind: "user-function",
      userFunction: {
        language: "javascript",
        code: PRINT_EACH,
        entryPoint: "processTuple",
        retainInputColumns: false,
        environment: {},
        call: "tuple",
      },
    },
  };
  return {
    format: 1,
    operators: [numbers, print],
    links: [
      {
        id: "link-1",
        from: key("numbers", false),
        to: key("print", true),
        materialized: false,
        why: "",
        mustMaterialize: false,
      },
    ],
    regions: [
      {
        id: 1,
        level: 0,
        cached: false,
        operators: [numbers, print].map(({ operatorId, layer }) => ({ operatorId, layer })),
      },
    ],
  };
}

/** `lines` is how many events the plan makes at least; results go below `resultPrefix`, which ends with a slash. */
export function conformanceSpec(lines: number, leaseMs: number, resultPrefix: string): ExecutionSpec {
  const plan = linesPlan(lines);
  const executionId = newExecutionId();
  return {
    executionId,
    projectId: "conformance",
    workflowId: "lines",
    workflowVersion: 1,
    attempt: 1,
    epoch: 1n,
    plan: physicalPlanToWire(plan),
    planDigest: planDigest(plan),
    resultPrefix: `${resultPrefix}${executionId}/1/`,
    lastRun: [],
    leaseMs,
    alreadyMaterialized: [],
    cache: { mode: CacheMode.CACHE_MODE_SKIP, operators: {} },
    usual: [],
  };
}
