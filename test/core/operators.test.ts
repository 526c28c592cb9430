import { DuckDBInstance } from "@duckdb/node-api";
import { expect } from "chai";
import { z } from "zod";
import { OPERATOR_TYPES } from "../../src/core/operators/catalogue.js";
import type { OperatorInstance, Ordering } from "../../src/core/operators/operator.js";
import type { Json, Properties, Schema } from "../../src/core/plan.js";
import { duckdbType, quoteName } from "../../src/core/sql-text.js";
import { columns } from "../support/plans.js";

function read(type: string, properties: Properties): OperatorInstance {
  const settings = OPERATOR_TYPES.get(type)!.read(properties);
  if ("findings" in settings) throw new Error(JSON.stringify(settings.findings));
  return settings.instance;
}
function findings(type: string, properties: Properties): string[] {
  const settings = OPERATOR_TYPES.get(type)!.read(properties);
  return "findings" in settings ? settings.findings.map((f) => `${f.property}: ${f.message}`) : [];
}

interface Table {
  schema: Schema;
  rows: unknown[][];
  ordering?: Ordering;
}

describe("operators", () => {
  describe("over rows", () => {
    let instance: DuckDBInstance;
    before(async () => {
      instance = await DuckDBInstance.create(":memory:");
    });
    after(() => instance.closeSync());

    /** The rows of an operator over tables, as JSON values. */
    async function run(type: string, properties: Properties, ...inputs: Table[]): Promise<unknown[]> {
      const { body, check } = read(type, properties);
      if (body.kind !== "query") throw new Error(`${type} is no query`);
      const schemas = inputs.map(({ schema }) => schema);
      expect(check(schemas)).to.deep.equal([]);
      const tables = inputs.map(({ schema, rows }, i) => {
        const items = schema.map(
          ({ name, type: t }) => `CAST(${quoteName(name)} AS ${duckdbType(t)}) AS ${quoteName(name)}`,
        );
        const values = rows.map(
          (row) => `(${row.map((v) => (typeof v === "string" ? `'${v}'` : String(v))).join(", ")})`,
        );
        const names = schema.map(({ name }) => quoteName(name)).join(", ");
        return `input${i} AS (SELECT ${items.join(", ")} FROM (VALUES ${values.join(", ")}) AS t(${names}))`;
      });
      const connection = await instance.connect();
      try {
        const sql = body.sql(
          schemas,
          inputs.map(({ ordering }) => ordering),
        );
        const result = await connection.runAndReadAll(`WITH ${tables.join(", ")} ${sql}`);
        return [result.deduplicatedColumnNames(), ...result.getRowsJson()];
      } finally {
        connection.closeSync();
      }
    }

    const flights: Table = {
      schema: columns("delay: integer, Origin: string"),
      rows: [
        [5, "SEA"],
        [null, "SFO"],
        [20, "SEA"],
        [5, "LAX"],
      ],
    };

    it("filter keeps rows for which the predicate is true, not null", async () => {
      expect(await run("filter", { predicate: "delay < 10 -- not late" }, flights)).to.deep.equal([
        ["delay", "Origin"],
        [5, "SEA"],
        [5, "LAX"],
      ]);
    });

    it("derive computes every column from the input's, also when one replaces another", async () => {
      const derived = await run(
        "derive",
        {
          columns: [
            { name: "DELAY", expression: "delay * 100" },
            { name: "twice", expression: "delay * 2 -- of the input" },
          ],
        },
        flights,
      );
      expect(derived.slice(0, 2)).to.deep.equal([
        ["delay", "Origin", "twice"],
        [500, "SEA", 10],
      ]);
    });

    it("project chooses, orders and renames", async () => {
      const projected = await run(
        "project",
        { columns: [{ name: "origin", as: 'a "b"' }, { name: "delay" }] },
        flights,
      );
      expect(projected.slice(0, 2)).to.deep.equal([
        ['a "b"', "delay"],
        ["SEA", 5],
      ]);
    });

    const airports: Table = {
      schema: columns("iata: string, delay: integer, DELAY#@1: integer"),
      rows: [
        ["SEA", 1, 2],
        ["SEA", 3, 4],
        ["LAX", 5, 6],
      ],
    };

    it("join pairs rows with equal keys, drops the right keys and renames what clashes", async () => {
      const joined = await run("join", { on: [{ left: "origin", right: "iata" }] }, flights, airports);
      expect(joined[0]).to.deep.equal(["delay", "Origin", "delay#@2", "DELAY#@1"]);
      expect(joined.slice(1)).to.have.deep.members([
        [5, "SEA", 1, 2],
        [5, "SEA", 3, 4],
        [20, "SEA", 1, 2],
        [20, "SEA", 3, 4],
        [5, "LAX", 5, 6],
      ]);
    });

    it("a left join keeps rows without a partner", async () => {
      const joined = await run("join", { type: "left", on: [{ left: "origin", right: "iata" }] }, flights, airports);
      expect(joined.slice(1)).to.deep.include([null, "SFO", null, null]);
    });

    it("join takes several keys, and a row without key has no partner", async () => {
      const on = [
        { left: "origin", right: "origin" },
        { left: "delay", right: "delay" },
      ];
      expect(await run("join", { on }, flights, flights)).to.have.length(4);
    });

    it("aggregate computes every function, over groups and over everything", async () => {
      const aggregates: Json[] = [
        { function: "count", as: "rows" },
        { function: "count", column: "delay", as: "known" },
        { function: "sum", column: "delay", as: "sum" },
        { function: "avg", column: "delay", as: "avg" },
        { function: "min", column: "delay", as: "min" },
        { function: "max", column: "delay", as: "max" },
        { function: "count_distinct", column: "delay", as: "different" },
      ];
      const grouped = await run("aggregate", { groupBy: ["ORIGIN"], aggregates }, flights);
      expect(grouped[0]).to.deep.equal(["Origin", "rows", "known", "sum", "avg", "min", "max", "different"]);
      expect(grouped.slice(1)).to.deep.include.members([
        ["SEA", "2", "2", "25", 12.5, 5, 20, "2"],
        ["SFO", "1", "0", null, null, null, null, "0"],
      ]);
      expect(await run("aggregate", { aggregates: aggregates.slice(0, 1) }, flights)).to.deep.equal([["rows"], ["4"]]);
    });

    it("aggregate without aggregates gives the groups", async () => {
      expect((await run("aggregate", { groupBy: ["origin"] }, flights)).slice(1)).to.have.length(3);
    });

    it("sort puts nulls last either way, and equal rows in the order of their other columns", async () => {
      expect((await run("sort", { by: [{ column: "delay" }] }, flights)).slice(1)).to.deep.equal([
        [5, "LAX"],
        [5, "SEA"],
        [20, "SEA"],
        [null, "SFO"],
      ]);
      const descending = await run("sort", { by: [{ column: "DELAY", descending: true }] }, flights);
      expect(descending.slice(1)).to.deep.equal([
        [20, "SEA"],
        [5, "LAX"],
        [5, "SEA"],
        [null, "SFO"],
      ]);
    });

    it("limit keeps the first rows of the order it is given, however rows arrive", async () => {
      const ordering = read("sort", { by: [{ column: "delay", descending: true }] }).ordering([], [flights.schema]);
      const limited = await run("limit", { count: 2, offset: 1 }, { ...flights, ordering });
      expect(limited.slice(1)).to.deep.equal([
        [5, "LAX"],
        [5, "SEA"],
      ]);
    });

    it("union matches columns by name and keeps equal rows; distinct drops them", async () => {
      const turned: Table = { schema: columns("origin: string, delay: long"), rows: [["SEA", 5]] };
      const united = await run("union", {}, flights, turned);
      expect(united[0]).to.deep.equal(["delay", "Origin"]);
      expect(united.slice(1).filter((row) => JSON.stringify(row) === '["5","SEA"]')).to.have.length(2);
      expect(
        (await run("distinct", {}, { ...flights, rows: [...flights.rows, ...flights.rows] })).slice(1),
      ).to.have.length(4);
    });
  });

  it("say what is wrong with settings in sentences", () => {
    expect(findings("filter", {})).to.deep.equal([
      'predicate: Give either "predicate", an expression, or "predicates", a list of conditions.',
    ]);
    expect(findings("derive", {})).to.deep.equal(['columns: "columns" is missing; it must be a list in [ ].']);
    expect(findings("filter", { predicate: 3 })).to.deep.equal([
      'predicate: "predicate" must be text in quotes; it is 3.',
    ]);
    expect(findings("filter", { predicate: "" })).to.deep.equal(['predicate: "predicate" must not be empty.']);
    expect(findings("filter", { predicate: "a\0" })).to.match(/U\+0000/);
    expect(findings("limit", { count: 1.5 })).to.deep.equal(['count: "count" must be a whole number; it is 1.5.']);
    expect(findings("limit", { count: -1 })).to.deep.equal(['count: "count" must be at least 0; it is -1.']);
    expect(findings("aggregate", {})).to.deep.equal([': "groupBy" and "aggregates" must not both be empty.']);
    expect(findings("aggregate", { aggregates: [{ function: "averge", column: "x", as: "y" }] })).to.deep.equal([
      'aggregates.0.function: "function" is "averge". It must be one of: "count", "sum", "avg", "min", "max", "count_distinct", "median", "percentile", "stddev", "variance", "concat", "first", "last".',
    ]);
    expect(findings("aggregate", { aggregates: [{ function: "sun", column: "x", as: "y" }] })[0]).to.match(
      /^aggregates.0.function: "function" is "sun"; did you mean "sum"\? It must/,
    );
    expect(findings("aggregate", { aggregates: [{ function: "sum", as: "y" }] })).to.deep.equal([
      'aggregates.0.column: sum needs a "column".',
    ]);
    expect(findings("sort", { by: [{ colum: "x", column: "x" }] })).to.deep.equal([
      'by.0.colum: Unknown property "colum"; did you mean "column"? Known here: column, descending.',
    ]);
    expect(findings("sort", { by: [] })).to.deep.equal(['by: "by" must not be empty.']);
    expect(findings("sort", { by: [{ column: "a" }, { column: "A" }] })).to.match(/^by.1.column: .*"A" is used twice/);
    expect(findings("join", { on: [{ left: "a" }], type: null })).to.deep.equal([
      'type: "type" is null. It must be one of: "inner", "left", "right", "full", "semi", "anti".',
      'on.0.right: "right" is missing; it must be text in quotes.',
    ]);
    expect(findings("python-function", { code: "process_tuple", retainInputColumns: false })).to.match(/no column/);
    expect(findings("python-function", { code: "process_tuple", environment: { numpy: 2 } })).to.deep.equal([
      'environment.numpy: "numpy" must be text in quotes; it is 2.',
    ]);
    expect(findings("distinct", { columns: [] })).to.match(/Unknown property "columns"/);
  });

  it("describe their settings as JSON Schema", () => {
    for (const { type, settings } of OPERATOR_TYPES.values()) {
      const schema = z.toJSONSchema(settings, { io: "input" });
      expect(schema, type).to.include({ type: "object", additionalProperties: false });
    }
  });
});
