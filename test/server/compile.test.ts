import { expect } from "chai";
import { compile } from "../../src/core/compile.js";
import type { Compilation, LogicalPlan, PhysicalPlan } from "../../src/core/plan.js";
import { planDigest } from "../../src/rpc/plan-codec.js";
import { createSchemaBinder, type SchemaBinder } from "../../src/server/binding/schema-binder.js";
import { planOf, resolveTestDataset, type ShortOperator } from "../support/plans.js";

describe("compile", () => {
  let binder: SchemaBinder;
  before(async () => {
    binder = await createSchemaBinder();
  });
  after(() => binder.close());

  const run = (plan: LogicalPlan): Promise<Compilation> =>
    compile(plan, { resolveDataset: resolveTestDataset, bindSchemas: binder.bindSchemas, planDigest });

  async function compiled(operators: Record<string, ShortOperator>): Promise<PhysicalPlan> {
    const result = await run(planOf(operators));
    if (!result.ok) throw new Error(JSON.stringify(result.diagnostics, null, 1));
    return result.plan;
  }
  /** Findings as "operator property: message", so that a test reads like the reply. */
  async function findings(plan: LogicalPlan): Promise<string[]> {
    const result = await run(plan);
    expect(result.ok).to.equal(false);
    return result.diagnostics.map((d) => `${d.operatorId} ${d.property}: ${d.message}`);
  }
  const schemaOf = (plan: PhysicalPlan, id: string): string =>
    plan.operators
      .find((o) => o.operatorId === id)!
      .outputs[0]!.schema.map(({ name, type }) => `${name}: ${type}`)
      .join(", ");

  const flights = { type: "scan", dataset: "flights" };
  const airports = { type: "scan", dataset: "airports" };

  it("binds the schema of every operator type", async () => {
    const plan = await compiled({
      flights,
      airports,
      narrow: { type: "scan", dataset: "flights", columns: ["Delay", "origin"] },
      late: { type: "filter", from: ["flights"], predicate: "delay > 10 AND origin IS NOT NULL" },
      hours: {
        type: "derive",
        from: ["late"],
        columns: [
          { name: "hours", expression: "delay / 60" },
          { name: "Delay", expression: "CAST(delay AS INTEGER)" },
          { name: "day", expression: "CAST(date AS DATE)" },
          { name: "half", expression: "1.5 -- a comment" },
          { name: "both", expression: "{'o': origin, 'd': destination}" },
        ],
      },
      few: { type: "project", from: ["hours"], columns: [{ name: "ORIGIN", as: "from" }, { name: "both" }] },
      joined: { type: "join", from: ["late", "airports"], on: [{ left: "origin", right: "iata" }] },
      self: { type: "join", from: ["late", "flights"], on: [{ left: "origin", right: "destination" }] },
      states: {
        type: "aggregate",
        from: ["joined"],
        groupBy: ["state"],
        aggregates: [
          { function: "count", as: "flights" },
          { function: "sum", column: "delay", as: "total" },
          { function: "avg", column: "delay", as: "mean" },
          { function: "max", column: "date", as: "last" },
          { function: "count_distinct", column: "city", as: "cities" },
        ],
      },
      sorted: { type: "sort", from: ["states"], by: [{ column: "flights", descending: true }] },
      top: { type: "limit", from: ["sorted"], count: 10 },
      both: { type: "union", from: ["flights", "late"] },
      once: { type: "distinct", from: ["both"] },
      js: {
        type: "javascript-function",
        from: ["top"],
        code: "function processTuple(t) { return { grade: 'A' } }",
        outputColumns: [
          { name: "grade", type: "string" },
          { name: "mean", type: "string" },
        ],
      },
      py: {
        type: "python-function",
        from: ["top"],
        code: "def process_tuple(t): return {'x': 1}",
        outputColumns: [{ name: "x", type: "any" }],
        retainInputColumns: false,
      },
    });
    expect(schemaOf(plan, "narrow")).to.equal("delay: long, origin: string");
    expect(schemaOf(plan, "late")).to.equal(schemaOf(plan, "flights"));
    expect(schemaOf(plan, "hours")).to.equal(
      "date: timestamp, delay: integer, distance: long, origin: string, destination: string, hours: double, day: timestamp, half: double, both: any",
    );
    expect(schemaOf(plan, "few")).to.equal("from: string, both: any");
    expect(schemaOf(plan, "joined")).to.equal(
      "date: timestamp, delay: long, distance: long, origin: string, destination: string, name: string, city: string, state: string, latitude: double, longitude: double",
    );
    expect(schemaOf(plan, "self")).to.equal(
      "date: timestamp, delay: long, distance: long, origin: string, destination: string, date#@1: timestamp, delay#@1: long, distance#@1: long, origin#@1: string",
    );
    expect(schemaOf(plan, "states")).to.equal(
      "state: string, flights: long, total: long, mean: double, last: timestamp, cities: long",
    );
    expect(schemaOf(plan, "top")).to.equal(schemaOf(plan, "states"));
    expect(schemaOf(plan, "once")).to.equal(schemaOf(plan, "flights"));
    expect(schemaOf(plan, "js")).to.equal(
      "state: string, flights: long, total: long, mean: string, last: timestamp, cities: long, grade: string",
    );
    expect(schemaOf(plan, "py")).to.equal("x: any");
  });

  it("orders operators, marks dependencies, viewed and stored ports, and cuts around user code", async () => {
    const plan = await compiled({
      top: { type: "limit", from: ["js"], count: 3 },
      js: { type: "javascript-function", from: ["joined"], code: "function processTuple(t) { return t }" },
      joined: { type: "join", from: ["flights", "airports"], on: [{ left: "origin", right: "iata" }] },
      airports: { ...airports, viewResult: true },
      flights,
    });
    expect(plan.operators.map((o) => o.operatorId)).to.deep.equal(["airports", "flights", "joined", "js", "top"]);
    const joined = plan.operators[2]!;
    expect(joined.inputs[0]!.dependsOn).to.deep.equal([joined.inputs[1]!.key]);
    expect(joined.inputs[1]!.dependsOn).to.deep.equal([]);
    const marks = plan.operators.map(({ operatorId, outputs: [port] }) => [
      operatorId,
      port!.viewed,
      port!.materialized,
    ]);
    expect(marks).to.deep.equal([
      ["airports", true, true],
      ["flights", false, false],
      ["joined", false, true],
      ["js", false, true],
      ["top", true, true],
    ]);
    expect(plan.regions.map((r) => [r.level, r.operators.map((o) => o.operatorId)])).to.deep.equal([
      [0, ["airports", "flights", "joined"]],
      [1, ["js"]],
      [2, ["top"]],
    ]);
  });

  it("compiles one plan to one digest, whatever was compiled between", async () => {
    const one = planOf({ flights, late: { type: "filter", from: ["flights"], predicate: "delay > 1" } });
    const other = planOf({ airports });
    const [a, , b] = await Promise.all([run(one), run(other), run(one)]);
    expect(a).to.deep.equal(b);
    expect(a.ok && a.planDigest).to.match(/^[0-9a-f]{64}$/);
  });

  it("reports everything wrong at once, each finding on its operator and property", async () => {
    const plan = planOf({
      flights,
      airports,
      secret: { type: "scan", dataset: "salaries" },
      odd: { type: "scan", dataset: "a b" },
      typo: { type: "filtr", from: ["flights"] },
      keys: { type: "filter", from: ["flights"], predicat: "true" },
      column: { type: "sort", from: ["flights"], by: [{ column: "dleay" }] },
      expression: { type: "filter", from: ["flights"], predicate: "dela > 3" },
      sum: { type: "aggregate", from: ["flights"], aggregates: [{ function: "sum", column: "origin", as: "x" }] },
      notBoolean: { type: "filter", from: ["flights"], predicate: "delay + 1" },
      keyTypes: { type: "join", from: ["flights", "airports"], on: [{ left: "delay", right: "iata" }] },
      unlinked: { type: "distinct" },
      misled: { type: "distinct" },
      noEntry: { type: "python-function", from: ["flights"], code: "x = 1" },
    });
    plan.links.push({ from: "ghost", fromPort: 0, to: "flights", toPort: 0 });
    plan.links.push({ from: "flights", fromPort: 7, to: "misled", toPort: 0 });
    const found = await findings(plan);
    const expected = [
      / : The link from "ghost" to "flights" names an operator that does not exist: "ghost"/,
      /^misled : "flights", which it is linked to, has no output port 7; it has port 0 only/,
      /^typo type: There is no operator type "filtr"; did you mean "filter"\?/,
      /^keys predicate: Give either "predicate", an expression, or "predicates"/,
      /^keys predicat: Unknown property "predicat"; did you mean "predicate"\?/,
      /^unlinked : Its input has no link/,
      /^odd dataset: "a b" names no dataset/,
      /^secret dataset: There is no dataset "salaries", or you may not read it/,
      /^column by.0.column: There is no column "dleay"; did you mean "delay"\? The columns are date, delay,/,
      /^expression predicate: There is no column "dela"; did you mean "delay"\?/,
      /^sum aggregates.0.column: sum needs numbers and "origin" is string/,
      /^notBoolean predicate: This must be true or false, and it is long/,
      /^keyTypes on.0: "delay" is long and "iata" is string/,
      /^noEntry code: The code defines no function process_tuple/,
    ];
    for (const pattern of expected)
      expect(
        found.filter((f) => pattern.test(f)),
        String(pattern),
      ).to.have.length(1);
    expect(found).to.have.length(expected.length);
  });

  it("says nothing about what lies behind a broken operator, but about its own settings", async () => {
    const found = await findings(
      planOf({
        secret: { type: "scan", dataset: "salaries" },
        rich: { type: "filter", from: ["secret"], predicate: "salary > 1" },
        top: { type: "limit", from: ["rich"], count: -1 },
      }),
    );
    expect(found.map((f) => f.split(":")[0])).to.deep.equal(["top count", "secret dataset"]);
  });

  it("names the operators along a cycle, and only those", async () => {
    const found = await findings(
      planOf({
        a: { type: "union", from: ["flights", "c"] },
        flights,
        b: { type: "distinct", from: ["a"] },
        c: { type: "distinct", from: ["b"] },
        after: { type: "distinct", from: ["c"] },
        self: { type: "distinct", from: ["self"] },
      }),
    );
    expect(found).to.deep.equal([
      "a : The links form a cycle: a → b → c → a. Remove one of them.",
      "self : The links form a cycle: self → self. Remove one of them.",
    ]);
  });

  it("refuses repeated ids, ids with forbidden characters, several links into one port and links into a scan", async () => {
    const plan = planOf({ flights, "a,b": { type: "distinct", from: ["flights"] }, late: { type: "distinct" } });
    plan.operators.push({ ...plan.operators[0]! });
    plan.links.push(
      { from: "flights", fromPort: 0, to: "late", toPort: 0 },
      { from: "a,b", fromPort: 0, to: "late", toPort: 0 },
      { from: "late", fromPort: 0, to: "flights", toPort: 0 },
    );
    const found = await findings(plan);
    expect(found[0]).to.match(/^flights id: 2 operators have the id "flights"/);
    expect(found[1]).to.match(/^a,b id: "a,b" is no valid id/);
    expect(found[2]).to.match(/^flights : "flights" takes no input; remove the link from "late"/);
    expect(found[3]).to.match(/^late : Input port 0 takes one link and has 2 \(from "flights", "a,b"\)/);
    expect(found).to.have.length(4);
  });

  it("leaves disabled operators out with their links, and says so where one is missed", async () => {
    const plan = await compiled({ flights, off: { type: "nonsense", from: ["flights"], disabled: true } });
    expect(plan.operators.map((o) => o.operatorId)).to.deep.equal(["flights"]);
    const found = await findings(
      planOf({ flights: { ...flights, disabled: true }, once: { type: "distinct", from: ["flights"] } }),
    );
    expect(found).to.deep.equal([
      'once : Its input has no link, because "flights" is disabled; link another operator to it.',
    ]);
    expect(await findings(planOf({ flights: { ...flights, disabled: true } }))).to.match(/disabled; enable one/);
  });

  it("refuses a plan without operators, and one with too many", async () => {
    expect(await findings({ operators: [], links: [] })).to.deep.equal([
      " : The plan has no operators; begin with a scan.",
    ]);
    const many = planOf(Object.fromEntries(Array.from({ length: 2_001 }, (_, i) => [`s${i}`, flights])));
    expect((await findings(many))[0]).to.match(/has 2001 operators/);
  });

  it("compiles a chain of the largest size", async () => {
    const chain: Record<string, ShortOperator> = { o0: flights };
    for (let i = 1; i < 2_000; i++) chain[`o${i}`] = { type: "distinct", from: [`o${i - 1}`] };
    expect((await compiled(chain)).operators).to.have.length(2_000);
  }).timeout(60_000);

  it("warns of a limit without a sort, and makes it and what follows uncacheable", async () => {
    const result = await run(
      planOf({
        flights,
        some: { type: "limit", from: ["flights"], count: 5 },
        once: { type: "distinct", from: ["some"] },
      }),
    );
    expect(result.diagnostics.map((d) => [d.severity, d.operatorId])).to.deep.equal([["warning", "some"]]);
    const ports = result.ok ? result.plan.operators.map((o) => o.outputs[0]!) : [];
    expect(ports.map((p) => p.subdagHash !== "")).to.deep.equal([true, false, false]);
    expect(ports[1]!.uncacheableReason).to.match(/^Without a sort/);
    expect(ports[2]!.uncacheableReason).to.include('"some"').and.include(ports[1]!.uncacheableReason);
  });

  it("warns of a scan that fails at rows known not to fit, unless it skips them", async () => {
    const spoilt = async (reference: string, malformedRowCount: bigint) => {
      const found = await resolveTestDataset(reference);
      return found && { ...found, malformedRowCount };
    };
    const warnings = async (scan: Record<string, string>, count: bigint) => {
      const plan = planOf({ rows: { ...flights, ...scan } });
      const deps = { bindSchemas: binder.bindSchemas, planDigest };
      const result = await compile(plan, { ...deps, resolveDataset: (reference) => spoilt(reference, count) });
      expect(result.ok && result.plan.operators[0]!.implementation).to.have.nested.property("scan.rowCount");
      expect(result.ok && result.plan.operators[0]!.implementation).not.to.have.nested.property(
        "scan.malformedRowCount",
      );
      return result.diagnostics.map((d) => [d.severity, d.operatorId, d.property, d.message.split(",")[0]]);
    };
    expect(await warnings({}, 0n)).to.deep.equal([]);
    expect(await warnings({ malformedRows: "skip" }, 3n)).to.deep.equal([]);
    expect(await warnings({}, 3n)).to.deep.equal([["warning", "rows", "malformedRows", '3 rows of dataset "flights"']]);
    expect(await warnings({}, 1n)).to.deep.equal([["warning", "rows", "malformedRows", '1 row of dataset "flights"']]);
  });

  it("sorts again in a limit after a sort, by every column", async () => {
    const plan = await compiled({
      airports: { type: "scan", dataset: "airports", columns: ["iata", "state"] },
      sorted: { type: "sort", from: ["airports"], by: [{ column: "STATE", descending: true }] },
      kept: { type: "filter", from: ["sorted"], predicate: "iata <> 'X'" },
      top: { type: "limit", from: ["kept"], count: 5, offset: 2 },
    });
    const top = plan.operators[3]!;
    expect(top.implementation).to.deep.equal({
      kind: "query",
      sql: 'SELECT * FROM input0 ORDER BY input0."state" DESC NULLS LAST, input0."iata" ASC NULLS LAST LIMIT 5 OFFSET 2',
      furtherSql: [],
    });
    expect(top.outputs[0]!.subdagHash).not.to.equal("");
  });

  it("makes expressions over chance and functions declared so uncacheable", async () => {
    const plan = await compiled({
      flights,
      shuffled: { type: "derive", from: ["flights"], columns: [{ name: "r", expression: "random() + delay" }] },
      dated: { type: "filter", from: ["flights"], predicate: "date < current_date" },
      coin: {
        type: "javascript-function",
        from: ["flights"],
        code: "function processTuple(t) { return t }",
        deterministic: false,
      },
    });
    const reasons = plan.operators.map((o) => o.outputs[0]!.uncacheableReason);
    expect(reasons[0]).to.equal("");
    expect(reasons[1]).to.equal("random() differs from run to run.");
    expect(reasons[2]).to.equal("current_date differs from run to run.");
    expect(reasons[3]).to.match(/author/);
  });

  it("refuses a union of inputs whose columns differ, naming them", async () => {
    expect(
      await findings(planOf({ flights, airports, both: { type: "union", from: ["flights", "airports"] } })),
    ).to.match(/Input 1 lacks columns of input 0: "date", "delay".*Input 1 has columns that input 0 lacks: "iata"/s);
  });

  it("unites more inputs when asked to, matching columns by name", async () => {
    const plan = await compiled({
      a: { type: "scan", dataset: "airports", columns: ["iata", "city"] },
      b: { type: "scan", dataset: "airports", columns: ["city", "iata"] },
      c: { type: "scan", dataset: "airports", columns: ["CITY", "IATA"] },
      all: { type: "union", from: ["a", "b", "c"], inputs: 3 },
    });
    expect(plan.operators[3]!.inputs).to.have.length(3);
    expect(schemaOf(plan, "all")).to.equal("iata: string, city: string");
  });

  it("fills in defaults, and puts display names beside ids", async () => {
    const plan = await compiled({ flights, top: { type: "limit", from: ["flights"], count: 1 } });
    expect(plan.operators[1]!.properties).to.deep.equal({ count: 1, offset: 0 });
    expect(plan.operators[1]!.displayName).to.equal("top");
  });
});
