import { expect } from "chai";
import fc from "fast-check";
import { exampleRows } from "../../../src/core/operators/example-rows.js";
import type { Json } from "../../../src/core/plan.js";
import { asSet, type OperatorRuns, operatorRuns } from "../../support/operator-runs.js";

const KINDS = ["inner", "left", "right", "full", "semi", "anti"] as const;
type Kind = (typeof KINDS)[number];

/** Two key columns and a value on each side; the result is keys, left value, right value. */
function naiveJoin(kind: Kind, left: Json[][], right: Json[][]): Json[][] {
  const matches = (a: Json[], b: Json[]) => [0, 1].every((k) => a[k] !== null && a[k] === b[k]);
  const partners = left.map((a) => right.filter((b) => matches(a, b)));
  const pairs = left.flatMap((a, i) => partners[i]!.map((b) => [...a, b[2]!]));
  const lonely = left.filter((_, i) => partners[i]!.length === 0);
  const others = right.filter((b) => !left.some((a) => matches(a, b))).map(([k, l, v]) => [k!, l!, null, v!]);
  if (kind === "semi") return left.filter((_, i) => partners[i]!.length > 0);
  if (kind === "anti") return lonely;
  return [
    ...pairs,
    ...(kind === "left" || kind === "full" ? lonely.map((a) => [...a, null]) : []),
    ...(kind === "right" || kind === "full" ? others : []),
  ];
}

