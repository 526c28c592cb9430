import { expect } from "chai";
import type { BindResult } from "../../src/core/schema-binding.js";
import { createSchemaBinder, type SchemaBinder } from "../../src/server/binding/schema-binder.js";
import { isStatementFunction, statementFunctions } from "../../src/server/binding/statement-functions.js";
import { HOSTILE_STATEMENTS } from "../support/hostile-statements.js";
import { columns } from "../support/plans.js";

const INPUTS = [
  columns("delay: long, origin: string, moment: timestamp, tags: any, user: string"),
  columns("iata: string, city: string, delay: long"),
];

const words = (text: string): ReadonlySet<string> => new Set(text.split(" "));

describe("a statement of an author", () => {
  let binder: SchemaBinder;
  before(async () => {
    binder = await createSchemaBinder();
  });
  after(() => binder.close());

  const bind = (sql: string): Promise<BindResult> =>
    binder.bindSchemas({
      inputs: INPUTS,
      expressions: [],
      statements: [{ path: "statement", sql }],
      sql: `SELECT * FROM (${sql}\n)`,
    });
  async function accepted(sql: string): Promise<Extract<BindResult, { ok: true }>> {
    const result = await bind(sql);
    if (!result.ok) throw new Error(`${sql}: ${result.findings.map((f) => f.message).join(" ")}`);
    return result;
  }
  const typesOf = async (sql: string) =>
    (await accepted(sql)).schema.map(({ name, type }) => `${name}: ${type}`).join(", ");

  const statements: Record<string, string> = {
    "SELECT * FROM input0": "delay: long, origin: string, moment: timestamp, tags: any, user: string",
    "FROM INPUT1": "iata: string, city: string, delay: long",
    "SELECT i.city FROM input1 i -- the end": "city: string",
    "SELECT a.city, count(*) AS n FROM input0 f JOIN input1 a ON f.origin = a.iata GROUP BY ALL HAVING n > 1 ORDER BY n":
      "city: string, n: long",
    "WITH late AS (SELECT * FROM input0 WHERE delay > 9), far AS (FROM late) SELECT count(*) AS n FROM far": "n: long",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT n FROM t": "n: integer",
    "SELECT origin FROM input0 WHERE origin IN (SELECT iata FROM input1) AND EXISTS (FROM input1)": "origin: string",
    "SELECT iata FROM input1 UNION SELECT origin FROM input0 EXCEPT SELECT 'x'": "iata: string",
    "SELECT * EXCLUDE (moment, tags, user) REPLACE (delay / 2 AS delay) FROM input0": "delay: double, origin: string",
    "SELECT origin, row_number() OVER (PARTITION BY origin ORDER BY delay) AS nr FROM input0 QUALIFY nr = 1":
      "origin: string, nr: long",
    "SELECT u.x, r.range FROM input0, unnest(string_split(origin, ',')) u(x), range(3) r": "x: string, range: long",
    "SELECT unnest([1, 2]) AS n": "n: integer",
    "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) v(n, s)": "n: integer, s: string",
    "SELECT tags FROM input0": "tags: any",
    "SELECT [delay] AS list FROM input0": "list: any",
    "SELECT list_transform([1], x -> x + 1) AS l, median(delay) AS m FROM input0": "l: any, m: double",
    "SELECT user FROM input0": "user: string",
    "SELECT DISTINCT ON (origin) origin, delay FROM input0 ORDER BY origin, delay": "origin: string, delay: long",
    "SELECT max(delay) FILTER (WHERE delay > 1) AS m, sum(DISTINCT delay) AS s FROM input0": "m: long, s: long",
    "SELECT x.a FROM (SELECT {'a': delay} AS x FROM input0)": "a: long",
    "SELECT l.d FROM input1, LATERAL (SELECT input1.delay + 1 AS d) l": "d: long",
    "SELECT delay AS a, delay AS b, #1 AS c FROM input0": "a: long, b: long, c: long",
  };
  for (const [sql, types] of Object.entries(statements))
    it(`reads ${sql}`, async () => {
      expect(await typesOf(sql)).to.equal(types);
    });

  for (const [sql, reason] of Object.entries(HOSTILE_STATEMENTS))
    it(`refuses ${sql}`, async () => {
      const result = await bind(sql);
      if (result.ok) throw new Error(`${sql} was accepted`);
      const message = result.findings.map((f) => f.message).join(" ");
      expect(result.findings.every(({ property }) => property === "statement")).to.equal(true);
      expect(message).to.match(reason);
      expect(message).to.match(/[.?)]$/);
      expect(message).not.to.match(/LINE \d|\n|root:/);
    });

  it("refuses every statement it reads, once a file takes the place of an input", async () => {
    for (const sql of Object.keys(statements)) {
      const places = [...sql.matchAll(/\binput[01]\b(?!\.)/gi)];
      for (const { index, 0: name } of places)
        for (const file of ["'x.csv'", '"/etc/passwd"', "read_csv('x.csv')", "duckdb_settings()", "main.input0"]) {
          const hostile = sql.slice(0, index) + file + sql.slice(index + name.length);
          expect((await bind(hostile)).ok, hostile).to.equal(false);
        }
    }
  }).timeout(60_000);

  it("knows what a statement leaves to chance", async () => {
    const chanceOf = async (sql: string) => (await accepted(sql)).nondeterminism;
    for (const sql of [
      "SELECT delay FROM input0 ORDER BY delay LIMIT 3",
      "SELECT string_agg(origin, ',' ORDER BY origin) AS s FROM input0",
      "SELECT list(origin ORDER BY origin DESC) AS l FROM input0",
      "SELECT list_sort(list(delay)) AS l FROM input0",
      "SELECT row_number() OVER (ORDER BY delay) AS n FROM input0",
      "SELECT count(*) AS n FROM input0",
    ])
      expect(await chanceOf(sql), sql).to.equal(undefined);
    const left: [string, RegExp][] = [
      ["SELECT delay FROM input0 LIMIT 3", /LIMIT without ORDER BY/],
      ["SELECT * FROM (SELECT delay FROM input0 LIMIT 10%)", /LIMIT/],
      ["SELECT delay FROM input0 WHERE delay > (SELECT delay FROM input1 OFFSET 1 LIMIT 1)", /LIMIT/],
      ["SELECT DISTINCT ON (origin) delay FROM input0", /DISTINCT ON/],
      ["SELECT random() AS r FROM input0", /random\(\)/],
      ["SELECT delay FROM input0 ORDER BY random() LIMIT 1", /random\(\)/],
      ["SELECT now() AS t", /now\(\)/],
      ["SELECT current_date AS t", /current_date/],
      ["SELECT age(moment) AS a FROM input0", /age\(\)/],
      ["SELECT delay FROM input0 TABLESAMPLE 10%", /a sample/],
      ["SELECT delay FROM input0 USING SAMPLE 5 ROWS", /a sample/],
      ["SELECT list(delay) AS l FROM input0", /list\(\) without ORDER BY/],
      ["SELECT list_sort([first(delay)]) AS l FROM input0", /first\(\) without ORDER BY/],
      ["SELECT first(delay) AS f FROM input0", /first\(\) without ORDER BY/],
      ["SELECT row_number() OVER () AS n FROM input0", /row_number\(\) without ORDER BY/],
      ["SELECT input0.delay FROM input0 POSITIONAL JOIN input1", /positional join/],
      ["WITH x AS (SELECT uuid() AS u) SELECT u FROM x", /uuid\(\)/],
    ];
    for (const [sql, reason] of left) expect(await chanceOf(sql), sql).to.match(reason);
  });

  it("says what is wrong with columns, and lets no result have two of one name", async () => {
    const messageOf = async (sql: string) => {
      const result = await bind(sql);
      return result.ok ? "" : result.findings.map((f) => `${f.property}: ${f.message}`).join(" ");
    };
    expect(await messageOf("SELECT delayy FROM input0")).to.match(/^statement: .*delayy/);
    expect(await messageOf("SELECT delay FROM input0 JOIN input1 USING (nothing)")).to.match(/nothing/);
    expect(await messageOf("SELECT delay FROM input0, input1")).to.match(/[Aa]mbiguous/);
    expect(await messageOf("SELECT delay + origin FROM input0")).to.match(/No function matches/);
  });

  it("does not fail over deep or large statements", async () => {
    for (const sql of [
      `SELECT ${"(".repeat(5_000)}1`,
      `SELECT ${Array(3_000).fill("1").join("+")} AS n`,
      `${"SELECT * FROM (".repeat(300)}SELECT 1 AS n${")".repeat(300)}`,
      `SELECT ${"list_transform([1], x -> ".repeat(6)}1${")".repeat(6)} AS n`,
      "SELECT 1e999 AS n",
    ]) {
      const result = await bind(sql);
      if (!result.ok) expect(result.findings[0]?.message).to.match(/[.?)]$/);
    }
  });

  it("has no function in its lists that DuckDB does not know", async () => {
    const syntax = words(
      "coalesce if ifnull current_time current_timestamp localtime localtimestamp grouping grouping_id",
    );
    const names = statementFunctions().filter((name) => !syntax.has(name));
    const unknown: string[] = [];
    for (const name of names) {
      const call = `"${name}"(1, 2, 3, 4, 5, 6, 7, 8, 9)`;
      const isThere = async (sql: string) => {
        const result = await bind(sql);
        return result.ok || !result.findings.some(({ message }) => /does not exist/.test(message));
      };
      // Some are known over a window only.
      if (
        !(await isThere(`SELECT ${call} AS n FROM input0`)) &&
        !(await isThere(`SELECT ${call} OVER () AS n FROM input0`))
      )
        unknown.push(name);
    }
    expect(unknown).to.deep.equal([]);
    expect(isStatementFunction("read_text")).to.equal(false);
  });
});
