// What imported operators do to rows, by the real engine's SQL, beside what Texera's own code does to them.
import { expect } from "chai";
import { exampleRows } from "../../src/core/operators/example-rows.js";
import type { ExampleRows } from "../../src/core/operators/operator.js";
import type { Json, LogicalOperator } from "../../src/core/plan.js";
import { readExportedWorkflow } from "../../src/core/texera/exported-workflow.js";
import { importWorkflow } from "../../src/core/texera/import-workflow.js";
import { type OperatorRuns, operatorRuns } from "../support/operator-runs.js";
import { exported } from "./exported-workflows.js";
import { SAMPLES, sample } from "./texera-samples.js";

/** The operators that one of Texera's becomes. */
function imported(type: string, properties: object): LogicalOperator[] {
  const workflow = readExportedWorkflow(exported([sample("o", type, properties)], []), "w.json");
  const { plan, operators } = importWorkflow(workflow, {
    mapped: new Map(),
    datasetFor: () => ({ dataset: "d", given: true }),
  });
  expect(operators[0]!.problem).to.equal("");
  return plan.operators;
}

describe("Operators imported from Texera", function () {
  this.timeout(60_000);
  let runs: OperatorRuns;
  before(async () => {
    runs = await operatorRuns();
  });
  after(() => runs.close());

  async function result(type: string, properties: object, ...inputs: ExampleRows[]): Promise<ExampleRows> {
    const [operator] = imported(type, properties);
    const [output] = await runs.queried(operator!.type, operator!.properties, inputs);
    return output!;
  }
  /** The first values of the rows that pass. */
  const passing = async (type: string, properties: object, input: ExampleRows): Promise<Json[]> =>
    (await result(type, properties, input)).rows.map(([first]) => first!);

  describe("Filter", () => {
    const filtered = (
      condition: string,
      value: string,
      type: "string" | "long" | "double" | "boolean",
      values: Json[],
    ) =>
      passing(
        "Filter",
        { predicates: [{ attribute: "n", condition, value }] },
        exampleRows({ n: type }, ...values.map((v) => [v])),
      );

    it("compares numbers as numbers, in texts too, and other texts as texts", async () => {
      expect(await filtered(">", "5", "long", [4, 5, 6, 10, null])).to.have.members([6, 10]);
      expect(await filtered(">", "5", "string", ["4", "10", " 6 ", "abc", "-", null])).to.have.members([
        "10",
        " 6 ",
        "abc",
      ]);
      expect(await filtered("=", "5", "string", ["5.0", "5", "05", "5x"])).to.have.members(["5.0", "5", "05"]);
      expect(await filtered("<=", "1.5", "double", [1.5, 1.6])).to.have.length(1);
    });

    it("compares with the value in the column's type", async () => {
      expect(await filtered("=", "True", "boolean", [true, false, null])).to.deep.equal([true]);
      expect(await filtered(">=", "b", "string", ["a", "b", "c", null])).to.have.members(["b", "c"]);
    });

    it("never lets a null pass but for is null", async () => {
      expect(await filtered("!=", "5", "long", [null, 5, 6])).to.have.length(1);
      expect(await filtered("is null", "", "long", [null, 5])).to.deep.equal([null]);
    });
  });

  it("KeywordSearch finds words as Lucene does: whole, in any case, next to each other in a phrase", async () => {
    const texts = ["Red green blue", "red, GREEN!", "greenish", "blue red", "it's example.com", null];
    const input = exampleRows({ t: "string" }, ...texts.map((text) => [text]));
    const found = (keyword: string) => passing("KeywordSearch", { attribute: "t", keyword }, input);
    expect(await found("green")).to.have.members(["Red green blue", "red, GREEN!"]);
    expect(await found("green blue")).to.have.members(["Red green blue", "red, GREEN!", "blue red"]);
    expect(await found("red AND blue")).to.have.members(["Red green blue", "blue red"]);
    expect(await found('"red green"')).to.have.members(["Red green blue", "red, GREEN!"]);
    expect(await found("red -green")).to.have.members(["blue red"]);
    expect(await found("example")).to.deep.equal([]);
    expect(await found("example.com")).to.have.length(1);
    expect(await found("IT'S")).to.have.length(1);
  });

  it("SubstringSearch and Regex look anywhere in the text", async () => {
    const input = exampleRows({ t: "string" }, ["Abc"], ["xabcx"], ["it's"], [null]);
    expect(await passing("SubstringSearch", { attribute: "t", substring: "AB" }, input)).to.have.members([
      "Abc",
      "xabcx",
    ]);
    expect(
      await passing("SubstringSearch", { attribute: "t", substring: "Ab", isCaseSensitive: true }, input),
    ).to.deep.equal(["Abc"]);
    expect(await passing("Regex", { attribute: "t", regex: "^a.c", caseInsensitive: true }, input)).to.deep.equal([
      "Abc",
    ]);
    expect(await passing("Regex", { attribute: "t", regex: "'s$" }, input)).to.deep.equal(["it's"]);
  });

  it("DictionaryMatcher compares whole texts, or looks for the text within the entries", async () => {
    const input = exampleRows({ t: "string" }, ["Apple"], ["app"], [""], [null]);
    const matched = async (kind: string) => {
      const properties = { Dictionary: "apple,Pear", Attribute: "t", "result attribute": "m", "Matching type": kind };
      return (await result("DictionaryMatcher", properties, input)).rows.map(([, match]) => match);
    };
    expect(await matched("Scan")).to.deep.equal([true, false, false, false]);
    expect(await matched("Substring")).to.deep.equal([true, true, false, false]);
  });

  it("UnnestString gives a row for each part that is not empty", async () => {
    const input = exampleRows({ id: "long", t: "string" }, [1, "a,,b"], [2, ""], [3, null]);
    const properties = { Delimiter: ",", Attribute: "t", "Result attribute": "part" };
    const { rows, schema } = await result("UnnestString", properties, input);
    expect(schema.map(({ name }) => name)).to.deep.equal(["id", "t", "part"]);
    expect(rows.map(([, , part]) => part)).to.have.members(["a", "b"]);
  });

  it("TextInput gives its lines in the type that was chosen", async () => {
    const { schema, rows } = await result("TextInput", {
      textInput: "1\n2\r\n3\n4",
      attributeType: "integer",
      attributeName: "n",
      fileScanOffset: 1,
      fileScanLimit: 2,
    });
    expect(schema).to.deep.equal([{ name: "n", type: "integer" }]);
    expect(rows).to.deep.equal([[2], [3]]);
  });

  describe("HashJoin", () => {
    const left = exampleRows({ id: "string", name: "string" }, ["a", "left a"], ["b", "left b"]);
    const right = exampleRows({ id: "string", name: "string", more: "long" }, ["b", "right b", 2], ["c", "right c", 3]);

    async function joined(
      joinType: string,
      on: { build: string; probe: string },
      r: ExampleRows,
    ): Promise<ExampleRows> {
      const properties = { joinType, buildAttributeName: on.build, probeAttributeName: on.probe };
      const [sql, pairs] = imported("HashJoin", properties);
      const [matched] = await runs.queried(pairs!.type, pairs!.properties, [left, r]);
      const [output] = await runs.queried(sql!.type, sql!.properties, [matched!, left, r]);
      return output!;
    }

    it("gives right rows without a partner their values by name, as Texera does", async () => {
      const { schema, rows } = await joined("right outer", { build: "id", probe: "id" }, right);
      expect(schema.map(({ name }) => name)).to.deep.equal(["id", "name", "name#@1", "more"]);
      expect(rows).to.have.deep.members([
        ["b", "left b", "right b", 2],
        ["c", "right c", null, 3],
      ]);
    });

    it("adds left rows without a partner when it is full, and drops a right key of another name", async () => {
      const key = exampleRows({ key: "string", more: "long" }, ["b", 2], ["c", 3]);
      const { schema, rows } = await joined("full outer", { build: "id", probe: "key" }, key);
      expect(schema.map(({ name }) => name)).to.deep.equal(["id", "name", "more"]);
      expect(rows).to.have.deep.members([
        ["b", "left b", 2],
        ["a", "left a", null],
        [null, null, 3],
      ]);
    });
  });

  it("LineChart puts the points of several lines together, each under its name", async () => {
    const operators = imported("LineChart", SAMPLES.LineChart!);
    const [drawn, points] = operators;
    const input = exampleRows({ m: "long", n: "long", k: "double" }, [1, 2, 0.5]);
    const [rows] = await runs.queried(points!.type, points!.properties, [input]);
    expect(rows!.rows.map(([, , line]) => line)).to.have.members(["n", "k"]);
    expect(await runs.findings(drawn!.type, drawn!.properties, [rows!])).to.deep.equal([]);
  });

  it("compile over columns of the right types, every one of them", async () => {
    const input = exampleRows({
      name: "string",
      n: "long",
      m: "long",
      k: "double",
      page: "string",
      at: "timestamp",
    });
    for (const [type, properties] of Object.entries(SAMPLES)) {
      if (type.endsWith("FileScan")) continue;
      const [operator] = imported(type, properties);
      // Two operators were tried above.
      if (imported(type, properties).length > 1) continue;
      const shape = sample("o", type);
      const findings = await runs.findings(
        operator!.type,
        operator!.properties,
        shape.inputPorts.map(() => input),
      );
      expect(
        findings.filter((finding) => !/differs|chance|Without a sort/.test(finding)),
        type,
      ).to.deep.equal([]);
    }
  });
});
