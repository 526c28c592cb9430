import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { openDatabase, type PostgresDatabase } from "../../src/server/database/database.js";
import { migrate } from "../../src/server/database/migrate.js";
import { schemaSnapshot } from "../../src/server/database/schema-snapshot.js";
import { allowBareExecutions, bareExecutions } from "../support/bare-executions.js";
import { createTestDatabase, type TestDatabase } from "../support/database.js";
import { rejection } from "../support/rejection.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";

describe("Migrations", () => {
  let test: TestDatabase;
  let db: PostgresDatabase;
  let directory: string;
  beforeEach(async () => {
    directory = await makeTestDirectory();
    test = await createTestDatabase();
    db = await openDatabase({ url: test.url, poolSize: 4 });
  });
  afterEach(async () => {
    await db.close();
    await test.drop();
    await removeTestDirectory(directory);
  });

  /** A folder with these migrations, by name without time; each runs one statement. */
  async function folderOf(migrations: Record<string, string>, extension = "js"): Promise<URL> {
    const folder = join(directory, extension);
    await mkdir(folder, { recursive: true });
    await writeFile(join(directory, "package.json"), '{"type": "module"}');
    for (const [index, [name, statement]] of Object.entries(migrations).entries())
      await writeFile(
        join(folder, `2026010100000${index}_${name}.${extension}`),
        `export const up = (knex) => knex.raw(${JSON.stringify(statement)});\nexport const down = async () => {};\n`,
      );
    return pathToFileURL(`${folder}/`);
  }

  it("apply everything once, in order, and nothing the second time", async () => {
    const applied = await migrate(db);
    expect(applied[0]).to.equal("20261121100000_create_projects");
    expect(applied).to.deep.equal([...applied].sort());
    expect(await migrate(db)).to.deep.equal([]);
  });

  it("are refused by a database that cannot hold every text", async () => {
    const name = `latin1_${process.pid}`;
    await db.knex.raw(
      `create database ${name} template template0 encoding 'LATIN1' locale_provider libc lc_collate 'C' lc_ctype 'C'`,
    );
    const url = new URL(test.url);
    url.pathname = name;
    const other = await openDatabase({ url: url.href, poolSize: 1 });
    try {
      expect((await rejection(migrate(other))).message).to.match(/encoded in LATIN1.*create one with encoding UTF8/);
    } finally {
      await other.close();
      await db.knex.raw(`drop database ${name}`);
    }
  });

  it("lead to the schema in migrations/schema.sql (run `make schema` after a change)", async () => {
    await migrate(db);
    const written = await readFile(new URL("../../migrations/schema.sql", import.meta.url), "utf8");
    expect(await schemaSnapshot(db)).to.equal(written);
  });

  it("are applied once when two servers start at the same moment", async () => {
    const other = await openDatabase({ url: test.url, poolSize: 1 });
    try {
      const [first, second] = await Promise.all([migrate(db), migrate(other)]);
      const all = [...first, ...second];
      expect(new Set(all).size).to.equal(all.length);
      expect(Math.min(first.length, second.length)).to.equal(0);
    } finally {
      await other.close();
    }
  });

  it("leave no trace when one of them fails", async () => {
    const folder = await folderOf({ make_a: "create table a (id int)", make_b: "create tabel b (id int)" });
    await rejection(migrate(db, folder));
    expect(await db.query("select 1 from pg_tables where schemaname = 'public'")).to.be.empty;
  });

  it("go by names without extension, so that sources and builds agree", async () => {
    const statements = { make_a: "create table a (id int)" };
    await migrate(db, await folderOf(statements, "ts"));
    expect(await migrate(db, await folderOf(statements, "js"))).to.deep.equal([]);
  });

  it("are refused, and nothing is touched, when the schema is newer than the release", async () => {
    const newer = { make_a: "create table a (id int)", make_b: "create table b (id int)" };
    await migrate(db, await folderOf(newer, "ts"));
    const older = await folderOf({ make_a: newer.make_a }, "js");
    const error = await rejection(migrate(db, older));
    expect(error).to.include({ code: "precondition", reason: "SCHEMA_NEWER" });
    expect(error.message).to.contain("20260101000001_make_b").and.contain("upgrade the server");
  });

  it("enter into the ledger what ports, consoles and entries name already, and take it out again", async () => {
    const LEDGER = "20261121130000_add_ledger_and_reservations";
    const { up, down } = await import(new URL(`../../migrations/${LEDGER}.ts`, import.meta.url).href);
    const applied = await migrate(db);
    const undo = applied.slice(applied.indexOf(LEDGER)).reverse();
    for (const name of undo) {
      const migration = await import(new URL(`../../migrations/${name}.ts`, import.meta.url).href);
      await migration.down(db.knex);
    }
    await allowBareExecutions(db);
    await db.query("insert into project (id, name, created_by) values ('p', '', 'x')");
    await db.query("insert into workflow (project_id, id, latest_version, created_by) values ('p', 'w', 0, 'x')");
    const [id] = await bareExecutions(db);
    await db.query(
      `insert into port_result (execution_id, global_port_id, operator_id, layer, port_id, internal, input, uri, row_count,
                                byte_count, schema, subdag_hash, viewed, attempt)
       select :id, name, name, 'main', 0, false, false, 'file:///' || uri, 3, 30, '[]', name, false, 1
         from (values ('a', 'a'), ('b', 'a'), ('c', 'c')) as port (name, uri)`,
      { id },
    );
    await db.query("insert into console_result values (:id, 'a', 0, 'file:///console', 5, 50)", { id });
    await db.query(
      `insert into cache_entry (project_id, workflow_id, global_port_id, subdag_hash, fingerprint_json, result_uri,
                                tuple_count, byte_count, source_execution_id)
       values ('p', 'w', 'a', 'a', '{}', 'file:///a', 3, 30, :id), ('p', 'w', 'd', 'd', '{}', 'file:///replaced', 4, 40, :id)`,
      { id },
    );
    await up(db.knex);
    const ledger = "select uri, row_count, byte_count, execution_id, check_at from blob order by uri";
    expect(await db.query(ledger)).to.deep.equal(
      [
        { uri: "file:///a", rowCount: 3n, byteCount: 30n },
        { uri: "file:///c", rowCount: 3n, byteCount: 30n },
        { uri: "file:///console", rowCount: 5n, byteCount: 50n },
        { uri: "file:///replaced", rowCount: 4n, byteCount: 40n },
      ].map((row) => ({ ...row, executionId: id, checkAt: null })),
    );
    await db.query("delete from execution where id = :id", { id });
    expect(await db.query("select from cache_entry"), "entries outlive their execution").to.have.lengthOf(2);
    await down(db.knex);
    expect(await db.query("select from cache_entry"), "as long as that is allowed").to.have.lengthOf(0);
  });

  it("can be undone one after the other", async () => {
    await migrate(db);
    const before = await schemaSnapshot(db);
    const applied = await db.query<{ name: string }>("select name from schema_migration order by id desc");
    for (const { name } of applied) {
      const { down } = await import(new URL(`../../migrations/${name}.ts`, import.meta.url).href);
      await down(db.knex);
    }
    expect(await schemaSnapshot(db)).not.to.equal(before);
    expect(await schemaSnapshot(db)).not.to.contain("create table");
  });
});

describe("The schema snapshot", () => {
  it("shows every kind of change", async () => {
    const test = await createTestDatabase();
    const db = await openDatabase({ url: test.url, poolSize: 1 });
    try {
      await db.query("create table t (id int primary key, name text default 'x', other int)");
      const seen = new Set([await schemaSnapshot(db)]);
      const changes = [
        "alter table t alter name set not null",
        "alter table t alter name set default 'y'",
        "alter table t alter other type bigint",
        "alter table t add constraint other_positive check (other > 0)",
        "create index t_name on t (name) where other > 1",
        "alter table t add parent int references t on delete cascade",
        "alter table t drop column name",
        "create table u (id bigint generated always as identity)",
      ];
      for (const change of changes) {
        await db.query(change);
        const snapshot = await schemaSnapshot(db);
        expect(seen, change).not.to.include(snapshot);
        seen.add(snapshot);
      }
    } finally {
      await db.close();
      await test.drop();
    }
  });
});
