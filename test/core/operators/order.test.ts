import { expect } from "chai";
import fc from "fast-check";
import { exampleRows } from "../../../src/core/operators/example-rows.js";
import type { Json, Properties } from "../../../src/core/plan.js";
import { asSet, definitionOf, type OperatorRuns, operatorRuns } from "../../support/operator-runs.js";

/** Nulls last in either direction. */
const compare = (a: Json, b: Json, descending = false): number => {
  if (a === b) return 0;
  if (a === null) return 1;
  if (b === null) return -1;
  return a < b === descending ? 1 : -1;
};

describe("operators of order", function () {
  this.timeout(60_000);
  let runs: OperatorRuns;
  before(async () => {
    runs = await operatorRuns();
  });
  after(() => runs.close());

  const row = fc.tuple(
    fc.constantFrom("a", "b", null),
    fc.option(fc.integer({ min: 0, max: 3 }), { nil: null }),
    fc.constantFrom("x", "y", null),
  );
  const table = (rows: Json[][]) => exampleRows({ g: "string", o: "integer", v: "string" }, ...rows);
  /** By o falling, then g and v rising. */
  const inOrder = (rows: Json[][]): Json[][] =>
    [...rows].sort((a, b) => compare(a[1]!, b[1]!, true) || compare(a[0]!, b[0]!) || compare(a[2]!, b[2]!));
  const by = [{ column: "o", descending: true }];

  it("sort gives one order whatever the order before, and top-k its first rows, in all or per group", () =>
    fc.assert(
      fc.asyncProperty(fc.array(row), fc.integer({ min: 0, max: 4 }), async (rows, count) => {
        const [sorted] = await runs.queried("sort", { by }, [table(rows)]);
        expect(sorted!.rows).to.deep.equal(inOrder(rows));
        const [top] = await runs.queried("top-k", { by, count }, [table(rows)]);
        expect(top!.rows).to.deep.equal(inOrder(rows).slice(0, count));
        const [each] = await runs.queried("top-k", { by, count, groupBy: ["G"] }, [table(rows)]);
        const groups = ["a", "b", null].flatMap((g) => inOrder(rows.filter((one) => one[0] === g)).slice(0, count));
        expect(each!.rows).to.deep.equal(groups);
      }),
      { numRuns: 40 },
    ));

  it("keep their order through what leaves the columns they are sorted by", () => {
    const ordering = ["a", "b", "c"].map((column) => ({ column, descending: false }));
    const through = (type: string, properties: Properties) => {
      const read = definitionOf(type).read(properties);
      const schema = exampleRows({ a: "long", b: "long", c: "long", x: "long" }).schema;
      if (!("instance" in read)) throw new Error(JSON.stringify(read.findings));
      return read.instance.ordering([ordering], [schema])?.map(({ column }) => column);
    };
    expect(through("derive", { columns: [{ name: "y", expression: "1" }] })).to.deep.equal(["a", "b", "c"]);
    expect(through("derive", { columns: [{ name: "B", expression: "1" }] })).to.equal(undefined);
    expect(through("cast", { columns: [{ column: "x", to: "string" }] })).to.deep.equal(["a", "b", "c"]);
    expect(through("cast", { columns: [{ column: "C", to: "string" }] })).to.equal(undefined);
    expect(through("fill-nulls", { columns: [{ column: "a", value: 1 }] })).to.equal(undefined);
    expect(through("project", { rename: [{ name: "A", as: "z" }] })).to.deep.equal(["z", "b", "c"]);
    expect(through("project", { drop: ["c"] })).to.deep.equal(["a", "b"]);
    expect(through("project", { drop: ["b"] })).to.equal(undefined);
    expect(through("project", { columns: [{ name: "x" }] })).to.equal(undefined);
  });

  it("top-k says in which order its rows come, so that a limit may follow", () => {
    const read = definitionOf("top-k").read({ by, count: 1, groupBy: ["G"] });
    const ordering = "instance" in read ? read.instance.ordering([undefined], [table([]).schema]) : undefined;
    expect(ordering?.map(({ column, descending }) => `${column}${descending ? " falling" : ""}`)).to.deep.equal([
      "g",
      "o falling",
      "v",
    ]);
  });

  it("window gives what a loop over each partition gives, whatever the order of the rows", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(row),
        fc.integer({ min: 0, max: 2 }),
        fc.integer({ min: 0, max: 2 }),
        async (rows, before, after) => {
          const functions = [
            { function: "row_number", as: "number" },
            { function: "rank", as: "rank" },
            { function: "dense_rank", as: "dense" },
            { function: "lag", column: "v", as: "lag" },
            { function: "lead", column: "v", offset: 2, as: "lead" },
            { function: "sum", column: "o", as: "sum", frame: { preceding: before, following: after } },
            { function: "count", column: "o", as: "count", frame: { following: 0 } },
            { function: "max", column: "o", as: "max" },
            { function: "count", as: "all" },
          ];
          const properties = { partitionBy: ["g"], orderBy: by, functions };
          const [output] = await runs.queried("window", properties, [table(rows)]);
          const expected = ["a", "b", null].flatMap((g) => {
            const part = inOrder(rows.filter((one) => one[0] === g));
            const numbers = (some: Json[][]) => some.map((one) => one[1]).filter((o) => typeof o === "number");
            return part.map((one, i) => {
              const smaller = part.filter((other) => compare(other[1]!, one[1]!, true) < 0);
              const framed = numbers(part.slice(Math.max(0, i - before), i + after + 1));
              const all = numbers(part);
              return [
                ...one,
                i + 1,
                smaller.length + 1,
                new Set(smaller.map((other) => other[1])).size + 1,
                part[i - 1]?.[2] ?? null,
                part[i + 2]?.[2] ?? null,
                framed.length > 0 ? framed.reduce((a, b) => a + b, 0) : null,
                numbers(part.slice(0, i + 1)).length,
                all.length > 0 ? Math.max(...all) : null,
                part.length,
              ];
            });
          });
          expect(asSet(output!.rows)).to.deep.equal(asSet(expected));
        },
      ),
      { numRuns: 40 },
    ));

  it("window keeps its columns' types, and works without partitions or order", async () => {
    const functions = [
      { function: "sum", column: "o", as: "total" },
      { function: "avg", column: "o", as: "mean" },
      { function: "min", column: "v", as: "least" },
    ];
    const [output] = await runs.queried("window", { functions }, [
      table([
        ["a", 1, "ü"],
        [null, 4, "b"],
      ]),
    ]);
    expect(output!.schema.slice(3).map(({ type }) => type)).to.deep.equal(["long", "double", "string"]);
    expect(output!.rows.map((one) => one.slice(3))).to.deep.equal([
      [5, 2.5, "b"],
      [5, 2.5, "b"],
    ]);
    expect((await runs.queried("window", { functions }, [table([])]))[0]!.rows).to.deep.equal([]);
  });

  it("window says what is wrong with its functions", async () => {
    const refused = (properties: Record<string, unknown>) => runs.findings("window", properties, [table([])]);
    expect(
      await refused({
        functions: [
          { function: "lag", as: "a" },
          { function: "rank", column: "o", as: "b" },
          { function: "count", as: "c", frame: { preceding: 1 } },
        ],
      }),
    ).to.deep.equal([
      'functions.0.column: lag needs a "column".',
      'orderBy: lag needs an order; name its columns in "orderBy".',
      'functions.1.column: rank takes no "column", only lag, lead, sum, avg, min, max, count can; leave it out.',
      'orderBy: rank needs an order; name its columns in "orderBy".',
      'orderBy: A frame of some rows needs an order; name its columns in "orderBy".',
    ]);
    expect(await refused({ functions: [{ function: "sum", column: "v", as: "G" }] })).to.deep.equal([
      'functions.0.as: There is a column "G" already; choose another name.',
    ]);
    expect(await refused({ functions: [{ function: "sum", column: "v", as: "x" }] })).to.deep.equal([
      'functions.0.column: sum needs numbers and "v" is string; convert it with a cast first.',
    ]);
    expect(await refused({ functions: [{ function: "count", as: "x", frame: { preceding: -1 } }] })).to.deep.equal([
      'functions.0.frame.preceding: "preceding" must be at least 0; it is -1.',
    ]);
  });
});
