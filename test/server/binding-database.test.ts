import { expect } from "chai";
import { type BindingDatabase, openBindingDatabase } from "../../src/server/binding/binding-database.js";
import { rejection } from "../support/rejection.js";

describe("binding database", () => {
  let database: BindingDatabase;
  before(async () => {
    database = await openBindingDatabase();
  });
  after(() => database.close());

  const run = (sql: string) => database.use(async (connection) => (await connection.runAndReadAll(sql)).getRows());

  it("opens no file and takes no extension", async () => {
    for (const sql of [
      "SELECT * FROM read_text('/etc/passwd')",
      "COPY (SELECT 1) TO '/tmp/x.csv'",
      "ATTACH '/tmp/x.db'",
      "INSTALL httpfs",
      "LOAD httpfs",
    ])
      expect((await rejection(run(sql))).message, sql).to.match(/disabled|Permission/);
  });

  it("lets nothing change its settings, which are those of an executor for times", async () => {
    for (const sql of [
      "SET threads = 8",
      "SET GLOBAL enable_external_access = true",
      "SET GLOBAL memory_limit = '8GB'",
    ])
      expect((await rejection(run(sql))).message, sql).to.match(/locked|Cannot change/);
    expect(await run("SELECT current_setting('TimeZone')")).to.deep.equal([["UTC"]]);
  });

  it("gives each call a connection of its own", async () => {
    await run("CREATE TEMP TABLE mine (x INTEGER)");
    expect((await rejection(run("SELECT * FROM mine"))).message).to.match(/does not exist/);
  });
});
