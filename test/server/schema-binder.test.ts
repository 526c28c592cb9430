import { expect } from "chai";
import type { BindResult } from "../../src/core/schema-binding.js";
import { CHANCE_FUNCTIONS, PURE_FUNCTIONS } from "../../src/server/binding/expression-functions.js";
import { createSchemaBinder, type SchemaBinder } from "../../src/server/binding/schema-binder.js";
import { columns } from "../support/plans.js";

const INPUT = columns(
  "delay: long, origin: string, moment: timestamp, ok: boolean, j: any, raw: binary, random: double",
);

describe("schema binder", () => {
  let binder: SchemaBinder;
  before(async () => {
    binder = await createSchemaBinder();
  });
  after(() => binder.close());

  const bindExpression = (sql: string, input = INPUT): Promise<BindResult> =>
    binder.bindSchemas({
      inputs: [input],
      expressions: [{ path: "e", sql }],
      statements: [],
      sql: `SELECT (${sql}\n) AS result FROM input0`,
    });
  async function typeOf(sql: string): Promise<string> {
    const result = await bindExpression(sql);
    if (!result.ok) throw new Error(`${sql}: ${result.findings.map((f) => f.message).join(" ")}`);
    return result.schema[0]!.type;
  }
  async function refusal(sql: string): Promise<string> {
    const result = await bindExpression(sql);
    if (result.ok) throw new Error(`${sql} was accepted`);
    expect(result.findings.every(({ property, message }) => property === "e" && /[.?)]$/.test(message))).to.equal(true);
    return result.findings.map(({ message }) => message).join(" ");
  }

  const accepted: Record<string, string> = {
    "delay > 10 AND origin LIKE 'S%' OR NOT ok": "boolean",
    "delay / 60": "double",
    "delay * 2": "long",
    "CAST(delay AS INTEGER)": "integer",
    "delay::DECIMAL(10, 2)": "double",
    "CAST(delay AS HUGEINT) + 1": "long",
    "CAST(delay AS FLOAT)": "double",
    "CAST(delay AS TINYINT)": "integer",
    "CAST(delay AS UINTEGER)": "long",
    "date_trunc('day', moment)": "timestamp",
    "CAST(moment AS DATE)": "timestamp",
    "moment AT TIME ZONE 'Europe/Paris'": "timestamp",
    "moment - TIMESTAMP '2020-01-01'": "string",
    "extract(year FROM moment)": "long",
    "upper(trim(origin)) || '!'": "string",
    "origin.upper()": "string",
    "input0.origin": "string",
    ORIGIN: "string",
    "coalesce(origin, 'none')": "string",
    "CASE WHEN delay > 3 THEN 'late' ELSE 'fine' END": "string",
    "if(ok, 1, 2)": "integer",
    "try_cast(origin AS INTEGER)": "integer",
    "TRY(CAST(origin AS INTEGER))": "integer",
    "origin IN ('SEA', 'SFO')": "boolean",
    "delay BETWEEN 1 AND 5": "boolean",
    "regexp_extract(origin, '([A-Z])', 1)": "string",
    "string_split(origin, ',')": "any",
    "list_transform([1, 2], x -> x + delay)": "any",
    "[x * 2 FOR x IN [1, 2] IF x > 1][1]": "integer",
    "list_reduce([1, 2], lambda a, b: a + b)": "integer",
    "{'a': delay, 'b': [origin]}": "any",
    "{'a': delay}.a": "long",
    "MAP {'a': 1}": "any",
    j: "any",
    "j -> '$.a'": "any",
    "j ->> '$.a'": "string",
    "json_extract_string(j, '$.a')": "string",
    "origin COLLATE NOCASE = 'sea'": "boolean",
    raw: "binary",
    "encode(origin)": "binary",
    NULL: "integer",
    "delay -- what it was": "long",
    random: "double",
    "(((delay)))": "long",
    "'); DROP TABLE x; --'": "string",
    "CASE WHEN delay < 0 THEN error('A delay cannot be so early.') ELSE delay END": "long",
    "typeof(j)": "string",
  };
  for (const [sql, type] of Object.entries(accepted))
    it(`reads ${sql} as ${type}`, async () => {
      expect(await typeOf(sql)).to.equal(type);
    });

  const hostile: Record<string, RegExp> = {
    "1); DROP TABLE x; --": /no SQL expression/,
    "1); SELECT (2": /one SQL expression/,
    "x') FROM read_text('/etc/passwd') --": /no SQL expression/,
    "delay) FROM input0 WHERE (ok": /one SQL expression/,
    "delay), (ok": /one SQL expression/,
    "delay, ok": /one SQL expression/,
    "1) OR (1": /one SQL expression/,
    "delay) UNION SELECT (1": /one SQL expression/,
    "delay) AS a, (ok) AS b, (1": /one SQL expression/,
    "1) LIMIT (1": /one SQL expression/,
    "(select content from read_text('/etc/passwd'))": /subquery/,
    "exists(select 1)": /subquery/,
    "delay = ANY(select 1)": /subquery/,
    "list_transform([1], x -> (select max(delay) from input0))": /subquery/,
    "CASE WHEN ok THEN (SELECT 1) END": /subquery/,
    "getenv('HOME')": /no function "getenv"/,
    "main.getenv('HOME')": /no function "getenv"/,
    "system.main.current_setting('memory_limit')": /no function "current_setting"/,
    "read_text('/etc/passwd')": /no function "read_text"/,
    "glob('/*')": /no function "glob"/,
    "query('select 1')": /no function "query"/,
    "getvariable('x')": /no function "getvariable"/,
    "nextval('s')": /no function "nextval"/,
    "version()": /no function "version"/,
    "json_serialize_plan('select * from read_csv(''/etc/passwd'')')": /no function "json_serialize_plan"/,
    "write_log('x')": /no function "write_log"/,
    "sleep_ms(100000)": /no function "sleep_ms"/,
    "pg_get_viewdef(1)": /no function/,
    current_user: /no column "current_user"/,
    user: /no column "user"/,
    rowid: /no column "rowid"/,
    filename: /no column "filename"/,
    input0: /no column "input0"/,
    "information_schema.tables": /no column "information_schema.tables"/,
    "sum(delay)": /aggregate operator/,
    "count(*)": /aggregate operator/,
    "max(delay) FILTER (WHERE ok)": /aggregate operator/,
    "row_number() OVER ()": /window function/,
    "unnest([1, 2])": /several rows/,
    "grouping(delay)": /aggregate operator/,
    $1: /parameter/i,
    "?": /parameter/i,
    "*": /\* is not allowed/,
    "COLUMNS('.*')": /\* is not allowed/,
    "#1": /named, not numbered/,
    DEFAULT: /DEFAULT/,
    "delay /* never ends": /no SQL expression/,
    "": /no SQL expression/,
    "delay +": /no SQL expression/,
    "SELECT 1": /subquery/,
    delayy: /did you mean "delay"/,
    "input0.delayy": /did you mean "delay"/,
    "uper(origin)": /did you mean "upper"/,
    "x -> x": /no column "x"/,
    "upper(delay, 1)": /No function matches the given name and argument types 'upper\(/,
    "delay + origin": /No function matches/,
    "delay::nonsense": /nonsense/,
  };
  for (const [sql, reason] of Object.entries(hostile))
    it(`refuses ${sql || "an empty text"}`, async () => {
      const message = await refusal(sql);
      expect(message).to.match(reason);
      expect(message).not.to.match(/LINE \d|\n|\^$/);
    });

  it("refuses expressions nested beyond measure instead of failing", async () => {
    expect(await refusal(`${"(".repeat(9_000)}1`)).to.match(/no SQL expression/);
    expect(await refusal(Array(4_000).fill("1").join("+"))).to.match(/depth/);
    expect(await refusal("not ".repeat(2_400))).to.match(/no SQL expression/);
  });

  it("reports every problem of an expression, and every expression", async () => {
    const result = await binder.bindSchemas({
      inputs: [INPUT],
      expressions: [
        { path: "columns.0.expression", sql: "delayy + getenv('HOME')" },
        { path: "columns.1.expression", sql: "delay" },
        { path: "columns.2.expression", sql: "origen" },
      ],
      statements: [],
      sql: "SELECT 1",
    });
    expect(result.ok ? [] : result.findings.map((f) => f.property)).to.deep.equal([
      "columns.0.expression",
      "columns.0.expression",
      "columns.2.expression",
    ]);
  });

  it("knows which expressions are left to chance", async () => {
    const chanceOf = async (sql: string, input = columns("delay: long, moment: timestamp")) => {
      const result = await bindExpression(sql, input);
      return result.ok ? result.nondeterminism : result.findings;
    };
    expect(await chanceOf("delay + 1")).to.equal(undefined);
    expect(await chanceOf("random()")).to.match(/random\(\)/);
    expect(await chanceOf("CASE WHEN delay > 1 THEN uuid() END")).to.match(/uuid\(\)/);
    expect(await chanceOf("moment < now()")).to.match(/now\(\)/);
    expect(await chanceOf("current_timestamp")).to.match(/current_timestamp/);
    expect(await chanceOf("age(moment)")).to.match(/age\(\)/);
    expect(await chanceOf("age(moment, moment)")).to.equal(undefined);
    // A column of that name is a column.
    expect(await chanceOf("current_date", columns("current_date: string"))).to.equal(undefined);
  });

  it("turns nested results into JSON text in the statement that runs", async () => {
    const result = await bindExpression("[delay]");
    expect(result.ok && result.sql).to.match(
      /^SELECT CAST\(to_json\("result"\) AS VARCHAR\) AS "result" FROM \(SELECT /,
    );
    const plain = await bindExpression("delay");
    expect(plain.ok && plain.sql).to.equal("SELECT (delay\n) AS result FROM input0");
  });

  it("lets an expression see the columns of the input it names", async () => {
    const bind = (input: number | undefined, sql: string) =>
      binder.bindSchemas({
        inputs: [columns("a: long"), columns("b: string")],
        expressions: [{ path: "e", sql, ...(input === undefined ? {} : { input }) }],
        statements: [],
        sql: "SELECT * FROM input0",
      });
    expect((await bind(1, "upper(b)")).ok).to.equal(true);
    expect((await bind(0, "a + 1")).ok).to.equal(true);
    const other = await bind(1, "a + 1");
    expect(other.ok ? [] : other.findings[0]?.message).to.match(/no column "a".*The columns are b/);
  });

  it("refuses results with two columns of one name", async () => {
    const sql = 'SELECT delay, origin AS "Delay" FROM input0';
    const result = await binder.bindSchemas({ inputs: [INPUT], expressions: [], statements: [], sql });
    expect(result.ok ? [] : result.findings[0]?.message).to.match(/Two columns of the result are named "Delay"/i);
  });

  it("quotes names of columns, whatever they hold", async () => {
    const input = [{ name: 'a"); DROP TABLE x; --', type: "long" as const }];
    const result = await binder.bindSchemas({
      inputs: [input],
      expressions: [],
      statements: [],
      sql: "SELECT * FROM input0",
    });
    expect(result.ok && result.schema).to.deep.equal(input);
  });

  it("answers calls side by side, each from its own inputs", async () => {
    const calls = Array.from({ length: 100 }, (_, i) =>
      binder.bindSchemas({
        inputs: [[{ name: `c${i}`, type: i % 2 ? "long" : "string" }]],
        expressions: [{ path: "e", sql: `c${i}` }],
        statements: [],
        sql: `SELECT c${i} FROM input0`,
      }),
    );
    for (const [i, result] of (await Promise.all(calls)).entries())
      expect(result.ok && result.schema).to.deep.equal([{ name: `c${i}`, type: i % 2 ? "long" : "string" }]);
    const without = await binder.bindSchemas({
      inputs: [],
      expressions: [],
      statements: [],
      sql: "SELECT * FROM input0",
    });
    expect(without.ok).to.equal(false);
  });

  it("reads no file and no setting, whatever statement it is given", async () => {
    for (const sql of [
      "SELECT * FROM read_text('/etc/passwd')",
      "SELECT * FROM read_csv('/etc/passwd')",
      "SELECT * FROM '/etc/passwd'",
      "SELECT * FROM glob('/etc/*')",
    ]) {
      const outcome = await binder.bindSchemas({ inputs: [], expressions: [], statements: [], sql }).then(
        (result) => result.ok,
        () => false,
      );
      expect(outcome, sql).to.equal(false);
    }
  });

  it("is left with no function in its lists that DuckDB does not know", async () => {
    // `coalesce`, `if` and the like are syntax; names without parentheses are values.
    const syntax = new Set([
      "coalesce",
      "if",
      "ifnull",
      "current_time",
      "current_timestamp",
      "localtime",
      "localtimestamp",
    ]);
    const unknown: string[] = [];
    for (const name of [...PURE_FUNCTIONS, ...CHANCE_FUNCTIONS]) {
      if (syntax.has(name)) continue;
      const result = await bindExpression(`"${name}"(1, 2, 3, 4, 5, 6, 7, 8, 9)`);
      if (!result.ok && result.findings.some(({ message }) => /does not exist/.test(message))) unknown.push(name);
    }
    expect(unknown).to.deep.equal([]);
  });
});
