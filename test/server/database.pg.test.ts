import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import pg from "pg";
import { AppError } from "../../src/core/app-error.js";
import { json, openDatabase, type PostgresDatabase } from "../../src/server/database/database.js";
import { violatedConstraint } from "../../src/server/database/database-error.js";
import { createTestDatabase, databaseUrl, type TestDatabase } from "../support/database.js";
import { deferred } from "../support/deferred.js";
import { rejection } from "../support/rejection.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";

describe("The database", () => {
  let test: TestDatabase;
  let db: PostgresDatabase;

  before(async () => {
    test = await createTestDatabase();
    db = await openDatabase({ url: test.url, poolSize: 3 });
    await db.query(
      "create table thing (id text primary key, amount bigint not null default 0, parent_id text references thing)",
    );
  });
  beforeEach(() => db.query("truncate thing"));
  after(async () => {
    await db.close();
    await test.drop();
  });

  it("returns camelCase keys, bigint for int8, Date for timestamptz, values for jsonb and bytes for bytea", async () => {
    const at = new Date("2026-03-01T12:00:00.123Z");
    const [row] = await db.query(
      `select cast(:big as int8) as some_big_number, array[cast(1 as int8), null] as many_big, cast(:at as timestamptz) as started_at,
         cast(:object as jsonb) as the_object, cast(:list as jsonb) as the_list, cast(:bytes as bytea) as bytes, count(*)`,
      {
        big: 2n ** 62n,
        at,
        object: { a: [1], none: undefined },
        list: json([1, "x"]),
        bytes: new Uint8Array([0, 255]),
      },
    );
    expect(row).to.deep.equal({
      someBigNumber: 2n ** 62n,
      manyBig: [1n, null],
      startedAt: at,
      theObject: { a: [1] },
      theList: [1, "x"],
      bytes: Buffer.from([0, 255]),
      count: 1n,
    });
  });

  it("leaves the parsers of other users of pg alone", () => {
    expect(pg.types.getTypeParser(20)("1")).to.equal("1");
  });

  it("takes arrays, repeated names, casts, strings with colons and jsonb's question mark", async () => {
    const [row] = await db.query(
      `select cast(:ids as text[]) as ids, 'a:ids ?' as text, /* :ids ? */ '1'::int as cast, cast('{"k": 1}' as jsonb) ? 'k' as has,
         $$ :ids ? $$ as dollars, cast(:n as int) + cast(:n as int) as twice -- :ids
      `,
      { ids: ["x", "y"], n: 2 },
    );
    expect(row).to.deep.equal({ ids: ["x", "y"], text: "a:ids ?", cast: 1, has: true, dollars: " :ids ? ", twice: 4 });
  });

  it("refuses a statement whose parameter has no value", async () => {
    expect(await rejection(db.query("select :id", { name: "x" })))
      .to.have.property("message")
      .that.contains(":id has no value");
  });

  it("works in UTC", async () => {
    expect(await db.query("select cast(cast(:at as timestamptz) as text) as at", { at: new Date(0) })).to.deep.equal([
      { at: "1970-01-01 00:00:00+00" },
    ]);
  });

  it("rolls a rejected transaction back and passes its error on", async () => {
    const refusal = new AppError("precondition", "STALE_LEASE", "no");
    const attempt = db.transaction(async (tx) => {
      await tx.query("insert into thing (id) values ('a')");
      throw refusal;
    });
    expect(await rejection(attempt)).to.equal(refusal);
    expect(await db.query("select * from thing")).to.be.empty;
  });

  it("says conflict for a name that is taken, and which constraint said so", async () => {
    await db.query("insert into thing (id) values ('a')");
    const error = await rejection(db.query("insert into thing (id) values ('a')"));
    expect(error).to.include({ code: "conflict", reason: "ALREADY_EXISTS" });
    expect(violatedConstraint(error)).to.equal("thing_pkey");
  });

  it("passes an error that is a fault of ours on as it is", async () => {
    expect(await rejection(db.query("selec 1"))).to.be.instanceOf(pg.DatabaseError);
  });

  it("refuses text with the NUL character as invalid", async () => {
    expect(await rejection(db.query("select cast(:text as text)", { text: "a\u0000b" }))).to.include({
      code: "invalid",
    });
  });

  it("runs a transaction once more after a deadlock", async () => {
    await db.query("insert into thing (id) values ('a'), ('b')");
    let runs = 0;
    const both = [deferred(), deferred()] as const;
    const add = async (first: string, second: string, mine: 0 | 1) =>
      db.transaction(async (tx) => {
        runs++;
        const add = "update thing set amount = amount + 1 where id = :id";
        await tx.query(add, { id: first });
        both[mine].resolve();
        await both[1 - mine]!.promise;
        await tx.query(add, { id: second });
      });
    await Promise.all([add("a", "b", 0), add("b", "a", 1)]);
    expect(runs).to.equal(3);
    expect(await db.query("select amount from thing")).to.deep.equal([{ amount: 2n }, { amount: 2n }]);
  });

  it("survives the loss of every connection: statements under way are UNAVAILABLE, and new connections take over", async () => {
    const sleeping = Array.from({ length: 2 }, () => rejection(db.query("select pg_sleep(60)")));
    const administrator = new pg.Client(test.connection);
    await administrator.connect();
    const others = "from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()";
    for (let asleep = 0; asleep < 2; )
      asleep = (await administrator.query(`select 1 ${others} and wait_event = 'PgSleep'`)).rowCount ?? 0;
    await administrator.query(`select pg_terminate_backend(pid) ${others}`);
    await administrator.end();
    for (const error of await Promise.all(sleeping)) expect(error).to.include({ code: "unavailable" });
    // An idle connection may be used once more before its end is noticed.
    const again = await db.query("select 1 as one").catch((error) => {
      expect(error).to.include({ code: "unavailable" });
      return db.query("select 1 as one");
    });
    expect(again).to.deep.equal([{ one: 1 }]);
  });

  it("says UNAVAILABLE when no connection comes free in time", async () => {
    const small = await openDatabase({ url: test.url, poolSize: 1, acquireTimeoutMs: 100 });
    const go = deferred();
    const begun = deferred();
    const busy = small.transaction(async () => {
      begun.resolve();
      await go.promise;
    });
    await begun.promise;
    expect(await rejection(small.query("select 1"))).to.include({ code: "unavailable" });
    go.resolve();
    await busy;
    await small.close();
  });

  it("says UNAVAILABLE when a statement is stopped for taking too long", async () => {
    const stopped = db.transaction(async (tx) => {
      await tx.query("set local statement_timeout = 20");
      await tx.query("select pg_sleep(60)");
    });
    expect(await rejection(stopped)).to.include({ code: "unavailable" });
  });

  it("tells at once, and names the variable, when the database cannot be reached", async () => {
    const url = databaseUrl({ ...test.connection, host: "/nowhere", password: "" });
    const error = await rejection(openDatabase({ url, poolSize: 1 }));
    expect(error).to.include({ code: "unavailable" });
    expect(error.message).to.contain("POSTERN_DATABASE_URL");
  });

  it("reads the password from its file, with or without a line end", async function () {
    if (!test.connection.password) {
      this.test!.title += " (pending: this Postgres asks for no password)";
      this.skip();
    }
    const directory = await makeTestDirectory();
    const passwordFile = join(directory, "password");
    const url = databaseUrl({ ...test.connection, password: "" });
    await writeFile(passwordFile, "wrong", { mode: 0o600 });
    const error = await rejection(openDatabase({ url, passwordFile, poolSize: 1 }));
    expect(error).to.include({ code: "unavailable" });
    expect(error.message).not.to.contain("wrong");
    await writeFile(passwordFile, `${test.connection.password}\n`);
    const opened = await openDatabase({ url, passwordFile, poolSize: 1 });
    expect(await opened.query("select 1 as one")).to.deep.equal([{ one: 1 }]);
    await opened.close();
    await removeTestDirectory(directory);
  });

  it("gives a session connection that hears notifications and emits end when it is lost", async () => {
    const session = await db.sessionConnection();
    await session.query("listen news");
    const heard = once(session, "notification");
    await db.query("select pg_notify('news', 'hello')");
    expect((await heard)[0]).to.include({ payload: "hello" });
    const [{ pid }] = (await session.query("select pg_backend_pid() as pid")).rows;
    const ended = new Promise((resolve) => session.once("end", resolve));
    await db.query("select pg_terminate_backend(:pid)", { pid });
    await ended;
  });
});
