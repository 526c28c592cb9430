import { expect } from "chai";
import fc from "fast-check";
import { LogicalPlan } from "../../src/contract/postern/v1/plan.js";
import { parseLogicalPlan } from "../../src/core/logical-plan.js";
import { logicalPlanToWire } from "../../src/rpc/plan-codec.js";
import { logicalPlanArbitrary } from "../support/plan-arbitraries.js";

const findings = (json: unknown): string[] => {
  const read = parseLogicalPlan(json);
  return "plan" in read ? [] : read.diagnostics.map((d) => `${d.operatorId}|${d.property}|${d.message}`);
};

describe("parseLogicalPlan", () => {
  it("fills in what people leave out", () => {
    const read = parseLogicalPlan({
      operators: [
        { id: "a", type: "scan", properties: { dataset: "flights" } },
        { id: "b", type: "distinct", display_name: "Once", viewResult: true, disabled: null },
      ],
      links: [{ from: "a", to: "b", to_port: "0" }],
    });
    expect(read).to.deep.equal({
      plan: {
        operators: [
          {
            id: "a",
            type: "scan",
            properties: { dataset: "flights" },
            displayName: "",
            disabled: false,
            viewResult: false,
          },
          { id: "b", type: "distinct", properties: {}, displayName: "Once", disabled: false, viewResult: true },
        ],
        links: [{ from: "a", fromPort: 0, to: "b", toPort: 0 }],
      },
    });
    expect(parseLogicalPlan({})).to.deep.equal({ plan: { operators: [], links: [] } });
  });

  it("reads the proto3 JSON of every plan whose operators and links are named", () => {
    const named = logicalPlanArbitrary.filter((plan) => plan.operators.every((o) => o.type !== ""));
    fc.assert(
      fc.property(named, (plan) => {
        const json: unknown = JSON.parse(JSON.stringify(LogicalPlan.toJSON(logicalPlanToWire(plan))));
        expect(parseLogicalPlan(json)).to.deep.equal({ plan });
      }),
    );
  });

  it("reports everything wrong at once, misspelt fields with what was meant", () => {
    const found = findings({
      operator: [],
      operators: [
        { id: "a", typ: "scan", proprties: {} },
        "b",
        { id: 3, type: "x", properties: [], disabled: "no" },
        {},
      ],
      links: [{ from: "a", too: "b", fromPort: -1 }, null, { from: "a", to: "b", toPort: 1.5 }],
    });
    expect(found).to.deep.equal([
      '|operator|Unknown field "operator"; did you mean "operators"?',
      'a|operators.0.typ|Unknown field "typ"; did you mean "type"?',
      'a|operators.0.proprties|Unknown field "proprties"; did you mean "properties"?',
      'a|operators.0.type|"type" is missing.',
      '|operators.1|An operator is an object such as {"id": "late", "type": "filter"}; this is string "b".',
      '|operators.2.properties|"properties" must be an object; it is a list.',
      '|operators.2.id|"id" must be text in quotes; it is number 3.',
      '|operators.2.disabled|"disabled" must be true or false; it is string "no".',
      '|operators.3.id|"id" is missing.',
      '|operators.3.type|"type" is missing.',
      '|links.0.too|Unknown field "too"; did you mean "to"?',
      '|links.0.fromPort|"fromPort" must be a port number from 0; it is -1.',
      '|links.0.to|"to" is missing.',
      '|links.1|A link is an object such as {"from": "flights", "to": "late"}; this is null.',
      '|links.2.toPort|"toPort" must be a port number from 0; it is 1.5.',
    ]);
  });

  it("refuses what is no object, and lists that are none", () => {
    expect(findings([])).to.deep.equal(['||A workflow is an object with "operators" and "links"; this is a list.']);
    expect(findings("x")[0]).to.match(/this is string "x"/);
    expect(findings({ operators: {}, links: 3 })).to.deep.equal([
      '|operators|"operators" must be a list in [ ]; it is an object.',
      '|links|"links" must be a list in [ ]; it is number 3.',
    ]);
  });

  it("answers whatever JSON it is given", () => {
    fc.assert(fc.property(fc.jsonValue(), (json) => void parseLogicalPlan(json)));
  });
});
