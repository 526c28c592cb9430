// Random physical plans that make sense (every link leads from an earlier operator's port to a later one's), and every
// single change of what an operator does, each with its place in the fingerprint's JSON.
import fc from "fast-check";
import { memberPath } from "../../src/core/json-differences.js";
import {
  ATTRIBUTE_TYPES,
  ENCODINGS,
  FUNCTION_CALLS,
  type Implementation,
  type Json,
  MALFORMED_ROWS,
  type PhysicalOperator,
  type PhysicalPlan,
  type PortKey,
  type Schema,
} from "../../src/core/plan.js";
import { propertiesArbitrary, settingName } from "./plan-arbitraries.js";

const text = fc.string({ unit: "grapheme", maxLength: 8 });
const schema: fc.Arbitrary<Schema> = fc.array(fc.record({ name: text, type: fc.constantFrom(...ATTRIBUTE_TYPES) }), {
  minLength: 1,
  maxLength: 4,
});
const scan: fc.Arbitrary<Implementation> = fc.record({
  kind: fc.constant("scan" as const),
  scan: fc.record({
    datasetId: text,
    datasetName: text,
    version: fc.nat(),
    contentHash: text,
    uri: text,
    format: fc.record({
      kind: fc.constantFrom("csv" as const, "json" as const, "parquet" as const),
      delimiter: text,
      header: fc.option(fc.boolean(), { nil: undefined }),
      encoding: fc.constantFrom("" as const, ...ENCODINGS),
    }),
    rowCount: fc.constant(1n),
    byteCount: fc.constant(1n),
    fileSchema: schema,
    offset: fc.bigInt({ min: 0n, max: 2n ** 62n }),
    limit: fc.option(fc.bigInt({ min: 0n, max: 2n ** 62n }), { nil: undefined }),
    malformedRows: fc.constantFrom(...MALFORMED_ROWS),
  }),
});
const inner: fc.Arbitrary<Implementation> = fc.oneof(
  fc.record({ kind: fc.constant("query" as const), sql: text, furtherSql: fc.array(text, { maxLength: 2 }) }),
  fc.record({
    kind: fc.constant("user-function" as const),
    userFunction: fc.record({
      language: fc.constantFrom("python" as const, "javascript" as const),
      code: text,
      entryPoint: text,
      retainInputColumns: fc.boolean(),
      environment: fc.dictionary(settingName, text, { maxKeys: 3, noNullPrototype: true }),
      call: fc.constantFrom(...FUNCTION_CALLS),
    }),
  }),
);

// Of the names these make, `call` alone says again what a user function says, and does not count twice.
const freeProperties = propertiesArbitrary.filter((properties) => !Object.hasOwn(properties, "call"));

const draft = fc.record({
  layer: fc.constantFrom("main", "build"),
  type: fc.constantFrom("filter", "join", "union"),
  properties: freeProperties,
  scan,
  inner,
  outputs: fc.array(fc.record({ internal: fc.boolean(), schema }), { minLength: 1, maxLength: 2 }),
  /** For each input port what feeds it, as numbers that choose an earlier operator and its port. */
  inputs: fc.array(fc.array(fc.tuple(fc.nat(), fc.nat()), { minLength: 1, maxLength: 3 }), { maxLength: 3 }),
});

