import { expect } from "chai";
import { exampleRows } from "../../../src/core/operators/example-rows.js";
import { readPattern } from "../../../src/core/operators/regex-pattern.js";
import type { Json, Properties } from "../../../src/core/plan.js";
import { type OperatorRuns, operatorRuns } from "../../support/operator-runs.js";

const TEXTS = exampleRows({ id: "long", t: "string" }, [1, "a=1; b=22"], [2, "b=7"], [3, ""], [4, null]);

describe("regular expressions", function () {
  this.timeout(60_000);
  let runs: OperatorRuns;
  before(async () => {
    runs = await operatorRuns();
  });
  after(() => runs.close());

  async function rowsOf(type: string, properties: Properties) {
    const [output] = await runs.queried(type, { column: "t", ...properties }, [TEXTS]);
    return [output!.schema.map(({ name, type: of }) => `${name}: ${of}`).join(", "), ...output!.rows];
  }
  const findings = (type: string, properties: Properties) =>
    runs.findings(type, { column: "t", ...properties }, [TEXTS]);

  it("count the groups of a pattern as RE2 does", () => {
    const groups: [string, (string | undefined)[]][] = [
      ["(a)(?:b)(?i)(?P<x>c)(?<y>d)", [undefined, "x", "y"]],
      ["\\((a)\\)", [undefined]],
      ["[(](a)[^)(](b)[]()](c)[[:alpha:](](d)", [undefined, undefined, undefined, undefined]],
      ["\\Q(a)\\E(b)", [undefined]],
      ["no group", []],
    ];
    for (const [text, expected] of groups) expect(readPattern(text).groups, text).to.deep.equal(expected);
    expect(readPattern("(?<y>'d')(?P<z>e)\\(?<no>").sql).to.equal("'(?P<y>''d'')(?P<z>e)\\(?<no>'");
  });

  it("extract by number and by name, null where nothing matches", async () => {
    const columns: Json[] = [
      { name: "whole", group: 0 },
      { name: "key", group: "k" },
      { name: "v", group: 2, type: "long" },
    ];
    expect(await rowsOf("regex-extract", { pattern: "(?P<k>[a-z])=(\\d+)", columns })).to.deep.equal([
      "id: long, t: string, whole: string, key: string, v: long",
      [1, "a=1; b=22", "a=1", "a", 1],
      [2, "b=7", "b=7", "b", 7],
      [3, "", null, null, null],
      [4, null, null, null, null],
    ]);
  });

  it("extract every named group when no columns are listed, and may replace the text", async () => {
    expect((await rowsOf("regex-extract", { pattern: "(?<T>b=.*)" })).slice(0, 3)).to.deep.equal([
      "id: long, t: string",
      [1, "b=22"],
      [2, "b=7"],
    ]);
  });

  it("split into rows, keeping rows without text", async () => {
    expect(await rowsOf("regex-split", { pattern: ";\\s*", position: "n" })).to.deep.equal([
      "id: long, t: string, n: long",
      [1, "a=1", 1],
      [1, "b=22", 2],
      [2, "b=7", 1],
      [3, "", 1],
      [4, null, 1],
    ]);
  });

  it("split into columns, as many as are named", async () => {
    const properties = { pattern: "; ", into: "columns", columns: ["first", "t"], keepText: false };
    expect(await rowsOf("regex-split", properties)).to.deep.equal([
      "id: long, first: string, t: string",
      [1, "a=1", "b=22"],
      [2, "b=7", null],
      [3, "", null],
      [4, null, null],
    ]);
  });

  it("say what is wrong with settings, patterns and columns", async () => {
    const wrong: [string, Properties, RegExp][] = [
      ["regex-extract", { pattern: "(a" }, /^pattern: The pattern has no group with a name/],
      ["regex-extract", { pattern: "(?<a>" }, /^pattern: .*missing/],
      ["regex-extract", { pattern: "(?<=x)(?<a>y)" }, /^pattern: /],
      [
        "regex-extract",
        { pattern: "(a)", columns: [{ name: "x", group: 2 }] },
        /^columns.0.group: .*no group 2; it has 1/,
      ],
      [
        "regex-extract",
        { pattern: "(a)".repeat(10), columns: [{ name: "x", group: 10 }] },
        /^columns.0.group: Group 10 cannot be taken, only those up to 9; write \(\?:…\)/,
      ],
      ["regex-extract", { pattern: "(?<a>x)", columns: [{ name: "b" }] }, /no group "b"; it has 1, with the names a/],
      ["regex-extract", { column: "id", pattern: "(?<a>x)" }, /^column: "id" is long, and only texts/],
      ["regex-extract", { column: "tt", pattern: "(?<a>x)" }, /^column: There is no column "tt"/],
      ["regex-split", { pattern: "x", columns: ["a"] }, /^columns: "columns" is for "into": "columns"/],
      ["regex-split", { pattern: "x", into: "columns" }, /^columns: Name the pieces/],
      ["regex-split", { pattern: "x", as: "ID" }, /^as: The input has a column "ID" already/],
      ["regex-split", { pattern: "*" }, /^pattern: /],
    ];
    for (const [type, properties, finding] of wrong) {
      const found = await findings(type, properties);
      expect(found, JSON.stringify(properties)).to.have.length(1);
      expect(found[0]).to.match(finding);
    }
  });
});
