import { expect } from "chai";
import fc from "fast-check";
import { exampleRows } from "../../../src/core/operators/example-rows.js";
import type { Json } from "../../../src/core/plan.js";
import { type OperatorRuns, operatorRuns } from "../../support/operator-runs.js";

describe("filter", function () {
  this.timeout(60_000);
  let runs: OperatorRuns;
  before(async () => {
    runs = await operatorRuns();
  });
  after(() => runs.close());

  const ROWS = exampleRows(
    { id: "integer", s: "string", d: "double", b: "boolean", t: "timestamp", x: "binary", j: "any", l: "long" },
    [1, "Zoë's", 1.5, true, "2024-01-31T08:00:00Z", "00", { a: 1 }, "9007199254740993"],
    [2, "a.c", -2, false, "2024-02-01T00:00:00Z", "01", "abc", "9007199254740992"],
    [3, "abc", 0, true, "1969-12-31T23:59:59.999999Z", "02", [1], 5],
    [4, null, null, null, null, null, null, null],
  );
  /** Ids of the rows that stay. */
  const kept = async (predicates: Json[], match?: "all" | "any"): Promise<Json[]> => {
    const [output] = await runs.queried("filter", { predicates, ...(match ? { match } : {}) }, [ROWS]);
    return output!.rows.map(([id]) => id!).sort();
  };
  const wrong = (predicates: Json) => runs.findings("filter", { predicates }, [ROWS]);

  it("compares columns of every type, and a null meets no condition but is null", async () => {
    for (const [column, condition, value, ids] of [
      ["s", "=", "Zoë's", [1]],
      ["S", "!=", "abc", [1, 2]],
      ["s", "<", "b", [1, 2, 3]],
      ["d", ">=", 0, [1, 3]],
      ["d", "<", "1.5", [2, 3]],
      ["id", ">", 1.5, [2, 3, 4]],
      ["l", "=", "9007199254740993", [1]],
      ["l", ">", 1e300, []],
      ["l", ">", "4.00000000000000000000000000000001", [1, 2, 3]],
      ["l", "<", "9007199254740992.5", [2, 3]],
      ["b", "=", true, [1, 3]],
      ["b", "!=", "TRUE", [2]],
      ["t", "<", "2024-01-31T10:00:00+02:00", [3]],
      ["t", "<=", "2024-01-31T10:00:00+02:00", [1, 3]],
      ["t", "=", "1969-12-31 23:59:59.999999", [3]],
      ["t", "between", ["2024-01-31", "2024-02-01"], [1, 2]],
      ["d", "between", [-2, 0], [2, 3]],
      ["s", "in", ["abc", "a.c", "none"], [2, 3]],
      ["id", "in", [4, 1], [1, 4]],
      ["s", "contains", "ë'", [1]],
      ["s", "starts with", "a", [2, 3]],
      ["s", "ends with", "c", [2, 3]],
      ["s", "matches", "^a\\.c$", [2]],
      ["s", "matches", "b", [3]],
      ["j", "contains", '"a":1', [1]],
    ] as const)
      expect(
        await kept([{ column, condition, value: value as Json }]),
        `${column} ${condition} ${value}`,
      ).to.deep.equal(ids);
    for (const column of ["s", "d", "b", "t", "x", "j"]) {
      expect(await kept([{ column, condition: "is null" }])).to.deep.equal([4]);
      expect(await kept([{ column, condition: "is not null" }])).to.deep.equal([1, 2, 3]);
    }
  });

  it("wants all conditions met, or any of them", async () => {
    const two = [
      { column: "b", condition: "=", value: true },
      { column: "d", condition: ">", value: 1 },
    ];
    expect(await kept(two)).to.deep.equal([1]);
    expect(await kept(two, "any")).to.deep.equal([1, 3]);
    expect(await kept([...two, { column: "s", condition: "is null" }], "any")).to.deep.equal([1, 3, 4]);
  });

  it("takes any text as a value and never as SQL", () =>
    fc.assert(
      fc.asyncProperty(
        fc.string({ unit: "binary" }).filter((text) => !text.includes("\0")),
        async (text) => {
          const input = exampleRows({ s: "string" }, [text], [`${text}!`]);
          const [output] = await runs.queried(
            "filter",
            { predicates: [{ column: "s", condition: "=", value: text }] },
            [input],
          );
          expect(output!.rows).to.deep.equal([[text]]);
        },
      ),
      { numRuns: 30 },
    ));

  it("still takes an expression", async () => {
    const [output] = await runs.queried("filter", { predicate: "d > 0 OR d IS NULL" }, [ROWS]);
    expect(output!.rows.map(([id]) => id)).to.deep.equal([1, 4]);
  });

  it("says what is wrong with a condition where it stands", async () => {
    expect(
      await wrong([
        { column: "s", condition: "is null", value: 1 },
        { column: "s", condition: "in", value: "a" },
        { column: "d", condition: "between", value: [1] },
        { column: "d", condition: "=" },
        { column: "s", condition: "contains", value: 4 },
        { column: "d", condition: "=", value: [1, 2] },
      ]),
    ).to.deep.equal([
      'predicates.0.value: "is null" takes no value; leave it out.',
      'predicates.1.value: "in" needs a list of values, such as ["a", "b"].',
      'predicates.2.value: "between" needs two values, such as [1, 9].',
      'predicates.3.value: "=" needs a "value".',
      'predicates.4.value: "contains" needs a text in quotes.',
      'predicates.5.value: "=" takes one value; for several use "in".',
    ]);
    expect(
      await wrong([
        { column: "d", condition: "contains", value: "1" },
        { column: "b", condition: "<", value: true },
        { column: "x", condition: "=", value: "00" },
        { column: "s", condition: "in", value: ["a", 1] },
        { column: "t", condition: ">", value: "2024-02-30" },
        { column: "d", condition: ">", value: "1e999" },
        { column: "l", condition: "=", value: 2 ** 53 },
        { column: "t", condition: "<", value: "9999-12-31T23:59-01:00" },
      ]),
    ).to.deep.equal([
      'predicates.0.condition: "contains" is of texts and "d" is double; compare it, or make it a text with a cast first.',
      'predicates.1.condition: "b" is boolean: use = or !=.',
      'predicates.2.condition: "x" is binary, which has no order or equality here; take a value out of it with a derive or cast first.',
      'predicates.3.value.1: "s" is string, and 1 is not: write a text in quotes.',
      'predicates.4.value: "t" is timestamp, and "2024-02-30" is not: write a date such as "2024-01-31" or "2024-01-31T08:30:00Z".',
      'predicates.5.value: "d" is double, and "1e999" is not: write a number.',
      "predicates.6.value: 9007199254740992 is beyond 2^53, where a JSON number may have lost its last digits; write it in quotes.",
      'predicates.7.value: "t" is timestamp, and "9999-12-31T23:59-01:00" is not: write a date such as "2024-01-31" or "2024-01-31T08:30:00Z".',
    ]);
    expect((await wrong([{ column: "s", condition: "matches", value: "(" }]))[0]).to.match(
      /^predicates\.0\.value: .*missing \)/,
    );
    expect((await wrong([{ column: "nam", condition: "is null" }]))[0]).to.match(
      /^predicates\.0\.column: There is no column "nam"/,
    );
    expect(await wrong([{ column: "s", condition: "=", value: "a\0b" }])).to.deep.equal([
      "predicates.0.value: The text holds the character U+0000, which no column or expression can; remove it.",
    ]);
    for (const properties of [{}, { predicate: "true", predicates: [{ column: "s", condition: "is null" }] }])
      expect(await runs.findings("filter", properties, [ROWS])).to.deep.equal([
        'predicate: Give either "predicate", an expression, or "predicates", a list of conditions.',
      ]);
  });
});
