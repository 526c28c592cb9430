import { type DuckDBConnection, DuckDBInstance } from "@duckdb/node-api";
import { expect } from "chai";
import { type EngineWatch, watchEngine } from "../../src/executor/run/engine-watch.js";
import { rejection } from "../support/rejection.js";
import { until } from "../support/until.js";

describe("what is asked of an engine beside its queries", () => {
  let instance: DuckDBInstance;
  let connection: DuckDBConnection;
  let watch: EngineWatch;
  beforeEach(async () => {
    instance = await DuckDBInstance.create(":memory:");
    connection = await instance.connect();
    watch = watchEngine(connection);
  });
  afterEach(async () => {
    await watch.close();
    instance.closeSync();
  });

  it("is the plan of a statement, which is not run", async () => {
    const plan = JSON.parse((await watch.explain("CREATE TABLE made AS SELECT * FROM range(5)"))!);
    expect(plan).to.have.length(1);
    expect(await watch.explain("CREATE TABLE made AS SELECT 1 AS one")).to.match(/CREATE_TABLE_AS/);
  });

  it("is one question at a time: the next is for another moment", async () => {
    const first = watch.explain("SELECT 1");
    expect(watch.explain("SELECT 2")).to.equal(undefined);
    expect(watch.memoryBytes()).to.equal(0n);
    await first;
    const whole = await instance.connect();
    await whole.run("CREATE TABLE held AS SELECT range AS n, repeat('x', 50) AS t FROM range(200000)");
    await until(() => watch.memoryBytes() > 1_000_000n);
    whole.closeSync();
  });

  it("is no plan of hundreds of operators, whose JSON takes tens of megabytes, nor of a scan that keeps what it rejects", async () => {
    const deep = Array.from({ length: 300 }).reduce<string>(
      (sql) => `SELECT DISTINCT * FROM (${sql})`,
      "SELECT 1 AS a",
    );
    expect((await rejection(watch.explain(deep)!)).message).to.match(/too large/);
    expect((await rejection(watch.explain("SELECT 1 AS store_rejects")!)).message).to.match(/only by who runs it/);
  });

  it("ends with the engine, which waits for it, and is refused afterwards", async () => {
    const asked = watch.explain("SELECT 1")!.catch(() => "interrupted");
    await watch.close();
    expect(await asked).to.be.a("string");
    expect((await rejection(watch.explain("SELECT 1")!)).message).to.match(/closed/);
    connection = await instance.connect();
    watch = watchEngine(connection);
  });
});