describe("join operators", function () {
  this.timeout(60_000);
  let runs: OperatorRuns;
  before(async () => {
    runs = await operatorRuns();
  });
  after(() => runs.close());

  const names = async (type: string, properties: object, left: string[], right: string[]): Promise<string[]> => {
    const side = (columns: string[]) => exampleRows(Object.fromEntries(columns.map((name) => [name, "string"])));
    const [output] = await runs.queried(type, { ...properties }, [side(left), side(right)]);
    return output!.schema.map(({ name }) => name);
  };

  it("join gives what a loop over both sides gives, for every kind, several keys, nulls and repeated rows", async () => {
    const key = fc.option(fc.integer({ min: 0, max: 2 }), { nil: null });
    const row = fc.tuple(key, key, fc.constantFrom("x", "y", null));
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...KINDS), fc.array(row), fc.array(row), async (type, left, right) => {
        const [output] = await runs.queried(
          "join",
          {
            type,
            on: [
              { left: "k", right: "K" },
              { left: "l", right: "m" },
            ],
          },
          [
            exampleRows({ k: "integer", l: "integer", v: "string" }, ...left),
            exampleRows({ k: "long", m: "double", v: "string" }, ...right),
          ],
        );
        expect(asSet(output!.rows)).to.deep.equal(asSet(naiveJoin(type, left, right)));
      }),
      { numRuns: 60 },
    );
  });

  it("join gives the schema of the left side alone for semi and anti", async () => {
    for (const type of ["semi", "anti"])
      expect(await names("join", { type, on: [{ left: "a", right: "b" }] }, ["a", "x"], ["b", "x"])).to.deep.equal([
        "a",
        "x",
      ]);
  });

  it("join puts the right side's key where a row of it has no partner, whatever the keys are called", async () => {
    const [output] = await runs.queried("join", { type: "right", on: [{ left: "a", right: "b" }] }, [
      exampleRows({ a: "string", n: "long" }),
      exampleRows({ b: "string", n: "long" }, ["é", 1], [null, 2]),
    ]);
    expect(output!.schema.map(({ name }) => name)).to.deep.equal(["a", "n", "n#@1"]);
    expect(asSet(output!.rows)).to.deep.equal(
      asSet([
        ["é", null, 1],
        [null, null, 2],
      ]),
    );
  });

  it("join names clashing columns #@1, then #@2, as an exported workflow of three joins has it", async () => {
    const on = [{ left: "Email_Arr[1]", right: "Domain" }];
    const list = ["Domain", "Email_Arr[1]"];
    const once = await names("join", { on }, ["id", "Email_Arr[1]"], list);
    const twice = await names("join", { on }, once, list);
    const thrice = await names("join", { on }, twice, list);
    expect(once).to.deep.equal(["id", "Email_Arr[1]", "Email_Arr[1]#@1"]);
    expect(thrice).to.deep.equal([...once, "Email_Arr[1]#@2", "Email_Arr[1]#@3"]);
  });

  it("join leaves a right column its name when only another right one, renamed, would want it", async () => {
    const on = [{ left: "k", right: "k" }];
    expect(await names("join", { on }, ["k", "a"], ["k", "A", "a#@1"])).to.deep.equal(["k", "a", "A#@2", "a#@1"]);
    expect(await names("join", { on }, ["k", "a#@1"], ["k", "a#@1"])).to.deep.equal(["k", "a#@1", "a#@1#@2"]);
  });

  it("cartesian product pairs every row with every other, and numbers clashing names", async () => {
    expect(await names("cartesian-product", {}, ["dup", "dup#@1", "dup#@2"], ["r1", "r2", "dup"])).to.deep.equal([
      "dup",
      "dup#@1",
      "dup#@2",
      "r1",
      "r2",
      "dup#@3",
    ]);
    const rows = exampleRows({ a: "integer" }, [1], [null], [1]);
    const [output] = await runs.queried("cartesian-product", {}, [rows, rows]);
    expect(output!.rows).to.have.length(9);
    const [none] = await runs.queried("cartesian-product", {}, [rows, exampleRows({ b: "any" })]);
    expect(none!.rows).to.deep.equal([]);
  });

  it("interval join gives what a loop gives, with each bound in or out", async () => {
    const value = fc.option(fc.integer({ min: -5, max: 5 }), { nil: null });
    await fc.assert(
      fc.asyncProperty(
        fc.array(value),
        fc.array(value),
        fc.integer({ min: 0, max: 4 }),
        fc.boolean(),
        fc.boolean(),
        async (points, begins, constant, includeLower, includeUpper) => {
          const properties = { left: "p", right: "b", constant, includeLower, includeUpper };
          const [output] = await runs.queried("interval-join", properties, [
            exampleRows({ p: "long" }, ...points.map((p) => [p])),
            exampleRows({ b: "integer" }, ...begins.map((b) => [b])),
          ]);
          const lies = (p: number, b: number) =>
            (includeLower ? p >= b : p > b) && (includeUpper ? p <= b + constant : p < b + constant);
          const pairs = points.flatMap((p) =>
            begins.flatMap((b) => (p !== null && b !== null && lies(p, b) ? [[p, b]] : [])),
          );
          expect(asSet(output!.rows)).to.deep.equal(asSet(pairs));
        },
      ),
      { numRuns: 40 },
    );
  });

  it("join keeps a right column whose value no left one shows", async () => {
    const on = [
      { left: "a", right: "b" },
      { left: "A", right: "c" },
    ];
    const inputs = [exampleRows({ a: "long" }, [1]), exampleRows({ b: "long", c: "long" }, [1, 1], [1, 2])];
    const [full] = await runs.queried("join", { type: "full", on }, inputs);
    expect(full!.schema.map(({ name }) => name)).to.deep.equal(["a", "c"]);
    expect(asSet(full!.rows)).to.deep.equal([
      [1, 1],
      [1, 2],
    ]);
    const [inner] = await runs.queried("join", { on }, inputs);
    expect(inner).to.deep.include({ rows: [[1]] });
  });

  it("interval join does not overflow at the ends of numbers, and counts months by the calendar", async () => {
    const [far] = await runs.queried("interval-join", { left: "p", right: "b", constant: 10 }, [
      exampleRows({ p: "long" }, ["9223372036854775807"]),
      exampleRows({ b: "long" }, ["9223372036854775800"]),
    ]);
    expect(far!.rows).to.have.length(1);
    const days = (...texts: string[]) => exampleRows({ d: "timestamp" }, ...texts.map((text) => [text]));
    const [month] = await runs.queried("interval-join", { left: "d", right: "d", constant: 1, unit: "month" }, [
      days("2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
      days("2024-01-31T00:00:00Z"),
    ]);
    for (const [unit, constant] of Object.entries({
      year: 2e5,
      month: 24e5,
      day: 73e6,
      hour: 1e9,
      minute: 1e11,
      second: 6e12,
    })) {
      const properties = { left: "d", right: "d", constant, unit };
      const inputs = [days("9999-12-31T00:00:00Z"), days("9999-12-31T00:00:00Z")];
      expect((await runs.queried("interval-join", properties, inputs))[0]!.rows, unit).to.have.length(1);
      expect(await runs.findings("interval-join", { ...properties, constant: constant + 1 }, inputs)).to.deep.equal([
        `constant: Between timestamps it must be a whole number, ${constant} ${unit}s at most; choose a smaller or larger unit.`,
      ]);
    }
    expect(month!.schema.map(({ name }) => name)).to.deep.equal(["d", "d#@1"]);
    expect(month!.rows).to.deep.equal([["2024-02-29T00:00:00Z", "2024-01-31T00:00:00Z"]]);
  });

  it("refuse keys that cannot be compared, with what to do", async () => {
    const inputs = [exampleRows({ a: "string", t: "timestamp" }), exampleRows({ b: "long", t: "timestamp" })];
    expect(await runs.findings("join", { on: [{ left: "a", right: "b" }] }, inputs)).to.deep.equal([
      'on.0: "a" is string and "b" is long; convert one of them in a cast before the join.',
    ]);
    expect(await runs.findings("interval-join", { left: "a", right: "b", constant: 1 }, inputs)).to.deep.equal([
      'left: "a" is string and "b" is long; both must be numbers, or both timestamps: convert them with a cast first.',
    ]);
    expect(await runs.findings("interval-join", { left: "t", right: "t", constant: 1.5 }, inputs)).to.deep.equal([
      "constant: Between timestamps it must be a whole number, 73000000 days at most; choose a smaller or larger unit.",
    ]);
  });

  it("read the right side first", async () => {
    for (const [type, properties] of [
      ["join", { on: [{ left: "a", right: "a" }] }],
      ["cartesian-product", {}],
      ["interval-join", { left: "a", right: "a", constant: 1 }],
    ] as const) {
      const rows = exampleRows({ a: "long" });
      const result = await runs.compile(type, properties, [rows, rows]);
      const [left, right] = result.ok ? result.plan.operators.at(-1)!.inputs : [];
      expect(left!.dependsOn, type).to.deep.equal([right!.key]);
      expect(right!.dependsOn, type).to.deep.equal([]);
    }
  });
});
