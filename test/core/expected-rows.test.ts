// How many rows are expected of each port: always a number that can be shown, and right where it is known.
import { expect } from "chai";
import fc from "fast-check";
import { expectedRows, MOST_ROWS } from "../../src/core/expected-rows.js";
import { OPERATOR_TYPES } from "../../src/core/operators/catalogue.js";
import { globalPortId, operatorKey, type PhysicalPlan, type Properties } from "../../src/core/plan.js";
import { inferRowsOfPorts, type RowCounts } from "../../src/core/row-counts.js";
import { columns, type OperatorDraft, outputKey, planOf, query, scan } from "../support/physical-plans.js";

const N = columns("n:long");
const file = (id: string, rowCount: bigint): OperatorDraft =>
  scan(id, N, { uri: `file:///${id}.csv`, rowCount, byteCount: rowCount * 20n });

/** One operator behind files of so many rows each. */
function planBehind(type: string, properties: Properties, rows: readonly bigint[], outputs = 1): PhysicalPlan {
  const inputs = rows.map(() => N);
  const draft = { ...query("it", type, inputs, "", N), furtherOutputs: Array.from({ length: outputs - 1 }, () => N) };
  const links = rows.map((_, n) => `f${n}>it:${n}`);
  const plan = planOf([...rows.map((count, n) => file(`f${n}`, count)), draft], links);
  plan.operators.at(-1)!.properties = properties;
  return plan;
}

const NOTHING = { known: new Map<string, bigint>(), usual: new Map<string, RowCounts>() };
const expectedOf = (plan: PhysicalPlan, facts = NOTHING): number[] => {
  const rows = expectedRows(plan, facts);
  return plan.operators.at(-1)!.outputs.map(({ key }) => rows.get(globalPortId(key))!);
};
const behind = (type: string, properties: Properties, rows: readonly bigint[], outputs?: number) =>
  expectedOf(planBehind(type, properties, rows, outputs));

