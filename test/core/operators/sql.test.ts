import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { DuckDBInstance } from "@duckdb/node-api";
import { expect } from "chai";
import { OPERATOR_TYPES } from "../../../src/core/operators/catalogue.js";
import { exampleRows } from "../../../src/core/operators/example-rows.js";
import type { PhysicalPlan } from "../../../src/core/plan.js";
import { readStatement } from "../../../src/server/binding/statement-syntax.js";
import { type OperatorRuns, operatorRuns } from "../../support/operator-runs.js";
import { ran, scratch } from "../../support/plan-runs.js";

const ROWS = exampleRows({ a: "long", b: "string" }, [1, "x"], [2, "y"], [3, "y"]);

describe("the sql operator", function () {
  this.timeout(60_000);
  let runs: OperatorRuns;
  before(async () => {
    runs = await operatorRuns();
  });
  after(() => runs.close());

  const rowsOf = async (statement: string, inputs = [ROWS]) => {
    const [output] = await runs.run("sql", { statement, inputs: inputs.length }, inputs);
    return output!.rows;
  };

  it("runs a statement over any number of inputs, also none", async () => {
    expect(await rowsOf("SELECT b, sum(a) AS a FROM input0 GROUP BY b ORDER BY b;\n ;")).to.deep.equal([
      ["x", 1],
      ["y", 5],
    ]);
    expect(await rowsOf("SELECT count(*) AS n FROM input0, input1, input2", [ROWS, ROWS, ROWS])).to.deep.equal([[27]]);
    expect(await rowsOf("SELECT range AS n FROM range(3) -- made here", [])).to.deep.equal([[0], [1], [2]]);
  });

  it("keeps lists and structures as JSON", async () => {
    expect(await rowsOf("SELECT [a] AS l, {'b': b} AS s FROM input0 WHERE a = 1")).to.deep.equal([[[1], { b: "x" }]]);
  });

  it("gives findings at its setting, and for what is missing", async () => {
    expect(await runs.findings("sql", { statement: "SELECT aa FROM input0" }, [ROWS])).to.satisfy(
      ([finding]: string[]) => /^statement: .*aa/.test(finding!),
    );
    expect(await runs.findings("sql", {}, [ROWS])).to.deep.equal([
      'statement: "statement" is missing; it must be text in quotes.',
    ]);
    expect((await runs.findings("sql", { statement: "SELECT 1 AS n", inputs: 17 }, [ROWS]))[0]).to.match(/at most 16/);
  });

  it("is not reused when its statement leaves something to chance", async () => {
    const compiled = await runs.compile("sql", { statement: "SELECT a FROM input0 LIMIT 1" }, [ROWS]);
    const output = compiled.ok
      ? compiled.plan.operators.find(({ operatorId }) => operatorId === "op")!.outputs[0]!
      : undefined;
    expect(output?.uncacheableReason).to.match(/LIMIT without ORDER BY/);
    expect(output?.subdagHash).to.equal("");
  });

  describe("in a plan made by hand", () => {
    let server: Server;
    let address: string;
    let connections = 0;
    const files = scratch();
    const secret = "the secret nobody reads";
    before(async () => {
      server = createServer((_, reply) => reply.end("a\n1\n")).on("connection", () => connections++);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
      for (const name of ["secret.csv", "secret.txt"]) writeFileSync(join(files.directory, name), `a\n${secret}\n`);
    });
    after(() => {
      server.close();
      files.remove();
    });

    let count = 0;
    /** Runs a plan whose operator carries this text, as no compiler would make it. */
    async function ranByHand(sql: string, change: (plan: PhysicalPlan) => PhysicalPlan = (plan) => plan) {
      const compiled = await runs.compile("sql", { statement: "SELECT 'x' AS a", inputs: 0 }, []);
      if (!compiled.ok) throw new Error("The plan before it was changed is sound.");
      const operators = compiled.plan.operators.map((operator) => ({
        ...operator,
        implementation: { kind: "query" as const, sql, furtherSql: [] },
      }));
      const results = scratch();
      try {
        return await ran(change({ ...compiled.plan, operators }), {
          resultPrefix: results.uri,
          workDirectory: join(results.directory, `work-${count++}`),
        });
      } finally {
        results.remove();
      }
    }

    const file = (name: string) => join(files.directory, name);
    const hostile: [what: string, sql: () => string][] = [
      ["a file by its name", () => `SELECT a FROM '${file("secret.csv")}'`],
      ["read_csv", () => `SELECT a FROM read_csv('${file("secret.csv")}')`],
      ["read_text", () => `SELECT content AS a FROM read_text('${file("secret.txt")}')`],
      ["read_blob", () => `SELECT CAST(content AS VARCHAR) AS a FROM read_blob('${file("secret.txt")}')`],
      ["glob", () => `SELECT file AS a FROM glob('${files.directory}/*')`],
      ["the environment", () => "SELECT getenv('PATH') AS a"],
      ["/proc", () => "SELECT content AS a FROM read_text('/proc/self/environ')"],
      [
        "a way around paths",
        () =>
          `SELECT content AS a FROM read_text('${files.directory}/../${files.directory.split("/").at(-1)}/secret.txt')`,
      ],
      ["another machine by name", () => `SELECT a FROM 'http://${address}/x.csv'`],
      ["another machine by function", () => `SELECT a FROM read_csv('http://${address}/x.csv')`],
      ["another machine, encrypted", () => `SELECT a FROM read_csv('https://${address}/x.csv')`],
      ["object storage", () => `SELECT a FROM read_parquet('s3://${address}/x.parquet')`],
      ["a second statement", () => "SELECT 'x' AS a) ; SET enable_external_access = true; SELECT ('x' AS a"],
      ["an extension", () => "SELECT 'x' AS a) AS query; INSTALL httpfs; SELECT * FROM (SELECT 'x' AS a"],
      [
        "a copy",
        () => `SELECT 'x' AS a) AS query; COPY (SELECT 1) TO '${file("written.csv")}'; SELECT * FROM (SELECT 'x' AS a`,
      ],
      ["another database", () => `SELECT 'x' AS a) AS query; ATTACH '${file("x.db")}'; SELECT * FROM (SELECT 'x' AS a`],
      [
        "its settings",
        () => "SELECT 'x' AS a) AS query; SET lock_configuration = false; SELECT * FROM (SELECT 'x' AS a",
      ],
    ];
    for (const [what, sql] of hostile)
      it(`is refused by the engine: ${what}`, async () => {
        const { state, manifest } = await ranByHand(sql());
        expect(state).to.equal("FAILED");
        const said = JSON.stringify(manifest.failure);
        expect(said).not.to.include(secret);
        expect(manifest.ports).to.deep.equal([]);
        expect(connections, "connections to another machine").to.equal(0);
      });

    for (const uri of ["http://ADDRESS/x.csv", "https://ADDRESS/x.csv", "s3://bucket/x.csv", "ftp://ADDRESS/x.csv"])
      it(`reads no dataset at ${uri}`, async () => {
        const compiled = await runs.compile("scan", OPERATOR_TYPES.get("scan")!.example.properties, [
          ...OPERATOR_TYPES.get("scan")!.example.inputs,
        ]);
        if (!compiled.ok) throw new Error("The plan before it was changed is sound.");
        const { manifest, state } = await ranByHand("", () => ({
          ...compiled.plan,
          operators: compiled.plan.operators.map((operator) => {
            const { implementation } = operator;
            if (implementation.kind !== "scan") return operator;
            const scan = { ...implementation.scan, uri: uri.replace("ADDRESS", address) };
            return { ...operator, implementation: { kind: "scan" as const, scan } };
          }),
        }));
        expect([state, manifest.failure?.reason]).to.deep.equal(["FAILED", "INPUT_UNREADABLE"]);
        expect(connections).to.equal(0);
      });

    it("can be cancelled while a recursion that never ends is at work", async () => {
      const ends =
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n FROM t) SELECT CAST(max(n) AS VARCHAR) AS a FROM t";
      const compiled = await runs.compile("sql", { statement: ends, inputs: 0 }, []);
      if (!compiled.ok) throw new Error(JSON.stringify(compiled.diagnostics));
      const results = scratch();
      const stop = new AbortController();
      setTimeout(() => stop.abort(), 500);
      const { state } = await ran(compiled.plan, {
        resultPrefix: results.uri,
        workDirectory: join(results.directory, "work"),
        signal: stop.signal,
      });
      results.remove();
      expect(state).to.equal("KILLED");
    });
  });

  it("is like every other operator in that no query of the catalogue reads anything but its inputs", async () => {
    const instance = await DuckDBInstance.create(":memory:");
    const connection = await instance.connect();
    for (const { type, example } of OPERATOR_TYPES.values()) {
      const compiled = await runs.compile(type, example.properties, example.inputs);
      if (!compiled.ok) throw new Error(`${type}: ${JSON.stringify(compiled.diagnostics)}`);
      const { implementation } = compiled.plan.operators.find(({ operatorId }) => operatorId === "op")!;
      if (implementation.kind !== "query") continue;
      for (const sql of [implementation.sql, ...implementation.furtherSql]) {
        const tree = await connection.runAndReadAll("SELECT json_serialize_sql(CAST($1 AS VARCHAR))", [sql]);
        const reading = readStatement(String(tree.getRows()[0]![0]), example.inputs.length);
        const problems = "problems" in reading ? reading.problems : [];
        expect(
          problems.filter((problem) => /table|FROM|must be/.test(problem)),
          type,
        ).to.deep.equal([]);
      }
    }
    connection.closeSync();
    instance.closeSync();
  });
});
