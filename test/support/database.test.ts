import { expect } from "chai";
import pg from "pg";
import { createTestDatabase, type TestDatabase } from "./database.js";

describe("test databases", () => {
  const made: TestDatabase[] = [];
  let templateRuns = 0;

  async function withOneTable(url: string): Promise<void> {
    templateRuns++;
    await query(url, "create table note (text text); insert into note values ('from the template')");
  }

  async function create(template?: (url: string) => Promise<void>): Promise<TestDatabase> {
    const database = await createTestDatabase({ template });
    made.push(database);
    return database;
  }

  afterEach(async () => {
    for (const database of made.splice(0)) await database.drop();
  });

  it("are empty without a template", async () => {
    const { url } = await create();
    expect(await query(url, "select from pg_class where relnamespace = 'public'::regnamespace")).to.have.length(0);
  });

  it("run a template once, however many clones are made, also at the same time", async () => {
    const databases = await Promise.all([create(withOneTable), create(withOneTable), create(withOneTable)]);
    databases.push(await create(withOneTable));
    for (const { url } of databases) expect(await query(url, "select * from note")).to.have.length(1);
    expect(templateRuns).to.equal(1);
  });

  it("do not see each other's rows", async () => {
    const [one, other] = [await create(withOneTable), await create(withOneTable)];
    await query(one.url, "insert into note values ('mine')");
    expect(await query(one.url, "select * from note")).to.have.length(2);
    expect(await query(other.url, "select * from note")).to.have.length(1);
  });

  it("can be reached by connection parameters as well as by URL", async () => {
    const { connection, url } = await create();
    const statement = "select current_database() as name, current_user as user";
    const [byUrl] = await query(url, statement);
    expect(byUrl).to.deep.equal({ name: connection.database, user: connection.user });
    expect(await query(connection, statement)).to.deep.equal([byUrl]);
  });

  it("are dropped although somebody is still connected", async () => {
    const database = await createTestDatabase();
    const client = new pg.Client(database.url);
    const cutOff = new Promise((resolve) => client.on("error", resolve));
    await client.connect();
    await database.drop();
    expect(await cutOff).to.be.instanceOf(Error);
    const gone = await query(database.url, "select").catch((error) => error);
    expect(gone).to.include({ code: "3D000" });
  });
});

async function query(target: string | pg.ClientConfig, statement: string): Promise<pg.QueryResultRow[]> {
  const client = new pg.Client(target);
  await client.connect();
  try {
    return (await client.query(statement)).rows;
  } finally {
    await client.end();
  }
}
