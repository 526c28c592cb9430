import { expect } from "chai";
import { datasetsBehind } from "../../src/core/datasets-behind.js";
import { globalPortId } from "../../src/core/plan.js";
import { columns, outputKey, planOf, query, scan } from "../support/physical-plans.js";

describe("datasetsBehind", () => {
  const schema = columns("id:long");
  const source = (id: string, datasetId: string, version: number) =>
    scan(id, schema, { uri: `file:///${id}.csv`, datasetId, version });
  const plan = planOf(
    [
      source("a", "d2", 3),
      source("b", "d1", 1),
      source("c", "d2", 3),
      query("both", "join", [schema, schema], "", schema),
      query("all", "union", [schema, schema], "", schema),
    ],
    ["a>both:0", "b>both:1", "both>all:0", "c>all:1"],
  );
  const behind = (operatorId: string) => datasetsBehind(plan).get(globalPortId(outputKey(operatorId)));

  it("names the version a scan reads", () => {
    expect(behind("a")).to.deep.equal(["d2@3"]);
  });

  it("names each version behind a result once, sorted", () => {
    expect(behind("both")).to.deep.equal(["d1@1", "d2@3"]);
    expect(behind("all")).to.deep.equal(["d1@1", "d2@3"]);
  });
});
