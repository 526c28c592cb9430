import { expect } from "chai";
import fc from "fast-check";
import { exampleRows } from "../../../src/core/operators/example-rows.js";
import type { Json } from "../../../src/core/plan.js";
import { asSet, type OperatorRuns, operatorRuns } from "../../support/operator-runs.js";

describe("aggregate", function () {
  this.timeout(60_000);
  let runs: OperatorRuns;
  before(async () => {
    runs = await operatorRuns();
  });
  after(() => runs.close());

  const one = async (call: Record<string, unknown>, ...rows: Json[][]): Promise<Json> => {
    const input = exampleRows({ n: "long", s: "string", o: "integer" }, ...rows);
    const [output] = await runs.queried("aggregate", { aggregates: [{ ...call, as: "x" }] }, [input]);
    expect(output!.rows).to.have.length(1);
    return output!.rows[0]![0]!;
  };

  it("gives what a loop over the rows gives, per group, a null being a group", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom("a", "b", null), fc.option(fc.integer({ min: -9, max: 9 }), { nil: null }))),
        async (rows) => {
          const names = ["count", "sum", "avg", "min", "max", "count_distinct", "median", "variance", "concat"];
          const aggregates = [
            { function: "count", as: "rows" },
            ...names.map((name) => ({ function: name, column: "n", as: name })),
          ];
          const input = exampleRows({ g: "string", n: "integer" }, ...rows);
          const [output] = await runs.queried("aggregate", { groupBy: ["g"], aggregates }, [input]);
          const groups = [...new Set(rows.map(([g]) => g))];
          const expected = groups.map((g) => {
            const all = rows.filter((row) => row[0] === g).map((row) => row[1]);
            const values = all.filter((n) => n !== null).sort((a, b) => a - b);
            const has = values.length > 0;
            const sum = values.reduce((total, n) => total + n, 0);
            const mean = sum / values.length;
            const middle = (values[(values.length - 1) >> 1]! + values[values.length >> 1]!) / 2;
            const squares = values.reduce((total, n) => total + (n - mean) ** 2, 0);
            return [
              g,
              all.length,
              values.length,
              has ? sum : null,
              has ? Number(mean.toPrecision(12)) : null,
              values[0] ?? null,
              values.at(-1) ?? null,
              new Set(values).size,
              has ? middle : null,
              values.length > 1 ? Number((squares / (values.length - 1)).toPrecision(12)) : null,
              has ? values.join(",") : null,
            ];
          });
          const close = (all: Json[][]) =>
            asSet(all.map((row) => row.map((v) => (typeof v === "number" ? Number(v.toPrecision(9)) : v))));
          expect(close(output!.rows)).to.deep.equal(close(expected));
        },
      ),
      { numRuns: 40 },
    ));

  it("gives one row without groups, and none with groups, when there are no rows", async () => {
    expect(await one({ function: "count" })).to.equal(0);
    for (const name of ["sum", "avg", "min", "median", "stddev", "concat"])
      expect(await one({ function: name, column: "n" }), name).to.equal(null);
    const input = exampleRows({ n: "long" });
    expect((await runs.queried("aggregate", { groupBy: ["n"] }, [input]))[0]!.rows).to.deep.equal([]);
  });

  it("computes percentiles between values, and of timestamps", async () => {
    const rows = [[10], [20], [30], [null], [40]].map(([n]) => [n!, null, null]);
    expect(await one({ function: "percentile", column: "n", percent: 25 }, ...rows)).to.equal(17.5);
    expect(await one({ function: "percentile", column: "n", percent: 100 }, ...rows)).to.equal(40);
    const times = exampleRows({ t: "timestamp" }, ["2024-01-01T00:00:00Z"], ["2024-01-03T00:00:00Z"]);
    const [output] = await runs.queried("aggregate", { aggregates: [{ function: "median", column: "t", as: "m" }] }, [
      times,
    ]);
    expect(output).to.deep.equal(exampleRows({ m: "timestamp" }, ["2024-01-02T00:00:00Z"]));
  });

  it("takes first, last and concatenated values in the order named, ties by the value itself", async () => {
    const rows = fc.sample(
      fc.shuffledSubarray(
        [
          [1, "b", 1],
          [2, "a", 1],
          [3, null, 2],
          [4, "ü", 3],
        ] as Json[][],
        { minLength: 4 },
      ),
      6,
    );
    const orderBy = [{ column: "o" }];
    for (const shuffled of rows) {
      expect(await one({ function: "first", column: "s", orderBy }, ...shuffled)).to.equal("a");
      expect(await one({ function: "last", column: "s", orderBy }, ...shuffled)).to.equal("ü");
      expect(
        await one({ function: "last", column: "n", orderBy: [{ column: "o", descending: true }] }, ...shuffled),
      ).to.equal(2);
      expect(await one({ function: "concat", column: "s", separator: "'; ", orderBy }, ...shuffled)).to.equal(
        "a'; b'; ü",
      );
      expect(await one({ function: "concat", column: "n" }, ...shuffled)).to.equal("1,2,3,4");
    }
    expect(
      await one({ function: "first", column: "s", orderBy: [{ column: "n" }] }, [1, null, 1], [2, "x", 1]),
    ).to.equal(null);
  });

  it("sums whole numbers exactly, and doubles the same every time when asked to", async () => {
    expect(await one({ function: "sum", column: "n" }, ["9007199254740993", null, null], [1, null, null])).to.equal(
      "9007199254740994",
    );
    const [sql] = await runs.statements(
      "aggregate",
      { aggregates: [{ function: "sum", column: "d", as: "x", exact: true }] },
      [exampleRows({ d: "double" })],
    );
    expect(sql).to.include('sum(input0."d" ORDER BY input0."d")');
  });

  it("says which function needs or takes which setting", async () => {
    const aggregates = [
      { function: "sum", as: "a" },
      { function: "percentile", column: "n", as: "b" },
      { function: "first", column: "n", as: "c" },
      { function: "min", column: "n", as: "d", separator: ";" },
      { function: "count", as: "A" },
    ];
    const input = [exampleRows({ n: "long", s: "string", x: "binary" })];
    expect(await runs.findings("aggregate", { aggregates }, input)).to.deep.equal([
      'aggregates.4.as: The column name "A" is used twice; choose another.',
      'aggregates.0.column: sum needs a "column".',
      'aggregates.1.percent: percentile needs "percent".',
      'aggregates.2.orderBy: first needs "orderBy".',
      'aggregates.3.separator: min takes no "separator", only concat can; leave it out.',
    ]);
    const wrong = [
      { function: "avg", column: "s", as: "a" },
      { function: "median", column: "s", as: "b" },
      { function: "concat", column: "x", as: "c" },
    ];
    expect(await runs.findings("aggregate", { aggregates: wrong }, input)).to.deep.equal([
      'aggregates.0.column: avg needs numbers and "s" is string; convert it with a cast first.',
      'aggregates.1.column: median needs numbers or timestamps and "s" is string; convert it with a cast first.',
      'aggregates.2.column: concat needs texts and "x" is binary; convert it with a cast first.',
    ]);
  });
});