/** Plans of 1 to 9 operators, `o0`, `o1`, …; each has a property of its own, so that no two do the same. */
export const soundPlanArbitrary: fc.Arbitrary<PhysicalPlan> = fc
  .array(draft, { minLength: 1, maxLength: 9 })
  .map((drafts) => {
    const operators: PhysicalOperator[] = [];
    const links: PhysicalPlan["links"] = [];
    for (const [i, { layer, type, properties, outputs, inputs, ...implementation }] of drafts.entries()) {
      const operatorId = `o${i}`;
      const key = (portId: number, input: boolean, internal = false): PortKey => ({
        operatorId,
        layer,
        portId,
        internal,
        input,
      });
      const ports = i === 0 ? [] : inputs;
      for (const [port, sources] of ports.entries())
        for (const [n, [source, output]] of sources.entries()) {
          const from = operators[source % i]!;
          links.push({
            id: `${operatorId}.${port}.${n}`,
            from: from.outputs[output % from.outputs.length]!.key,
            to: key(port, true),
            materialized: false,
            mustMaterialize: false,
            why: "",
          });
        }
      operators.push({
        operatorId,
        layer,
        type: ports.length === 0 ? "scan" : type,
        properties: { ...properties, own: i },
        displayName: "",
        inputs: ports.map((_, port) => ({
          key: key(port, true),
          schema: [],
          dependsOn: [],
          manyLinks: true,
          partition: { kind: "none" },
        })),
        outputs: outputs.map((output, port) => ({
          key: key(port, false, output.internal),
          schema: output.schema,
          blocking: false,
          mode: "set-delta",
          materialized: false,
          viewed: false,
          subdagHash: "",
          uncacheableReason: "",
        })),
        implementation: ports.length === 0 ? implementation.scan : implementation.inner,
      });
    }
    return structuredClone({ format: 1, operators, links, regions: [] });
  });

export interface LeafChange {
  operatorId: string;
  /** Where the fingerprint's JSON differs after it. */
  path: string;
  /** Changes one leaf of a plan in place. */
  change(plan: PhysicalPlan): void;
}

/** Every change of one leaf of what operators do, their settings and columns; not their links. */
export function leafChanges(plan: PhysicalPlan): LeafChange[] {
  return plan.operators.flatMap((operator, at) => {
    const { operatorId, implementation } = operator;
    const restated =
      implementation.kind === "scan"
        ? ["dataset", "columns"]
        : implementation.kind === "user-function"
          ? ["code", "environment", "retainInputColumns"]
          : [];
    const places: [path: string, steps: (string | number)[]][] = [["type", ["type"]]];
    for (const [name, value] of Object.entries(operator.properties))
      if (!restated.includes(name)) places.push(...leaves(value, memberPath("properties", name), ["properties", name]));
    for (const [i, { key, schema: columns }] of operator.outputs.entries()) {
      const label = key.internal ? `internal-${key.portId}` : String(key.portId);
      places.push(...leaves(columns as unknown as Json, `outputs.${label}`, ["outputs", i, "schema"]));
    }
    if (implementation.kind === "user-function")
      places.push(
        ...leaves(implementation.userFunction as unknown as Json, "userFunction", ["implementation", "userFunction"]),
      );
    if (implementation.kind === "scan") {
      const { contentHash, format, fileSchema } = implementation.scan;
      places.push(
        ...leaves({ contentHash, format, fileSchema } as unknown as Json, "scan", ["implementation", "scan"]),
      );
    }
    return places.map(([path, steps]) => ({
      operatorId,
      path,
      change: (of) => changeAt(of.operators[at] as unknown as Json, steps),
    }));
  });
}

type Step = string | number;

function leaves(value: Json | undefined, path: string, steps: Step[]): [string, Step[]][] {
  if (value === undefined) return [];
  if (typeof value !== "object" || value === null || Object.keys(value).length === 0) return [[path, steps]];
  const members: [Step, Json][] = Array.isArray(value) ? [...value.entries()] : Object.entries(value);
  return members.flatMap(([name, member]) => leaves(member, memberPath(path, String(name)), [...steps, name]));
}

function changeAt(root: Json, steps: Step[]): void {
  let holder = root as { [name: string]: Json };
  for (const step of steps.slice(0, -1)) holder = holder[step] as { [name: string]: Json };
  const last = steps.at(-1)!;
  Object.defineProperty(holder, last, {
    value: other(holder[last]!),
    configurable: true,
    enumerable: true,
    writable: true,
  });
}

/** Another value of the same type: one that enumerations have too, where the value is of one. */
function other(value: Json): Json {
  for (const words of [ATTRIBUTE_TYPES, ["python", "javascript"], ["csv", "json", "parquet"]] as string[][])
    if (words.includes(value as string)) return words[(words.indexOf(value as string) + 1) % words.length]!;
  if (typeof value === "string") return `${value}~`;
  if (typeof value === "boolean") return !value;
  if (typeof value === "number") return value === 7.25 ? 8.25 : 7.25;
  return "other";
}
