import { expect } from "chai";
import fc from "fast-check";
import { exampleRows } from "../../../src/core/operators/example-rows.js";
import type { Json } from "../../../src/core/plan.js";
import { asSet, type OperatorRuns, operatorRuns } from "../../support/operator-runs.js";

const NAIVE: Record<string, (inFirst: boolean, inSecond: boolean) => boolean> = {
  intersect: (a, b) => a && b,
  difference: (a, b) => a && !b,
  "symmetric-difference": (a, b) => a !== b,
};

describe("set operations", function () {
  this.timeout(60_000);
  let runs: OperatorRuns;
  before(async () => {
    runs = await operatorRuns();
  });
  after(() => runs.close());

  const row = fc.tuple(fc.constantFrom(0, 1, null), fc.constantFrom("é", "", null));
  const distinctOf = (rows: Json[][]): Json[][] =>
    [...new Set(rows.map((r) => JSON.stringify(r)))].map((r) => JSON.parse(r));

  for (const [type, keeps] of Object.entries(NAIVE))
    it(`${type} gives each row once, nulls equal to nulls, columns matched by name`, () =>
      fc.assert(
        fc.asyncProperty(fc.array(row), fc.array(row), async (first, second) => {
          const [output] = await runs.queried(type, {}, [
            exampleRows({ n: "integer", s: "string" }, ...first),
            exampleRows({ S: "string", N: "long" }, ...second.map(([n, s]) => [s, n])),
          ]);
          const has = (rows: Json[][], one: Json[]) => rows.some((r) => JSON.stringify(r) === JSON.stringify(one));
          const expected = distinctOf([...first, ...second]).filter((one) => keeps(has(first, one), has(second, one)));
          expect(asSet(output!.rows)).to.deep.equal(asSet(expected));
          expect(output!.schema).to.deep.equal([
            { name: "n", type: "long" },
            { name: "s", type: "string" },
          ]);
        }),
        { numRuns: 30 },
      ));

  it("union keeps every row and distinct one of each", () =>
    fc.assert(
      fc.asyncProperty(fc.array(row), fc.array(row), async (first, second) => {
        const inputs = [first, second].map((rows) => exampleRows({ n: "integer", s: "string" }, ...rows));
        const [all] = await runs.queried("union", {}, inputs);
        expect(asSet(all!.rows)).to.deep.equal(asSet([...first, ...second]));
        const [once] = await runs.queried("distinct", {}, [all!]);
        expect(asSet(once!.rows)).to.deep.equal(asSet(distinctOf([...first, ...second])));
      }),
      { numRuns: 15 },
    ));

  it("work over columns of every type", async () => {
    const rows = exampleRows(
      {
        s: "string",
        i: "integer",
        l: "long",
        d: "double",
        b: "boolean",
        t: "timestamp",
        x: "binary",
        j: "any",
      },
      ["ü\n'\"", 1, "9007199254740993", 0.5, true, "2024-01-31T08:00:00.000001Z", "00FF", { a: [1, null] }],
      [null, null, null, null, null, null, null, null],
    );
    const written = await runs.spelt(rows);
    for (const type of ["intersect", "distinct"]) {
      const [output] = await runs.queried(type, {}, type === "distinct" ? [rows] : [rows, rows]);
      expect(output!.schema, type).to.deep.equal(rows.schema);
      expect(asSet(output!.rows), type).to.deep.equal(asSet(written.rows));
    }
    for (const type of ["difference", "symmetric-difference"])
      expect((await runs.queried(type, {}, [rows, rows]))[0]!.rows, type).to.deep.equal([]);
  });

  it("say what differs between inputs", async () => {
    const inputs = [exampleRows({ a: "string", b: "long" }), exampleRows({ a: "boolean", c: "long" })];
    expect(await runs.findings("intersect", {}, inputs)).to.deep.equal([
      ': Input 1 lacks columns of input 0: "b"; make them equal with a project or derive.',
      ': Input 1 has columns that input 0 lacks: "c"; make them equal with a project.',
      ': Column "a" is string in input 0 and boolean in input 1; convert one with a cast.',
    ]);
  });
});