describe("expected rows", () => {
  it("are what settings decide, whatever earlier runs gave", () => {
    const usual = new Map([["it/main", { inputRows: 10n, outputRows: 5n }]]);
    const cases: [type: string, properties: Properties, rows: bigint[], expected: number[]][] = [
      ["sort", {}, [900n], [900]],
      ["union", {}, [900n, 100n], [1_000]],
      ["cartesian-product", {}, [900n, 100n], [90_000]],
      ["limit", { count: 50 }, [900n], [50]],
      ["limit", { count: 50, offset: 880 }, [900n], [20]],
      ["limit", { count: 50, offset: 1_000 }, [900n], [0]],
      ["top-k", { by: [], count: 50 }, [20n], [20]],
      ["aggregate", { aggregates: [] }, [900n], [1]],
      ["aggregate", { groupBy: [] }, [0n], [1]],
      ["sample", { fraction: 0.25 }, [900n], [225]],
      ["sample", { count: 7 }, [900n], [7]],
      ["split", { ratio: 0.8 }, [1_000n], [800, 200]],
      ["unnest", { into: "columns" }, [900n], [900]],
      ["text-source", { text: "a,b\n1,2\r\n3,4\n" }, [], [2]],
      ["text-source", { text: "a\nb\n\n", format: "lines" }, [], [2]],
      ["chart", {}, [900n], [1]],
    ];
    for (const [type, properties, rows, expected] of cases) {
      const plan = planBehind(type, properties, rows, expected.length);
      expect(expectedOf(plan, { ...NOTHING, usual }), `${type} ${JSON.stringify(properties)}`).to.deep.equal(expected);
    }
  });

  it("are a figure by the operator's kind where nothing else is known", () => {
    expect(behind("filter", {}, [900n])).to.deep.equal([300]);
    expect(behind("split", { predicate: "n > 1" }, [900n], 2)).to.deep.equal([300, 600]);
    expect(behind("aggregate", { groupBy: ["n"] }, [900n])).to.deep.equal([90]);
    expect(behind("distinct", {}, [900n])).to.deep.equal([90]);
    expect(behind("top-k", { groupBy: ["n"], count: 3 }, [900n])).to.deep.equal([270]);
    expect(behind("join", { type: "inner" }, [900n, 40n])).to.deep.equal([900]);
    expect(behind("join", { type: "anti" }, [900n, 4_000n])).to.deep.equal([300]);
    expect(behind("intersect", {}, [900n, 40n])).to.deep.equal([40]);
    expect(behind("sql", {}, [900n, 4_000n])).to.deep.equal([4_000]);
    const unknown = scan("s", N, { uri: "file:///s.csv", rowCount: 0n, byteCount: 5_000n });
    expect(expectedOf(planOf([unknown], []))).to.deep.equal([100]);
  });

  it("follow how the operator behaved in earlier runs, of the rows it is expected to read now", () => {
    const usual = (inputRows: bigint | undefined, outputRows: bigint | undefined) => ({
      ...NOTHING,
      usual: new Map([["it/main", { inputRows, outputRows }]]),
    });
    const filter = planBehind("filter", {}, [900n]);
    expect(expectedOf(filter, usual(2_000n, 500n))).to.deep.equal([225]);
    expect(expectedOf(filter, usual(undefined, 500n)), "only what it gave was counted").to.deep.equal([500]);
    expect(expectedOf(filter, usual(2_000n, undefined)), "its kind").to.deep.equal([300]);
    expect(expectedOf(filter, usual(0n, 0n)), "its kind").to.deep.equal([300]);
    const split = planBehind("split", { predicate: "n > 1" }, [900n], 2);
    expect(expectedOf(split, usual(10n, 10n)), "both ports together").to.deep.equal([300, 600]);
    const none = planBehind("intersect", {}, [0n, 0n]);
    expect(expectedOf(none, usual(undefined, 8n))).to.deep.equal([8]);
  });

  it("know every operator type there is, or take it for one that gives about what it gets", () => {
    for (const type of OPERATOR_TYPES.keys()) {
      const rows = behind(type, {}, [600n, 60n]);
      expect(rows[0], type).to.be.within(0, 36_000);
    }
  });

  const types = [...OPERATOR_TYPES.keys(), "unheard-of", "constructor"];
  const amount = fc.oneof(fc.bigInt(0n, 1_000n), fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n));
  const setting = fc.oneof(fc.double(), fc.constantFrom("csv", "columns", "semi", true, null), fc.constant(["n"]));
  const properties = fc.dictionary(
    fc.constantFrom("count", "offset", "fraction", "ratio", "groupBy", "text", "into", "type", "columns", "header"),
    setting,
  );
  const plans = fc
    .array(
      fc.record({
        type: fc.constantFrom(...types),
        properties,
        reads: fc.array(fc.nat(), { maxLength: 3 }),
        two: fc.boolean(),
      }),
      {
        minLength: 1,
        maxLength: 12,
      },
    )
    .chain((drawn) => fc.tuple(fc.constant(drawn), amount, amount))
    .map(([drawn, first, second]) => {
      const drafts = drawn.map(({ type, reads, two }, n) => ({
        ...query(
          `o${n}`,
          type === "scan" ? "sql" : type,
          reads.map(() => N),
          "",
          N,
        ),
        furtherOutputs: two && type === "split" ? [N] : [],
      }));
      const ids = ["a", "b", ...drafts.map(({ id }) => id)];
      const links = drawn.flatMap(({ reads }, n) => reads.map((read, p) => `${ids[read % (n + 2)]}>o${n}:${p}`));
      const plan = planOf([file("a", first), file("b", second), ...drafts], links);
      for (const [n, one] of drawn.entries()) plan.operators[n + 2]!.properties = one.properties as Properties;
      return plan;
    });
  const facts = (plan: PhysicalPlan) =>
    fc.record({
      known: fc
        .dictionary(fc.constantFrom(...plan.operators.map((o) => globalPortId(o.outputs[0]!.key))), amount)
        .map((some) => new Map(Object.entries(some))),
      usual: fc
        .dictionary(
          fc.constantFrom(...plan.operators.map(operatorKey)),
          fc.record({
            inputRows: fc.option(amount, { nil: undefined }),
            outputRows: fc.option(amount, { nil: undefined }),
          }),
        )
        .map((some) => new Map(Object.entries(some))),
    });

  it("are whole numbers from 0 to the most there is, for every port of any plan, whatever is known", () => {
    fc.assert(
      fc.property(
        plans.chain((plan) => fc.tuple(fc.constant(plan), facts(plan))),
        ([plan, known]) => {
          const rows = expectedRows(plan, known);
          for (const { outputs } of plan.operators)
            for (const { key } of outputs)
              expect(rows.get(globalPortId(key)))
                .to.satisfy(Number.isSafeInteger)
                .and.to.be.within(0, MOST_ROWS);
        },
      ),
      { numRuns: 500 },
    );
  });

  it("are exactly what was counted, and what follows from that", () => {
    fc.assert(
      fc.property(
        plans.chain((plan) => fc.tuple(fc.constant(plan), facts(plan))),
        ([plan, known]) => {
          const rows = expectedRows(plan, known);
          for (const [id, count] of inferRowsOfPorts(plan, known.known))
            if (count >= 0n && count <= BigInt(MOST_ROWS)) expect(rows.get(id)).to.equal(Number(count));
        },
      ),
    );
  });

  it("saturate where products do", () => {
    const most = BigInt(MOST_ROWS);
    expect(behind("cartesian-product", {}, [most, most])).to.deep.equal([MOST_ROWS]);
    expect(behind("union", {}, [most, most])).to.deep.equal([MOST_ROWS]);
    expect(behind("cartesian-product", {}, [most, 0n])).to.deep.equal([0]);
  });

  it("of several links into one port are those of all of them", () => {
    const plan = planOf([file("a", 5n), file("b", 6n), query("both", "derive", [N], "", N)], ["a>both", "b>both"]);
    expect(expectedRows(plan, NOTHING).get(globalPortId(outputKey("both")))).to.equal(11);
  });
});
