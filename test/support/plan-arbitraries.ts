// Random plans for property tests: every field and every case of every union occurs.
import fc from "fast-check";
import {
  ATTRIBUTE_TYPES,
  ENCODINGS,
  FUNCTION_CALLS,
  type Implementation,
  type Json,
  type LogicalPlan,
  MALFORMED_ROWS,
  type PartitionRule,
  type PhysicalPlan,
  PLAN_FORMAT,
  type PortKey,
  type Properties,
  type Schema,
} from "../../src/core/plan.js";

// Texts as they can be on the wire: well-formed Unicode.
const text = fc.string({ unit: "grapheme", maxLength: 12 });
const id = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,10}$/);
const int32 = fc.integer({ min: 0, max: 2 ** 31 - 1 });
const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

/** Names of settings: all but the one that is refused because it would be lost. */
export const settingName = text.filter((t) => t !== "__proto__");

const { json } = fc.letrec<{ json: Json }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.constant(null),
    fc.boolean(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => (n === 0 ? 0 : n)),
    text,
    fc.array(tie("json"), { maxLength: 3 }),
    fc.dictionary(settingName, tie("json"), { maxKeys: 3, noNullPrototype: true }),
  ),
}));
export const propertiesArbitrary: fc.Arbitrary<Properties> = fc.dictionary(settingName, json, {
  maxKeys: 4,
  noNullPrototype: true,
});

const schema: fc.Arbitrary<Schema> = fc.array(fc.record({ name: text, type: fc.constantFrom(...ATTRIBUTE_TYPES) }), {
  maxLength: 4,
});
const portKey: fc.Arbitrary<PortKey> = fc.record({
  operatorId: id,
  layer: id,
  portId: int32,
  internal: fc.boolean(),
  input: fc.boolean(),
});
const partition: fc.Arbitrary<PartitionRule> = fc.oneof(
  fc.constantFrom<PartitionRule>({ kind: "none" }, { kind: "single" }, { kind: "broadcast" }, { kind: "one-to-one" }),
  fc.record({ kind: fc.constant("hash" as const), attributes: fc.array(text, { maxLength: 3 }) }),
  fc.record({
    kind: fc.constant("range" as const),
    attributes: fc.array(text, { maxLength: 3 }),
    min: int64,
    max: int64,
  }),
);
const implementation: fc.Arbitrary<Implementation> = fc.oneof(
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
  fc.record({
    kind: fc.constant("scan" as const),
    scan: fc.record({
      datasetId: text,
      datasetName: text,
      version: int32,
      contentHash: text,
      uri: text,
      format: fc.record({
        kind: fc.constantFrom("csv" as const, "json" as const, "parquet" as const),
        delimiter: text,
        header: fc.option(fc.boolean(), { nil: undefined }),
        encoding: fc.constantFrom("" as const, ...ENCODINGS),
      }),
      rowCount: int64,
      byteCount: int64,
      fileSchema: schema,
      offset: fc.bigInt({ min: 0n, max: 2n ** 62n }),
      limit: fc.option(fc.bigInt({ min: 0n, max: 2n ** 62n }), { nil: undefined }),
      malformedRows: fc.constantFrom(...MALFORMED_ROWS),
    }),
  }),
);

/** Any logical plan the types allow; it need not make sense. */
export const logicalPlanArbitrary: fc.Arbitrary<LogicalPlan> = fc.record({
  operators: fc.array(
    fc.record({
      id,
      type: text,
      properties: propertiesArbitrary,
      displayName: text,
      disabled: fc.boolean(),
      viewResult: fc.boolean(),
    }),
    { maxLength: 5 },
  ),
  links: fc.array(fc.record({ from: id, fromPort: int32, to: id, toPort: int32 }), { maxLength: 5 }),
});

/** Any physical plan the types allow; it need not make sense. */
export const physicalPlanArbitrary: fc.Arbitrary<PhysicalPlan> = fc.record({
  format: fc.constant(PLAN_FORMAT),
  operators: fc.array(
    fc.record({
      operatorId: id,
      layer: id,
      type: text,
      properties: propertiesArbitrary,
      displayName: text,
      inputs: fc.array(
        fc.record({
          key: portKey,
          schema,
          dependsOn: fc.array(portKey, { maxLength: 2 }),
          manyLinks: fc.boolean(),
          partition,
        }),
        { maxLength: 3 },
      ),
      outputs: fc.array(
        fc.record({
          key: portKey,
          schema,
          blocking: fc.boolean(),
          mode: fc.constantFrom("set-delta" as const, "set-snapshot" as const, "single-snapshot" as const),
          materialized: fc.boolean(),
          viewed: fc.boolean(),
          subdagHash: text,
          uncacheableReason: text,
        }),
        { maxLength: 2 },
      ),
      implementation,
    }),
    { maxLength: 4 },
  ),
  links: fc.array(
    fc.record({
      id: text,
      from: portKey,
      to: portKey,
      materialized: fc.boolean(),
      why: text,
      mustMaterialize: fc.boolean(),
    }),
    {
      maxLength: 4,
    },
  ),
  regions: fc.array(
    fc.record({
      id: int32,
      level: int32,
      operators: fc.array(fc.record({ operatorId: id, layer: id }), { maxLength: 3 }),
      cached: fc.boolean(),
    }),
    { maxLength: 3 },
  ),
});
