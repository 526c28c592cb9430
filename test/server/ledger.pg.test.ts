// The ledger of stored objects, and the sweeper that deletes those nothing names.
import { mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { expect } from "chai";
import { createLogger } from "../../src/process/log.js";
import { callUnary } from "../../src/rpc/channel.js";
import type { Database } from "../../src/server/database/database.js";
import { letCacheGo } from "../../src/server/repositories/cache-reservations.js";
import { registerCachedPorts } from "../../src/server/repositories/execution-reuse.js";
import { deletePorts, upsertConsoles, upsertPorts } from "../../src/server/repositories/ports.js";
import { removeObject } from "../../src/server/storage/object-removal.js";
import { createSweeper } from "../../src/server/storage/sweep.js";
import { allowBareExecutions, bareExecutions } from "../support/bare-executions.js";
import { deferred } from "../support/deferred.js";
import { createMigratedDatabase, type MigratedDatabase } from "../support/migrated-database.js";
import { rejection } from "../support/rejection.js";
import { makeTestDirectory, removeTestDirectory } from "../support/test-directory.js";
import { startTestServer } from "../support/test-server.js";
import { until } from "../support/until.js";

describe("the ledger", () => {
  let database: MigratedDatabase;
  let db: Database;
  let directory: string;
  let root: string;
  before(async () => {
    database = await createMigratedDatabase();
    db = database.db;
    await allowBareExecutions(db);
    await db.query("insert into project (id, name, created_by) values ('p', '', 'x')");
    await db.query("insert into workflow (project_id, id, latest_version, created_by) values ('p', 'w', 0, 'x')");
  });
  after(() => database.close());
  beforeEach(async () => {
    directory = await makeTestDirectory();
    root = pathToFileURL(join(directory, "results")).href;
    await mkdir(join(directory, "results"));
  });
  afterEach(async () => {
    await removeTestDirectory(directory);
    await db.query("delete from cache_entry");
    await db.query("delete from execution");
    await db.query("delete from blob");
  });

  const execution = async (): Promise<string> => (await bareExecutions(db))[0]!;
  const end = (ids: string[]) =>
    db.query("update execution set state = 'COMPLETED' where id = any(cast(:ids as uuid[]))", { ids });
  const uriOf = (executionId: string, name: string) => `${root}/p/${executionId}/1/${name}/rows.parquet`;
  const pathOf = (uri: string) => fileURLToPath(uri);

  async function write(uri: string): Promise<string> {
    await mkdir(dirname(pathOf(uri)), { recursive: true });
    await writeFile(pathOf(uri), "rows");
    return uri;
  }
  const isThere = (uri: string) =>
    stat(pathOf(uri)).then(
      () => true,
      () => false,
    );

  const port = (
    executionId: string,
    name: string,
    uri: string,
    more: { rowCount?: bigint; computeMs?: bigint } = {},
  ) => ({
    executionId,
    globalPortId: name,
    operatorId: name,
    layer: "main",
    portId: 0,
    internal: false,
    input: false,
    uri,
    rowCount: 1n,
    byteCount: 4n,
    schema: [],
    subdagHash: "",
    viewed: false,
    attempt: 1,
    computeMs: 0n,
    ...more,
  });
  /** The same, as it is registered where another execution wrote it: counts are the ledger's. */
  function reusedPort(executionId: string, name: string, uri: string) {
    const { rowCount, byteCount, computeMs, ...reused } = port(executionId, name, uri);
    return reused;
  }
  const enter = (executionId: string, name: string, uri: string) =>
    db.query(
      `insert into cache_entry (project_id, workflow_id, global_port_id, subdag_hash, fingerprint_json, result_uri,
                                tuple_count, byte_count, source_execution_id)
       values ('p', 'w', :name, :name, '{}', :uri, 1, 4, :executionId)`,
      { executionId, name, uri },
    );
  /** An execution that has ended, with objects of these names, each registered as a port. */
  async function ended(...names: string[]): Promise<{ id: string; uris: string[] }> {
    const id = await execution();
    const uris = await Promise.all(names.map((name) => write(uriOf(id, name))));
    await upsertPorts(
      db,
      names.map((name, i) => port(id, name, uris[i]!)),
    );
    await end([id]);
    return { id, uris };
  }

  const blobs = () =>
    db.query<{
      uri: string;
      rowCount: bigint;
      byteCount: bigint;
      computeMs: bigint;
      executionId: string;
      due: boolean;
    }>(
      `select uri, row_count, byte_count, compute_ms, execution_id, check_at is not null as due from blob order by uri`,
    );
  const sweeper = (more: Partial<Parameters<typeof createSweeper>[0]> = {}) =>
    createSweeper({
      db,
      log: createLogger("sweep", "silent"),
      graceMs: 0,
      removeObject: (object) => removeObject(root, object),
      ...more,
    });

  describe("rows", () => {
    it("has one for every port and console, in the statement that registers them", async () => {
      const id = await execution();
      await upsertPorts(db, [port(id, "a", uriOf(id, "a"), { rowCount: 5n, computeMs: 7n })]);
      await upsertConsoles(db, id, [
        { operatorId: "a", worker: 0, uri: uriOf(id, "console"), lineCount: 3n, byteCount: 9n },
      ]);
      expect(await blobs()).to.deep.equal([
        { uri: uriOf(id, "a"), rowCount: 5n, byteCount: 4n, computeMs: 7n, executionId: id, due: false },
        { uri: uriOf(id, "console"), rowCount: 3n, byteCount: 9n, computeMs: 0n, executionId: id, due: false },
      ]);
    });

    it("keeps the counts of the execution that wrote an object, and forgets no time it took", async () => {
      const [own, other] = [await execution(), await execution()];
      const uri = uriOf(own, "a");
      await upsertPorts(db, [port(own, "a", uri, { rowCount: 1n, computeMs: 7n })]);
      await upsertPorts(db, [port(other, "a", uri, { rowCount: 100n, computeMs: 100n })]);
      expect(await blobs()).to.containSubset([{ rowCount: 1n, computeMs: 7n, executionId: own }]);
      await upsertPorts(db, [port(own, "a", uri, { rowCount: 2n })]);
      expect(await blobs()).to.containSubset([{ rowCount: 2n, computeMs: 7n, executionId: own }]);
    });

    it("takes two ports with one object, and does not make those who reuse an object wait for each other", async () => {
      const [own, one, two] = await bareExecutions(db, 3);
      const uri = uriOf(own!, "a");
      await upsertPorts(db, [port(own!, "a", uri), port(own!, "b", uri)]);
      await db.transaction(async (tx) => {
        await upsertPorts(tx, [port(one!, "a", uri)]);
        await upsertPorts(db, [port(two!, "a", uri)]); // beside it, on another connection
      });
      expect(await blobs()).to.have.lengthOf(1);
    });

    it("refuses a port, a console and an entry of an object it does not know", async () => {
      const id = await execution();
      expect(await rejection(enter(id, "a", uriOf(id, "a")))).to.have.property("message");
      const unknown = db.query(
        `insert into console_result (execution_id, operator_id, worker, uri, line_count, byte_count)
         values (:id, 'a', 0, 'file:///nowhere', 0, 0)`,
        { id },
      );
      expect(await rejection(unknown)).to.have.property("message");
    });

    it("is due for a look once a name goes: with a port, a console, an entry, an execution, or a port's move", async () => {
      const due = async () => (await blobs()).filter((blob) => blob.due).map((blob) => blob.uri);
      const { id, uris } = await ended("a", "b");
      await upsertPorts(db, [port(id, "a", uris[0]!)]);
      expect(await due()).to.deep.equal([]);
      await upsertPorts(db, [port(id, "a", uriOf(id, "moved"))]);
      expect(await due()).to.deep.equal([uris[0]]);
      await db.query("delete from execution where id = :id", { id });
      expect(await due()).to.have.members([...uris, uriOf(id, "moved")]);
    });
  });

  it("is let go of by many executions at the same moment, whatever order they found its objects in", async () => {
    const { uris } = await ended(...Array.from({ length: 60 }, (_, i) => `n${i}`));
    for (let round = 0; round < 20; round++) {
      const ids = await bareExecutions(db, 5);
      for (const [i, id] of ids.entries()) {
        const found = i % 2 === 0 ? uris : uris.toReversed();
        await db.query("insert into cache_pin values (:id, cast(:found as text[]))", { id, found: found.slice(i) });
      }
      await Promise.all(ids.map((id) => letCacheGo(db, id)));
    }
    expect((await blobs()).every(({ due }) => due)).to.equal(true);
  });

  describe("deletePorts", () => {
    it("returns what no port, console, entry or pin names any more, and counts what it forgot", async () => {
      const { id, uris } = await ended("free", "entry", "pin", "other");
      const [reader] = await bareExecutions(db);
      await enter(id, "entry", uris[1]!);
      await db.query("insert into cache_pin (execution_id, uris) values (:reader, array[:uri])", {
        reader,
        uri: uris[2],
      });
      await upsertPorts(db, [port(reader!, "other", uris[3]!)]);
      expect(await deletePorts(db, [id])).to.deep.equal({ forgotten: 4, released: [uris[0]] });
      expect(await deletePorts(db, [id])).to.deep.equal({ forgotten: 0, released: [] });
    });

    it("returns what only the executions it is asked about shared", async () => {
      const { id, uris } = await ended("a");
      const reader = await execution();
      await upsertPorts(db, [port(reader, "a", uris[0]!)]);
      expect(await deletePorts(db, [id, reader])).to.deep.equal({ forgotten: 2, released: uris });
    });
  });

  describe("the sweeper", () => {
    it("deletes object and row once nothing names them, and the directories that are empty then", async () => {
      const { id, uris } = await ended("a", "b");
      await deletePorts(db, [id]);
      expect(await sweeper()()).to.equal(2);
      expect(await Promise.all(uris.map(isThere))).to.deep.equal([false, false]);
      expect(await blobs()).to.deep.equal([]);
      expect(await readdir(join(directory, "results", "p"))).to.deep.equal([]);
    });

    it("leaves what a port, a console, an entry or a pin names, and directories that hold other files", async () => {
      const { id, uris } = await ended("port", "entry", "pin", "free");
      const reader = await execution();
      await upsertPorts(db, [port(reader, "port", uris[0]!)]);
      await enter(id, "entry", uris[1]!);
      await db.query("insert into cache_pin values (:reader, array[:uri])", { reader, uri: uris[2] });
      await deletePorts(db, [id]);
      await sweeper()();
      expect(await Promise.all(uris.map(isThere))).to.deep.equal([true, true, true, false]);
      expect((await blobs()).map((blob) => blob.due)).to.deep.equal([false, false, false]);
      await db.query("delete from cache_pin");
      await db.query("delete from cache_entry");
      await end([reader]);
      await deletePorts(db, [reader]);
      await sweeper()();
      expect(await blobs()).to.deep.equal([]);
      expect(await readdir(join(directory, "results", "p"))).to.deep.equal([]);
    });

    it("waits for the grace", async () => {
      const { id, uris } = await ended("a");
      await deletePorts(db, [id]);
      expect(await sweeper({ graceMs: 60_000 })()).to.equal(0);
      expect(await isThere(uris[0]!)).to.equal(true);
    });

    it("leaves alone what an execution that goes on has written", async () => {
      const id = await execution();
      const uri = await write(uriOf(id, "a"));
      await upsertPorts(db, [port(id, "a", uri)]);
      await deletePorts(db, [id]);
      expect(await sweeper()()).to.equal(1);
      expect(await isThere(uri)).to.equal(true);
      expect(await sweeper()(), "not again at once").to.equal(0);
    });

    it("finishes what a crash between object and row has left", async () => {
      const { id, uris } = await ended("a", "b");
      await deletePorts(db, [id]);
      const crashing: Database = {
        ...db,
        transaction: (work) =>
          db.transaction((tx) =>
            work({
              async query(sql, params) {
                if (sql.startsWith("delete from blob")) throw new Error("the process was killed");
                return tx.query(sql, params);
              },
            }),
          ),
      };
      expect(await rejection(sweeper({ db: crashing })())).to.have.property("message", "the process was killed");
      expect(await Promise.all(uris.map(isThere))).to.deep.equal([false, false]);
      expect(await blobs()).to.have.lengthOf(2);
      expect(await sweeper()(), "left to the one that found them, for a while").to.equal(0);
      await db.query("update blob set check_at = now() - interval '1 hour'");
      await sweeper()();
      expect(await blobs()).to.deep.equal([]);
    });

    it("keeps the row of an object that cannot be deleted, tries again later, and deletes the others", async () => {
      const { id, uris } = await ended("a", "b");
      await deletePorts(db, [id]);
      const stuck = sweeper({
        removeObject: async (object) => {
          if (object.uri === uris[0]) throw new Error("read-only file system");
          await removeObject(root, object);
        },
      });
      expect(await stuck()).to.equal(2);
      expect((await blobs()).map((blob) => blob.uri)).to.deep.equal([uris[0]]);
      expect(await stuck(), "not again at once").to.equal(0);
      await db.query("update blob set check_at = now() - interval '1 hour'");
      expect(await sweeper()()).to.equal(1);
      expect(await blobs()).to.deep.equal([]);
    });

    it("does not delete an object while somebody takes it up: either it is kept, or it is gone for that one", async () => {
      const { id, uris } = await ended("a");
      const reader = await execution();
      await deletePorts(db, [id]);
      const removing = deferred<void>();
      const goOn = deferred<void>();
      const sweeping = sweeper({
        removeObject: async (object) => {
          removing.resolve();
          await goOn.promise;
          await removeObject(root, object);
        },
      })();
      await removing.promise;
      const ports = [reusedPort(reader, "a", uris[0]!)];
      const reusing = registerCachedPorts(db, { executionId: reader, attempt: 1, ports });
      goOn.resolve();
      await sweeping;
      expect(await reusing, "gone").to.equal(0);

      const kept = await ended("b");
      await deletePorts(db, [kept.id]);
      await db.transaction(async (tx) => {
        const ports = [reusedPort(reader, "b", kept.uris[0]!)];
        expect(await registerCachedPorts(tx, { executionId: reader, attempt: 1, ports })).to.equal(1);
        expect(await sweeper()(), "left out: somebody holds it").to.equal(0);
      });
      await sweeper()();
      expect(await isThere(kept.uris[0]!)).to.equal(true);
    });

    it("keeps nobody waiting for an object that stays while it deletes others", async () => {
      const { id, uris } = await ended("entry", "free");
      await enter(id, "entry", uris[0]!);
      await deletePorts(db, [id]);
      const [removing, goOn] = [deferred<void>(), deferred<void>()];
      const sweeping = sweeper({
        removeObject: async () => {
          removing.resolve();
          await goOn.promise;
        },
      })();
      await removing.promise;
      const reader = await execution();
      const ports = [reusedPort(reader, "entry", uris[0]!)];
      expect(await registerCachedPorts(db, { executionId: reader, attempt: 1, ports })).to.equal(1);
      goOn.resolve();
      await sweeping;
    });

    it("shares the work with other replicas: each row is looked at by one of them", async () => {
      const names = Array.from({ length: 150 }, (_, i) => `n${i}`);
      const { id } = await ended(...names);
      await deletePorts(db, [id]);
      const removed: string[] = [];
      const counting = () =>
        sweeper({
          removeObject: async (object) => {
            removed.push(object.uri);
            await removeObject(root, object);
          },
        });
      const looked = await Promise.all([counting()(), counting()(), counting()()]);
      expect(looked.reduce((a, b) => a + b)).to.equal(150);
      expect(removed, "each once").to.have.lengthOf(150);
      expect(new Set(removed).size).to.equal(150);
      expect(await blobs()).to.deep.equal([]);
    });
  });

  it("is swept by every server: what deleted executions leave goes", async () => {
    const server = await startTestServer({ sweepGraceMs: 50 });
    try {
      await server.furnish();
      const { executionId, resultPrefix } = (await server.prepare()).spec!;
      const uri = await write(`${resultPrefix}order.parquet`);
      await upsertPorts(server.db, [port(executionId, "order", uri)]);
      const statisticsUri = await write(`${resultPrefix}statistics.jsonl`);
      await server.db.query(
        "update execution set state = 'KILLED', statistics_uri = :statisticsUri where id = :executionId",
        { executionId, statisticsUri },
      );
      const request = { executionIds: [executionId] };
      const reply = await callUnary(server.client.executions, "deleteExecutions", request, { token: server.owner });
      expect(reply.releasedUris).to.deep.equal([uri]);
      await until(async () => !(await isThere(uri)) && !(await isThere(statisticsUri)));
      await until(async () => (await server.db.query("select from blob")).length === 0);
    } finally {
      await server.stop();
    }
  });
});
