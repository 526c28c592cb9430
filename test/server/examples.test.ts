import { readdirSync, readFileSync } from "node:fs";
import { expect } from "chai";
import { compile } from "../../src/core/compile.js";
import { parseLogicalPlan } from "../../src/core/logical-plan.js";
import { OPERATOR_TYPES } from "../../src/core/operators/catalogue.js";
import type { DatasetScan, LogicalPlan } from "../../src/core/plan.js";
import { planDigest } from "../../src/rpc/plan-codec.js";
import { createSchemaBinder, type SchemaBinder } from "../../src/server/binding/schema-binder.js";
import { columns, dataset } from "../support/plans.js";

const EXAMPLES = new URL("../../examples/", import.meta.url);
const GUIDE = new URL("../../docs/workflows.md", import.meta.url);

const files = readdirSync(EXAMPLES).filter((name) => name.endsWith(".json"));
const guide = readFileSync(GUIDE, "utf8");
/** Every block of the guide that shows a whole workflow, and every one that shows an operator. */
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

  it("show every operator type", () => {
    const types = files.flatMap((name) =>
      read(JSON.parse(readFileSync(new URL(name, EXAMPLES), "utf8"))).operators.map((o) => o.type),
    );
    expect([...OPERATOR_TYPES.keys()].filter((type) => !types.includes(type))).to.deep.equal([]);
  });

  it("in the guide compile, and show the settings of every operator type", async () => {
    const workflows = blocks.filter((block) => "operators" in block).map(read);
    expect(workflows).not.to.have.length(0);
    for (const plan of workflows) expect((await compiled(plan)).diagnostics).to.deep.equal([]);
    const shown = blocks.filter((block) => "type" in block) as { type: string; properties: Record<string, never> }[];
    for (const { type, properties } of shown)
      expect(OPERATOR_TYPES.get(type)!.read(properties), type).not.to.have.property("findings");
    expect([...OPERATOR_TYPES.keys()].filter((type) => !shown.some((block) => block.type === type))).to.deep.equal([]);
  });

  it("name in the guide every property of every operator type", () => {
    for (const { type, settings } of OPERATOR_TYPES.values()) {
      const section = guide.split(/^### /m).find((part) => part.startsWith(`${type}\n`)) ?? "";
      const names = Object.keys((settings as unknown as { shape: object }).shape);
      for (const name of names) expect(section, `${type}.${name}`).to.contain(`\`${name}\``);
    }
  });
});
