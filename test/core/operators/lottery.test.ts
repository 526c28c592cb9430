import { DuckDBInstance } from "@duckdb/node-api";
import { expect } from "chai";
import fc from "fast-check";
import { exampleRows } from "../../../src/core/operators/example-rows.js";
import type { Json } from "../../../src/core/plan.js";
import { asSet, type OperatorRuns, operatorRuns } from "../../support/operator-runs.js";
import { planOf } from "../../support/plans.js";

describe("sample and split", function () {
  this.timeout(60_000);
  let runs: OperatorRuns;
  before(async () => {
    runs = await operatorRuns();
  });
  after(() => runs.close());

  const rows = fc.array(fc.tuple(fc.constantFrom("a", "é", null), fc.constantFrom(1, null)), { maxLength: 40 });
  const table = (some: Json[][]) => exampleRows({ s: "string", n: "double" }, ...some);
  const numbered = (count: number) => exampleRows({ n: "long" }, ...Array.from({ length: count }, (_, n) => [n]));
  const drawn = async (properties: Record<string, unknown>, input = numbered(4_000)) =>
    (await runs.queried("sample", properties, [input]))[0]!.rows.map(([n]) => Number(n));

  it("draw the same rows whatever their order, equal rows apart from each other", () =>
    fc.assert(
      fc.asyncProperty(rows, fc.integer({ min: 0, max: 9 }), fc.integer(), async (some, count, seed) => {
        const shuffled = some.toReversed();
        for (const properties of [
          { count, seed },
          { fraction: 0.5, seed },
        ]) {
          const [one] = await runs.queried("sample", properties, [table(some)]);
          const [other] = await runs.queried("sample", properties, [table(shuffled)], 1);
          expect(asSet(one!.rows)).to.deep.equal(asSet(other!.rows));
          if ("count" in properties) expect(one!.rows).to.have.length(Math.min(count, some.length));
        }
      }),
      { numRuns: 25 },
    ));

  it("draw the same rows on one thread and on many", async () => {
    const input = [exampleRows({ a: "long", b: "double" })];
    const statements = [
      ...(await runs.statements("sample", { fraction: 0.25 }, input)),
      ...(await runs.statements("sample", { count: 1_000 }, input)),
      ...(await runs.statements("split", { ratio: 0.75 }, input)),
    ];
    const instance = await DuckDBInstance.create(":memory:");
    const connection = await instance.connect();
    try {
      await connection.run("CREATE TABLE input0 AS SELECT range % 70000 AS a, range / 7 AS b FROM range(400000)");
      for (const sql of statements) {
        const seen = new Set<string>();
        for (const threads of [1, 4]) {
          await connection.run(`SET threads = ${threads}`);
          const digest = `SELECT count(*), sum(hash(t)) FROM (${sql}) AS t`;
          seen.add(JSON.stringify((await (await connection.run(digest)).getRowsJson())[0]));
        }
        expect([...seen], sql).to.have.length(1);
      }
    } finally {
      connection.closeSync();
      instance.closeSync();
    }
  });

  it("keep about the fraction asked for, of equal rows too, and another choice for another seed", async () => {
    // Of 4,000 rows 400 are expected, with a standard deviation of 19.
    const first = await drawn({ fraction: 0.1, seed: 1 });
    const second = await drawn({ fraction: 0.1, seed: 2 });
    expect(first.length).to.be.within(300, 500);
    expect(second.length).to.be.within(300, 500);
    const both = first.filter((n) => second.includes(n));
    expect(both.length).to.be.within(10, 90);
    const equal = exampleRows({ n: "long" }, ...Array.from({ length: 4_000 }, () => [1]));
    expect((await drawn({ fraction: 0.1 }, equal)).length).to.be.within(300, 500);
    expect(await drawn({ fraction: 0 })).to.deep.equal([]);
    expect(await drawn({ fraction: 1 })).to.have.length(4_000);
  });

  it("draw every part of the rows alike", async () => {
    const chosen = await drawn({ count: 1_000, seed: 5 });
    for (const from of [0, 1_000, 2_000, 3_000])
      expect(chosen.filter((n) => n >= from && n < from + 1_000).length).to.be.within(180, 320);
  });

  it("split sends each row to exactly one output, by lot or by predicate, a null predicate to the second", () =>
    fc.assert(
      fc.asyncProperty(rows, fc.double({ min: 0, max: 1, noNaN: true }), fc.integer(), async (some, ratio, seed) => {
        for (const properties of [{ ratio, seed }, { predicate: "n = 1 AND s <> 'a'" }]) {
          const [chosen, others] = await runs.queried("split", properties, [table(some)]);
          expect(asSet([...chosen!.rows, ...others!.rows])).to.deep.equal(asSet(some));
          if ("predicate" in properties)
            expect(chosen!.rows).to.have.deep.members(some.filter(([s, n]) => n === 1 && s === "é"));
        }
      }),
      { numRuns: 25 },
    ));

  it("split runs in the engine, both outputs of one drawing", async () => {
    const [chosen, others] = await runs.run("split", { ratio: 0.5, seed: 3 }, [numbered(500)]);
    expect(chosen!.rows.length).to.be.within(180, 320);
    expect(asSet([...chosen!.rows, ...others!.rows])).to.deep.equal(asSet(numbered(500).rows));
  });

  it("split behind chance sends each row to one output, since its input is computed once", async () => {
    const plan = planOf({
      in0: { type: "scan", dataset: "in0" },
      chance: { type: "derive", from: ["in0"], columns: [{ name: "r", expression: "random()" }] },
      parts: { type: "split", from: ["chance"], predicate: "r < 0.5" },
      op: { type: "union", from: ["parts", "parts"] },
    });
    plan.links.find(({ to, toPort }) => to === "op" && toPort === 1)!.fromPort = 1;
    const [output] = await runs.runPlan(plan, [numbered(2_000)]);
    const numbers = asSet(output!.rows.map(([n]) => [n!]));
    expect(numbers).to.deep.equal(asSet(numbered(2_000).rows));
  });

  it("refuse what leaves the choice open or to chance", async () => {
    const refused = (type: string, properties: Record<string, unknown>) =>
      runs.findings(type, properties, [numbered(1)]);
    expect(await refused("sample", {})).to.deep.equal([
      ': Give either "fraction", a share of the rows, or "count", their number.',
    ]);
    expect(await refused("split", { predicate: "n > 1", seed: 1 })).to.deep.equal([
      'seed: "seed" is about "ratio"; leave it out.',
    ]);
    expect(await refused("split", { predicate: "random() < 0.5" })).to.deep.equal([
      "predicate: random() differs from run to run. Outputs are computed one by one, so a row could leave by several of them or by none; compute the value in a derive before this operator.",
    ]);
  });
});
