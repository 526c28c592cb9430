// What Apache Texera runs for each operator type: its layers (physical operators), their ports, which outputs block and
// which inputs wait for others. A type that is not listed runs as one layer with the ports of its drawing.
import type { ExportedOperator } from "./exported-workflow.js";
import { isStreamingType } from "./streaming-types.js";

/** One physical operator of a logical one. Ports are by number. */
export interface Layer {
  /** "main" unless there are several. */
  name: string;
  /** For each input port the input ports of this layer that must be read to their end before it. */
  inputs: { dependsOn: readonly number[] }[];
  /** A blocking output gives its first row after its last one came in. */
  outputs: { blocking: boolean }[];
}

/** A port of one of the layers. */
export interface LayerPort {
  layer: string;
  port: number;
}

export interface OperatorLayers {
  /** Each after what it reads. */
  layers: Layer[];
  /** Links between the layers. */
  inner: { from: LayerPort; to: LayerPort }[];
  /** Where the drawn input ports are, by number. */
  inputs: LayerPort[];
  /** Where the drawn output ports are, by number. */
  outputs: LayerPort[];
  /** False for a type that is planned by its ports alone because nothing else is known about it. */
  known: boolean;
}

const streaming = { blocking: false };
const blocking = { blocking: true };
const independent = { dependsOn: [] };

const HASH_JOIN: OperatorLayers = {
  layers: [
    { name: "build", inputs: [independent], outputs: [blocking] },
    { name: "probe", inputs: [independent, { dependsOn: [0] }], outputs: [streaming] },
  ],
  inner: [{ from: { layer: "build", port: 0 }, to: { layer: "probe", port: 0 } }],
  inputs: [
    { layer: "build", port: 0 },
    { layer: "probe", port: 1 },
  ],
  outputs: [{ layer: "probe", port: 0 }],
  known: true,
};

const AGGREGATE: OperatorLayers = {
  layers: [
    { name: "localAgg", inputs: [independent], outputs: [streaming] },
    { name: "globalAgg", inputs: [independent], outputs: [blocking] },
  ],
  inner: [{ from: { layer: "localAgg", port: 0 }, to: { layer: "globalAgg", port: 0 } }],
  inputs: [{ layer: "localAgg", port: 0 }],
  outputs: [{ layer: "globalAgg", port: 0 }],
  known: true,
};

const EXPANDED: ReadonlyMap<string, OperatorLayers> = new Map([
  ["HashJoin", HASH_JOIN],
  ["Aggregate", AGGREGATE],
]);

const BLOCKING: ReadonlySet<string> = new Set([
  "Sort",
  "SortPartitions",
  "Distinct",
  "Intersect",
  "Difference",
  "SymmetricDifference",
]);

/** Their second input port is read after the first, whether the file says so or not. */
const SECOND_AFTER_FIRST: ReadonlySet<string> = new Set([
  "CartesianProduct",
  "IntervalJoin",
  "DualInputPortsPythonUDFV2",
  "If",
  "SklearnPrediction",
]);

/** A model leaves its training when the last row has come; its second port, if any, tests or tunes it. */
const trainsModel = (type: string): boolean =>
  (type.startsWith("Sklearn") && type !== "SklearnPrediction") || type.endsWith("Trainer");

/** The layers of an operator; a string that says what is wrong when its ports are not those of its type. */
export function layersOf(operator: ExportedOperator): OperatorLayers | string {
  const { type, inputs, outputs } = operator;
  const expanded = EXPANDED.get(type);
  if (expanded === undefined) return asDrawn(operator);
  if (inputs.length === expanded.inputs.length && outputs.length === expanded.outputs.length) return expanded;
  return `it has ${inputs.length} input and ${outputs.length} output ports where ${type} has ${expanded.inputs.length} and ${expanded.outputs.length}`;
}

function asDrawn({ type, inputs, outputs }: ExportedOperator): OperatorLayers {
  const trains = trainsModel(type);
  const blocks = trains || BLOCKING.has(type);
  const waits = trains || SECOND_AFTER_FIRST.has(type);
  const layer: Layer = {
    name: "main",
    inputs: inputs.map(({ dependsOn }, i) => ({
      dependsOn: waits && i === 1 && !dependsOn.includes(0) ? [...dependsOn, 0] : dependsOn,
    })),
    outputs: outputs.map((output) => ({ blocking: blocks || output.blocking })),
  };
  const port = (_: unknown, i: number): LayerPort => ({ layer: "main", port: i });
  return {
    layers: [layer],
    inner: [],
    inputs: inputs.map(port),
    outputs: outputs.map(port),
    known: blocks || waits || isStreamingType(type),
  };
}
