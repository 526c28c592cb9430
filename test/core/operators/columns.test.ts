import { expect } from "chai";
import { exampleRows } from "../../../src/core/operators/example-rows.js";
import { ATTRIBUTE_TYPES, type Json } from "../../../src/core/plan.js";
import { type OperatorRuns, operatorRuns } from "../../support/operator-runs.js";

describe("operators over columns", function () {
  this.timeout(60_000);
  let runs: OperatorRuns;
  before(async () => {
    runs = await operatorRuns();
  });
  after(() => runs.close());

  const ROW = exampleRows(
    { s: "string", i: "integer", l: "long", d: "double", b: "boolean", t: "timestamp", x: "binary", j: "any" },
    ["12", 1, 2, 1.5, true, "2024-01-31T08:00:00Z", "C3A4", { a: 1 }],
    [null, null, null, null, null, null, null, null],
  );
  const schemaOf = async (type: string, properties: Record<string, unknown>): Promise<string> => {
    const [output] = await runs.queried(type, properties, [ROW]);
    return output!.schema.map((column) => `${column.name}: ${column.type}`).join(", ");
  };

  it("project keeps, drops and renames", async () => {
    expect(await schemaOf("project", { columns: [{ name: "T" }, { name: "s", as: "T2" }] })).to.equal(
      "t: timestamp, T2: string",
    );
    expect(await schemaOf("project", { drop: ["S", "i", "l", "d", "b", "x"] })).to.equal("t: timestamp, j: any");
    expect(
      await schemaOf("project", {
        drop: ["i", "l", "d", "b", "x", "j"],
        rename: [
          { name: "t", as: "s2" },
          { name: "s", as: "t" },
        ],
      }),
    ).to.equal("t: string, s2: timestamp");
  });

  it("project refuses what leaves no column, or two of one name", async () => {
    const refused = (properties: Record<string, unknown>) =>
      runs.findings("project", properties, [exampleRows({ a: "long", b: "long" })]);
    expect(await refused({ drop: ["a", "B"] })).to.deep.equal(["drop: No column would be left; keep one at least."]);
    expect(await refused({ rename: [{ name: "a", as: "B" }] })).to.deep.equal([
      'rename: The column name "b" is used twice; choose another.',
    ]);
    expect(await refused({ drop: ["a"], rename: [{ name: "a", as: "c" }] })).to.deep.equal([
      'rename.0.name: The column name "a" is used twice; choose another.',
    ]);
    for (const properties of [{}, { columns: [{ name: "a" }], drop: ["b"] }])
      expect(await refused(properties)).to.deep.equal([
        ': Give either "columns", what stays, or "drop" and "rename", what changes.',
      ]);
  });

  it("cast converts every type to every type that makes sense, keeps nulls, and refuses the others", async () => {
    const expected: Record<string, Record<string, Json>> = {
      s: { integer: 12, long: 12, double: 12, binary: "3132", any: "12", boolean: null, timestamp: null },
      i: { string: "1", long: 1, double: 1, boolean: true, timestamp: "1970-01-01T00:00:00.001Z", any: 1 },
      l: { string: "2", integer: 2, double: 2, boolean: true, timestamp: "1970-01-01T00:00:00.002Z", any: 2 },
      d: { string: "1.5", integer: 2, long: 2, boolean: true, any: 1.5 },
      b: { string: "true", integer: 1, long: 1, double: 1, any: true },
      t: { string: "2024-01-31 08:00:00", long: 1706688000000, any: "2024-01-31 08:00:00" },
      x: { string: "ä" },
      j: { string: '{"a":1}', integer: null, long: null, double: null, boolean: null, timestamp: null },
    };
    for (const [at, { name, type: from }] of ROW.schema.entries())
      for (const to of ATTRIBUTE_TYPES) {
        const properties = { columns: [{ column: name, to }], onError: "null" };
        if (to === from) continue;
        if (expected[name]![to] === undefined) {
          expect(await runs.findings("cast", properties, [ROW]), `${from} to ${to}`).to.deep.equal([
            `columns.0.to: "${name}" is ${from}, which cannot become ${to}; cast it to string, or derive a column from it.`,
          ]);
          continue;
        }
        const [output] = await runs.queried("cast", properties, [ROW]);
        expect(output!.schema[at], `${from} to ${to}`).to.deep.equal({ name, type: to });
        expect(
          output!.rows.map((row) => row[at]),
          `${from} to ${to}`,
        ).to.deep.equal([expected[name]![to], null]);
      }
  });

  it("cast reads and writes times in a given form, and heeds a zone in the text", async () => {
    const cast = async (text: string, format?: string) => {
      const column = { column: "s", to: "timestamp", ...(format === undefined ? {} : { format }) };
      return (await runs.queried("cast", { columns: [column] }, [exampleRows({ s: "string" }, [text])]))[0]!
        .rows[0]![0];
    };
    expect(await cast("31.01.2024 08:05", "%d.%m.%Y %H:%M")).to.equal("2024-01-31T08:05:00Z");
    expect(await cast("2024-01-31T10:00:00+02:00")).to.equal("2024-01-31T08:00:00Z");
    expect(await cast("2024-01-31")).to.equal("2024-01-31T00:00:00Z");
    const [written] = await runs.queried("cast", { columns: [{ column: "t", to: "string", format: "%d.%m.'%y" }] }, [
      exampleRows({ t: "timestamp" }, ["2024-01-31T08:00:00Z"]),
    ]);
    expect(written!.rows).to.deep.equal([["31.01.'24"]]);
    expect(
      await runs.findings("cast", { columns: [{ column: "i", to: "double", format: "%d" }] }, [ROW]),
    ).to.deep.equal(['columns.0.format: "format" is for texts and timestamps; leave it out.']);
  });

  it("cast takes a text within JSON without its quotes", async () => {
    const [output] = await runs.queried("cast", { columns: [{ column: "j", to: "string" }] }, [
      exampleRows({ j: "any" }, ['a"b'], [[1, "x"]], [null]),
    ]);
    expect(output!.rows).to.deep.equal([['a"b'], ['[1,"x"]'], [null]]);
    const [times] = await runs.queried("cast", { columns: [{ column: "j", to: "timestamp" }] }, [
      exampleRows({ j: "any" }, ["2024-01-31T08:00:00+02:00"]),
    ]);
    expect(times!.rows).to.deep.equal([["2024-01-31T06:00:00Z"]]);
  });

  it("cast makes JSON that can be read of every double", async () => {
    const [output] = await runs.queried("cast", { columns: [{ column: "d", to: "any" }] }, [
      exampleRows({ d: "double" }, [1.5], ["NaN"], ["-Infinity"]),
    ]);
    expect(output!.rows).to.deep.equal([[1.5], [null], [null]]);
  });

  it("cast says at its setting what is wrong with a format", async () => {
    for (const [column, to] of [
      ["s", "timestamp"],
      ["t", "string"],
    ])
      expect((await runs.findings("cast", { columns: [{ column, to, format: "%Q" }] }, [ROW]))[0]).to.match(
        /^columns\.0\.format: Failed to parse format specifier %Q/,
      );
  });

  it("cast ends the run at what it cannot convert, unless null may take its place", async () => {
    const input = [exampleRows({ s: "string" }, ["1"], ["one"])];
    const properties = { columns: [{ column: "s", to: "integer" }] };
    const failure = await runs.run("cast", properties, input).catch((error: Error) => error.message);
    expect(failure).to.include("Could not convert string 'one'");
    const [output] = await runs.run("cast", { ...properties, onError: "null" }, input);
    expect(output!.rows).to.deep.equal([[1], [null]]);
  });

  it("fill-nulls fills columns of every type and leaves their types", async () => {
    const values: Record<string, Json> = {
      s: "o'clock",
      i: -3,
      l: "9007199254740993",
      d: 0.5,
      b: false,
      t: "2024-01-01T00:00:00+01:00",
      x: "00ff",
      j: "text",
    };
    const columns = Object.entries(values).map(([column, value]) => ({ column, value }));
    const [output] = await runs.queried("fill-nulls", { columns }, [ROW]);
    expect(output!.schema).to.deep.equal(ROW.schema);
    expect(output!.rows[0]).to.deep.equal(ROW.rows[0]);
    expect(output!.rows[1]).to.deep.equal([
      "o'clock",
      -3,
      "9007199254740993",
      0.5,
      false,
      "2023-12-31T23:00:00Z",
      "00FF",
      "text",
    ]);
  });

  it("fill-nulls refuses what does not fit, and two sources", async () => {
    const refused = (column: object) => runs.findings("fill-nulls", { columns: [column] }, [ROW]);
    expect(await refused({ column: "i", value: 1.5 })).to.deep.equal([
      'columns.0.value: "i" is integer, and 1.5 is not: write a whole number of at most 32 bits.',
    ]);
    expect(await refused({ column: "i", value: 2 ** 31 })).to.have.length(1);
    expect(await refused({ column: "l", value: "9223372036854775808" })).to.have.length(1);
    expect(await refused({ column: "s", from: "d" })).to.deep.equal([
      'columns.0.from: "s" is string and "d" is double; convert one of them with a cast first.',
    ]);
    expect(await refused({ column: "s", from: "s", value: "x" })).to.deep.equal([
      'columns.0: Give either "value" or "from", another column.',
    ]);
  });

  it("pivot and unpivot are each other's reverse where every group has every value", async () => {
    const long = exampleRows(
      { city: "string", month: "string", delay: "double" },
      ["É", "jan", 1.5],
      ["É", "feb", 2],
      [null, "jan", 3],
      [null, "feb", 4],
    );
    const wide = await runs.queried(
      "pivot",
      {
        groupBy: ["city"],
        column: "month",
        values: [{ value: "jan" }, { value: "feb" }],
        function: "max",
        of: "delay",
      },
      [long],
    );
    expect(wide[0]!.schema.map(({ name }) => name)).to.deep.equal(["city", "jan", "feb"]);
    const properties = { columns: ["jan", "feb"], nameColumn: "month", valueColumn: "delay" };
    const [back] = await runs.queried("unpivot", properties, wide);
    expect(back!.schema).to.deep.equal(long.schema);
    expect(back!.rows).to.have.deep.members(long.rows);
  });

  it("pivot takes values of every type that has equality, counts rows, and gives one row without groups", async () => {
    for (const [column, value] of [
      ["s", "12"],
      ["i", 1],
      ["d", 1.5],
      ["b", true],
      ["t", "2024-01-31T08:00:00Z"],
    ] as const) {
      const properties = { column, values: [{ value, as: "n" }], function: "count" };
      expect((await runs.queried("pivot", properties, [ROW]))[0]!.rows, column).to.deep.equal([[1]]);
    }
    expect(
      await runs.findings("pivot", { column: "j", values: [{ value: "", as: "n" }], function: "sum", of: "s" }, [ROW]),
    ).to.deep.equal([
      'column: "j" is any, whose values cannot be listed; cast it to string first.',
      'of: sum needs numbers and "s" is string; convert it with a cast first.',
    ]);
  });

  it("pivot wants a name for a value that cannot be one", async () => {
    for (const value of ["", "x".repeat(256)])
      expect(
        await runs.findings("pivot", { column: "s", values: [{ value }], function: "count" }, [ROW]),
      ).to.deep.equal(['values.0.as: An empty or very long text cannot name a column; give "as".']);
  });

  it("unpivot keeps nulls when told to, and refuses columns of different types", async () => {
    const input = exampleRows({ k: "long", a: "integer", b: "double" }, [1, null, 2.5], [2, 1, null]);
    const [without] = await runs.queried("unpivot", { columns: ["a", "b"] }, [input]);
    expect(without!.rows).to.have.deep.members([
      [1, "b", 2.5],
      [2, "a", 1],
    ]);
    const [all] = await runs.queried("unpivot", { columns: ["a", "b"], keepNulls: true }, [input]);
    expect(all!.rows).to.have.length(4);
    expect(await runs.findings("unpivot", { columns: ["s", "i"], nameColumn: "D" }, [ROW])).to.deep.equal([
      'columns: "s" is string and "i" is integer; convert them to one type with a cast first.',
      'nameColumn: The column name "D" is used twice; choose another.',
    ]);
    const [json] = await runs.queried("unpivot", { columns: ["j"] }, [exampleRows({ j: "any" }, [{ a: 1 }])]);
    expect(json!.schema.at(-1)).to.deep.equal({ name: "value", type: "any" });
    expect(json!.rows).to.deep.equal([["j", { a: 1 }]]);
  });
});
