import { expect } from "chai";
import { exampleRows } from "../../../src/core/operators/example-rows.js";
import type { Json, Properties } from "../../../src/core/plan.js";
import { type OperatorRuns, operatorRuns } from "../../support/operator-runs.js";

const LISTS = exampleRows(
  { id: "long", list: "any", text: "string" },
  [1, [1, "x", null], '["a"]'],
  [2, [], "[]"],
  [3, null, null],
  [4, 7, '{"k": 1}'],
);
const OBJECTS = exampleRows(
  { id: "long", o: "any" },
  [1, { name: "ann", age: 41, "a/b~c": true, at: "2024-01-31T08:00:00+02:00", tags: ["x"] }],
  [2, { name: null }],
  [3, null],
);

describe("unnest", function () {
  this.timeout(60_000);
  let runs: OperatorRuns;
  before(async () => {
    runs = await operatorRuns();
  });
  after(() => runs.close());

  async function rowsOf(properties: Properties, input = LISTS) {
    const [output] = await runs.queried("unnest", properties, [input]);
    return [output!.schema.map(({ name, type }) => `${name}: ${type}`).join(", "), ...output!.rows];
  }

  it("makes a row of each element; what is no list is a list of one", async () => {
    expect(await rowsOf({ column: "list", position: "n" })).to.deep.equal([
      "id: long, list: any, text: string, n: long",
      [1, 1, '["a"]', 1],
      [1, "x", '["a"]', 2],
      [1, null, '["a"]', 3],
      [4, 7, '{"k": 1}', 1],
    ]);
  });

  it("takes texts that hold JSON, types elements and may keep rows without any", async () => {
    expect(await rowsOf({ column: "TEXT", as: "e", type: "string", keepEmpty: true, position: "n" })).to.deep.equal([
      "id: long, list: any, text: string, e: string, n: long",
      [1, [1, "x", null], '["a"]', "a", 1],
      [2, [], "[]", null, null],
      [3, null, null, null, null],
      [4, 7, '{"k": 1}', '{"k":1}', 1],
    ]);
  });

  it("makes columns of an object's members, whatever their names", async () => {
    const fields: Json[] = [
      { name: "name", type: "string" },
      { name: "age", type: "integer" },
      { name: "a/b~c", as: "flag", type: "boolean" },
      { name: "at", type: "timestamp" },
      { name: "tags" },
    ];
    expect(await rowsOf({ column: "o", into: "columns", fields, keepColumn: false }, OBJECTS)).to.deep.equal([
      "id: long, name: string, age: integer, flag: boolean, at: timestamp, tags: any",
      [1, "ann", 41, true, "2024-01-31T06:00:00Z", ["x"]],
      [2, null, null, null, null, null],
      [3, null, null, null, null, null],
    ]);
  });

  it("ends a run over an element that is not of the type", async () => {
    let said = "";
    await runs.queried("unnest", { column: "list", type: "long" }, [LISTS]).catch((error: Error) => {
      said = error.message;
    });
    expect(said).to.match(/Could not convert string 'x'/);
  });

  it("says what is wrong with its settings", async () => {
    const wrong: [Properties, RegExp][] = [
      [{ column: "id" }, /^column: "id" is long; only lists and objects/],
      [{ column: "list", as: "ID" }, /^as: The input has a column "ID"/],
      [{ column: "list", position: "text" }, /^position: The input has a column/],
      [{ column: "list", as: "a", position: "A" }, /used twice/],
      [{ column: "list", fields: [{ name: "a" }] }, /^fields: /],
      [{ column: "list", into: "columns" }, /^fields: Name the members/],
      [{ column: "list", into: "columns", fields: [{ name: "id" }] }, /^fields.0.name: The input has a column/],
      [{ column: "list", into: "columns", fields: [{ name: "a" }], keepEmpty: true }, /^keepEmpty: /],
    ];
    for (const [properties, finding] of wrong) {
      const found = await runs.findings("unnest", properties, [LISTS]);
      expect(found, JSON.stringify(properties)).to.have.length(1);
      expect(found[0]).to.match(finding);
    }
  });
});
