import { expect } from "chai";
import { z } from "zod";
import { OPERATOR_TYPES } from "../../../src/core/operators/catalogue.js";
import type { ExampleRows, OperatorDefinition } from "../../../src/core/operators/operator.js";
import { ROW_PRESERVING_TYPES } from "../../../src/core/operators/row-preserving.js";
import { asSet, type OperatorRuns, operatorRuns } from "../../support/operator-runs.js";

describe("examples of operators", function () {
  this.timeout(60_000);
  let runs: OperatorRuns;
  before(async () => {
    runs = await operatorRuns();
  });
  after(() => runs.close());

  for (const definition of OPERATOR_TYPES.values())
    it(`${definition.type} does what its example says, in the engine`, async () => {
      const { properties, inputs, outputs } = definition.example;
      const results = await runs.run(definition.type, properties, inputs);
      expect(results.map(({ schema }) => schema)).to.deep.equal(outputs.map(({ schema }) => schema));
      for (const [port, expected] of outputs.entries()) {
        const { rows } = await runs.spelt(expected);
        const arrange = isOrdered(definition) ? (all: ExampleRows["rows"]) => all : asSet;
        expect(arrange(results[port]!.rows), `output ${port}`).to.deep.equal(arrange(rows));
      }
    });

  /** Types that are one query, and whose results are not left to chance. */
  const determined = [...OPERATOR_TYPES.values()].filter(({ example, read }) => {
    const result = read(example.properties);
    if (!("instance" in result) || result.instance.body.kind !== "query") return false;
    return result.instance.nondeterminism(example.inputs.map(() => undefined)) === undefined;
  });

  it("give the same rows whatever the order of their inputs, on one thread and on four", async () => {
    for (const { type, example } of determined) {
      const reversed = example.inputs.map(({ schema, rows }) => ({ schema, rows: rows.toReversed() }));
      const one = await runs.queried(type, example.properties, example.inputs, 1);
      const other = await runs.queried(type, example.properties, reversed, 4);
      for (const [port, { rows }] of one.entries())
        expect(asSet(other[port]!.rows), `${type}, output ${port}`).to.deep.equal(asSet(rows));
    }
  });

  it("give the same columns when there are no rows", async () => {
    for (const { type, example } of determined) {
      const empty = example.inputs.map(({ schema }) => ({ schema, rows: [] }));
      const outputs = await runs.queried(type, example.properties, empty);
      expect(
        outputs.map(({ schema }) => schema),
        type,
      ).to.deep.equal(example.outputs.map(({ schema }) => schema));
    }
  });

  it("are small enough to read", () => {
    for (const { type, example } of OPERATOR_TYPES.values())
      for (const { rows, schema } of [...example.inputs, ...example.outputs]) {
        expect(rows.length, type).to.be.at.most(8);
        expect(schema.length, type).to.be.at.most(8);
        for (const row of rows) expect(row.length, type).to.equal(schema.length);
      }
  });

  it("keep the executor's list of operators that preserve rows and the definitions the same", () => {
    const preserving = [...OPERATOR_TYPES.values()].filter(({ preservesRows }) => preservesRows);
    expect(preserving.map(({ type }) => type)).to.have.members([...ROW_PRESERVING_TYPES]);
    for (const { type, example } of preserving)
      expect(example.outputs[0]!.rows.length, type).to.equal(example.inputs[0]!.rows.length);
  });

  it("say for every setting what it means", () => {
    for (const { type, settings } of OPERATOR_TYPES.values())
      expect(settingsWithoutWords(settings), `settings of ${type} without describe()`).to.deep.equal([]);
  });
});

function isOrdered({ example, read }: OperatorDefinition): boolean {
  const result = read(example.properties);
  if (!("instance" in result)) return false;
  const schemas = example.inputs.map(({ schema }) => schema);
  return (
    result.instance.ordering(
      schemas.map(() => undefined),
      schemas,
    ) !== undefined
  );
}

interface JsonSchema {
  description?: string;
  properties?: Record<string, JsonSchema>;
  items?: JsonSchema;
}

function settingsWithoutWords(settings: OperatorDefinition["settings"]): string[] {
  const walk = (schema: JsonSchema, path: string): string[] => [
    ...(path === "" || schema.description || path.endsWith("[]") ? [] : [path]),
    ...Object.entries(schema.properties ?? {}).flatMap(([name, of]) => walk(of, path ? `${path}.${name}` : name)),
    ...(schema.items?.properties ? walk(schema.items, `${path}[]`) : []),
  ];
  return walk(z.toJSONSchema(settings, { io: "input" }) as JsonSchema, "");
}
