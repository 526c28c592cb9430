import { readdirSync, readFileSync } from "node:fs";
import { expect } from "chai";
import { compile } from "../../src/core/compile.js";
import { parseLogicalPlan } from "../../src/core/logical-plan.js";
import { OPERATOR_TYPES } from "../../src/core/operators/catalogue.js";
import type { DatasetScan, LogicalPlan } from "../../src/core/plan.js";
import { operatorsPage } from "../../src/dev/operators-page.js";
import { planDigest } from "../../src/rpc/plan-codec.js";
import { createSchemaBinder, type SchemaBinder } from "../../src/server/binding/schema-binder.js";
import { columns, dataset } from "../support/plans.js";

const EXAMPLES = new URL("../../examples/", import.meta.url);
const GUIDE = new URL("../../docs/workflows.md", import.meta.url);
const OPERATORS = new URL("../../docs/operators.md", import.meta.url);

const files = readdirSync(EXAMPLES).filter((name) => name.endsWith(".json"));
const guide = readFileSync(GUIDE, "utf8");
/** Every block of the guide that shows JSON. */
const blocks = [...guide.matchAll(/```json\n(.*?)```/gs)].map((match) => JSON.parse(match[1]!) as object);

// The columns these files have (package vega-datasets: flights-3m.parquet, airports.csv, weather.csv).
const DATASETS: DatasetScan[] = [
  dataset("flights", columns("date: timestamp, delay: long, distance: long, origin: string, destination: string")),
  dataset(
    "airports",
    columns(
      "iata: string, name: string, city: string, state: string, country: string, latitude: double, longitude: double",
    ),
  ),
  dataset(
    "weather",
    columns(
      "location: string, date: timestamp, precipitation: double, temp_max: double, temp_min: double, wind: double, weather: string",
    ),
  ),
];

function read(json: unknown): LogicalPlan {
  const plan = parseLogicalPlan(json);
  if ("diagnostics" in plan) throw new Error(JSON.stringify(plan.diagnostics));
  return plan.plan;
}

describe("examples", () => {
  let binder: SchemaBinder;
  before(async () => {
    binder = await createSchemaBinder();
  });
  after(() => binder.close());

  const compiled = (plan: LogicalPlan) =>
    compile(plan, {
      resolveDataset: async (reference) => DATASETS.find(({ datasetName }) => datasetName === reference.split("@")[0]),
      bindSchemas: binder.bindSchemas,
      planDigest,
    });

  for (const name of files)
    it(`${name} compiles without a finding`, async () => {
      const plan = read(JSON.parse(readFileSync(new URL(name, EXAMPLES), "utf8")));
      expect((await compiled(plan)).diagnostics).to.deep.equal([]);
    });

  it("in the guide compile", async () => {
    const workflows = blocks.filter((block) => "operators" in block).map(read);
    expect(workflows).not.to.have.length(0);
    for (const plan of workflows) expect((await compiled(plan)).diagnostics).to.deep.equal([]);
  });

  it("in the list of operators are those of the definitions: make operators writes them", () => {
    const page = readFileSync(OPERATORS, "utf8");
    expect(page === operatorsPage([...OPERATOR_TYPES.values()])).to.equal(true);
    const shown = [...page.matchAll(/```json\n(.*?)```/gs)].map((match) => JSON.parse(match[1]!) as { type: string });
    expect(shown.map(({ type }) => type)).to.have.members([...OPERATOR_TYPES.keys()]);
  });

  it("in the list of operators name every setting of every type, and the guide leads to each type", () => {
    const page = readFileSync(OPERATORS, "utf8");
    for (const { type, settings } of OPERATOR_TYPES.values()) {
      const section = page.split(/^### /m).find((part) => part.startsWith(`${type}\n`)) ?? "";
      const names = Object.keys((settings as unknown as { shape: object }).shape);
      for (const name of names) expect(section, `${type}.${name}`).to.contain(`\`${name}\``);
      expect(guide).to.contain(`[${type}](operators.md#${type})`);
    }
  });
});
