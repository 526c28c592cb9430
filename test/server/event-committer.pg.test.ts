import { setTimeout as delay } from "node:timers/promises";
import { expect } from "chai";
import type pg from "pg";
import { EventBatch } from "../../src/contract/postern/v1/execution.js";
import type { AppError } from "../../src/core/app-error.js";
import { createLogger } from "../../src/process/log.js";
import { openDatabase, type PostgresDatabase, type Queryable } from "../../src/server/database/database.js";
import { createWriterConnection, InDoubt } from "../../src/server/database/writer-connection.js";
import { readEventBatch } from "../../src/server/executions/event-batch.js";
import { createEventCommitter, type EventCommitter } from "../../src/server/executions/event-committer.js";
import type { EventEffects } from "../../src/server/executions/event-effects.js";
import type { Committed } from "../../src/server/executions/group-write.js";
import { upsertPorts } from "../../src/server/repositories/ports.js";
import { line } from "../support/attached-executor.js";
import { allowBareExecutions, bareExecutions } from "../support/bare-executions.js";
import { deferred } from "../support/deferred.js";
import { createMigratedDatabase, type MigratedDatabase } from "../support/migrated-database.js";
import { rejection } from "../support/rejection.js";
import { until } from "../support/until.js";

const lines = (first: number, count: number) =>
  readEventBatch(
    EventBatch.encode({
      events: Array.from({ length: count }, (_, i) => line(BigInt(first + i), `line ${first + i}`)),
    }).finish(),
    BigInt(first - 1),
  );

const log = createLogger("test", "silent");

const portRow = (executionId: string, uri: string) => ({
  executionId,
  globalPortId: "a",
  operatorId: "a",
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
});
const withPort = (port: ReturnType<typeof portRow>): EventEffects => ({
  states: [],
  operatorStates: new Map(),
  statistics: new Map(),
  ports: new Map([[port.globalPortId, port]]),
  reused: new Map(),
  offers: new Map(),
});

describe("The group commit", () => {
  let database: MigratedDatabase;
  let db: PostgresDatabase;
  let committer: EventCommitter;
  let committed: Committed[];
  /** The writer's connections so far. */
  let connections: pg.Client[];

  before(async () => {
    database = await createMigratedDatabase();
    await allowBareExecutions(database.db);
    db = await openDatabase({ url: database.url, poolSize: 4 });
  });
  after(async () => {
    await db.close();
    await database.close();
  });
  beforeEach(() => {
    committed = [];
    connections = [];
    const connect = async () => {
      const client = await db.sessionConnection("postern-writer");
      connections.push(client);
      return client;
    };
    committer = createEventCommitter({
      connection: createWriterConnection({ connect, patienceMs: 1_500 }),
      onCommitted: (one) => committed.push(one),
      log,
      now: Date.now,
    });
  });
  afterEach(() => committer.close(5_000));

  /** An attached stream of an execution, with what it was told. */
  function open(executionId: string, changes: Partial<{ epoch: bigint; attachment: bigint }> = {}) {
    const told = { stored: 0n, alive: 0, refused: undefined as AppError | undefined };
    const writer = committer.open({
      fence: { executionId, attempt: 1, epoch: 1n, attachment: 0n, ...changes },
      leaseMs: 60_000,
      lastSequence: 0n,
      listener: {
        stored: (last) => (told.stored = last),
        alive: () => told.alive++,
        refused: (error) => (told.refused = error),
      },
    });
    const say = (first: number, count: number, effects?: EventEffects) =>
      writer.take(lines(first, count), () => effects);
    return { writer, told, say };
  }

  const logOf = (executionId: string) =>
    db.query<{ number: bigint; sequence: bigint }>(
      "select number, sequence from execution_event where execution_id = :executionId order by number",
      { executionId },
    );
  const count = (n: number) => Array.from({ length: n }, (_, i) => BigInt(i + 1));

  it("stores what many streams say at once in few transactions, each in its own order", async () => {
    const ids = await bareExecutions(db, 20);
    const streams = ids.map((id) => open(id));
    for (let round = 0; round < 5; round++) for (const { say } of streams) say(round * 30 + 1, 30);
    await until(() => streams.every(({ told }) => told.stored === 150n));
    for (const id of ids) {
      const rows = await logOf(id);
      expect(rows.map((r) => r.sequence)).to.deep.equal(count(150));
      expect(rows.map((r) => r.number)).to.deep.equal(count(150));
    }
    expect(connections).to.have.lengthOf(1);
  });

  it("tells which log numbers a commit gave to which events", async () => {
    const [id] = await bareExecutions(db);
    await db.query("update execution set last_event_number = 7 where id = :id", { id });
    const { say, told } = open(id!);
    say(1, 3);
    await until(() => told.stored === 3n);
    expect(committed).to.have.lengthOf(1);
    expect(committed[0]).to.include({ executionId: id, firstNumber: 8n, lastNumber: 10n, firstSequence: 1n });
  });

  // Few events go in one statement, many by COPY.
  for (const events of [2, 100])
    it(`lets a fenced stream drop out alone, and tells it why (${events} events)`, async () => {
      const [stale, older, ended, gone, fine] = await bareExecutions(db, 5);
      await db.query("update execution set epoch = 2 where id = :stale", { stale });
      await db.query("update execution set attachment = 1 where id = :older", { older });
      await db.query("update execution set state = 'KILLED' where id = :ended", { ended });
      await db.query("delete from execution where id = :gone", { gone });
      const streams = [stale, older, ended, gone, fine].map((id) => open(id!));
      for (const { say } of streams) say(1, events);
      await until(() => streams.every(({ told }) => told.refused !== undefined || told.stored > 0n));
      expect(streams.map(({ told }) => told.refused?.reason)).to.deep.equal([
        "STALE_LEASE",
        "STREAM_SUPERSEDED",
        "ILLEGAL_TRANSITION",
        "NOT_FOUND",
        undefined,
      ]);
      for (const id of [stale, older, ended, gone]) expect(await logOf(id!)).to.deep.equal([]);
      expect(await logOf(fine!)).to.have.lengthOf(events);
    });

  it("stores nothing more of a stream once a newer one has taken its place, however closely they race", async () => {
    const ids = await bareExecutions(db, 40);
    const results = await Promise.all(
      ids.map(async (id, i) => {
        const { say, told } = open(id);
        const size = i % 2 === 0 ? 3 : 60;
        let next = 1;
        const taken = delay(5 + i).then(() =>
          db.query<{ last: bigint }>(
            "update execution set attachment = attachment + 1 where id = :id returning last_sequence as last",
            { id },
          ),
        );
        while (!told.refused) {
          say(next, size);
          next += size;
          await new Promise((resolve) => setImmediate(resolve));
        }
        const [row] = await taken;
        expect(told.refused.reason).to.equal("STREAM_SUPERSEDED");
        return { seen: Number(row!.last), stored: (await logOf(id)).length };
      }),
    );
    for (const { seen, stored } of results) expect(stored).to.equal(seen);
    expect(Math.max(...results.map(({ stored }) => stored))).to.be.greaterThan(0);
  });

  it("refuses two streams of one attempt that both claim the same number", async () => {
    const [id] = await bareExecutions(db);
    const one = open(id!);
    one.say(1, 2);
    await until(() => one.told.stored === 2n);
    await db.query("update execution set last_sequence = 5 where id = :id", { id });
    one.say(3, 1);
    await until(() => one.told.refused !== undefined);
    expect(one.told.refused).to.include({ reason: "UNEXPECTED_SEQUENCE" });
    expect(await logOf(id!)).to.have.lengthOf(2);
  });

  it("does not let an execution that somebody holds locked keep the others waiting", async () => {
    const [held, free] = await bareExecutions(db, 2);
    const streams = [open(held!), open(free!)];
    await db.transaction(async (tx) => {
      await tx.query("select id from execution where id = :held for update", { held });
      for (const { say } of streams) say(1, 5);
      await until(() => streams[1]!.told.stored === 5n);
      expect(streams[0]!.told.stored).to.equal(0n);
    });
    await until(() => streams[0]!.told.stored === 5n);
    expect(await logOf(held!)).to.have.lengthOf(5);
  });

  it("does not let an object that somebody holds locked keep other streams waiting", async () => {
    const [held, other, free] = await bareExecutions(db, 3);
    const uri = (id: string) => `file:///results/p/${id}/1/a.parquet`;
    await upsertPorts(db, [portRow(held!, uri(held!))]);
    const streams = [held, other, free].map((id) => open(id!));
    await db.transaction(async (tx) => {
      await tx.query("select from blob where uri = :uri for update", { uri: uri(held!) });
      streams[0]!.say(1, 1, withPort(portRow(held!, uri(held!))));
      streams[1]!.say(1, 1, withPort(portRow(other!, uri(other!))));
      streams[2]!.say(1, 1);
      await until(() => streams[1]!.told.stored === 1n && streams[2]!.told.stored === 1n);
      expect(streams[0]!.told).to.include({ stored: 0n, refused: undefined });
    });
    await until(() => streams[0]!.told.stored === 1n);
  });

  it("stores the others when what one stream says cannot be stored", async () => {
    const [bad, good] = await bareExecutions(db, 2);
    const streams = [open(bad!), open(good!)];
    const poison: EventEffects = {
      states: [],
      statistics: new Map(),
      ports: new Map(),
      reused: new Map(),
      offers: new Map(),
      operatorStates: new Map([["x", { executionId: bad!, operatorId: "nul\0", layer: "main", state: "RUNNING" }]]),
    };
    streams[0]!.say(1, 2, poison);
    streams[1]!.say(1, 2);
    await until(() => streams[0]!.told.refused !== undefined && streams[1]!.told.stored === 2n);
    expect(streams[0]!.told.refused).to.include({ code: "invalid" });
    expect(await logOf(bad!)).to.deep.equal([]);
    expect(await logOf(good!)).to.have.lengthOf(2);
  });

  it("applies everything once when the connection is cut again and again", async () => {
    const ids = await bareExecutions(db, 4);
    const streams = ids.map((id) => open(id));
    for (let round = 0; round < 40; round++) {
      for (const { say } of streams) say(round * 50 + 1, 50);
      if (round === 0)
        await until(() => connections.length > 0); // one that is cut while it is made does not count
      else if (round % 4 === 3)
        await db.query(
          "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'postern-writer'",
        );
      else await delay(3);
    }
    await until(() => streams.every(({ told }) => told.stored === 2_000n));
    for (const id of ids) expect((await logOf(id)).map((r) => r.sequence)).to.deep.equal(count(2_000));
    expect(connections.length).to.be.greaterThan(1);
  });

  it("gives up a connection whose backend does not answer, and goes on with another", async () => {
    const [frozen, fine] = await bareExecutions(db, 2);
    const one = open(frozen!);
    one.say(1, 3);
    await until(() => one.told.stored === 3n);
    // The backend is slower than the patience, and what nobody waits for any more is committed all the same.
    await db.query(`create function nap() returns trigger language plpgsql as $$
                    begin perform pg_sleep(2.5); return null; end $$`);
    await db.query(`create trigger nap after insert on execution_event for each statement execute function nap()`);
    one.say(4, 3);
    await until(async () => {
      const [busy] = await db.query(
        "select from pg_stat_activity where application_name = 'postern-writer' and wait_event = 'PgSleep'",
      );
      return busy !== undefined;
    });
    await until(() => connections.length > 1);
    await db.query("drop function if exists nap cascade");
    const other = open(fine!);
    other.say(1, 1);
    await until(() => one.told.stored === 6n && other.told.stored === 1n);
    expect((await logOf(frozen!)).map((r) => r.sequence)).to.deep.equal(count(6));
  });

  it("lets the others in between what one stream says without a pause", async () => {
    const [hog, modest] = await bareExecutions(db, 2);
    const greedy = open(hog!);
    for (let n = 0; n < 100; n++) greedy.say(n * 500 + 1, 500);
    const other = open(modest!);
    other.say(1, 1);
    await until(() => other.told.stored === 1n);
    expect(Number(greedy.told.stored)).to.be.lessThan(50_000);
    await until(() => greedy.told.stored === 50_000n);
  });

  it("offers less at a time while commits stay in doubt, so that a slow database gets through", async () => {
    const sizes: number[] = [];
    const slow = createEventCommitter({
      connection: {
        statement: (work) => work({ query: () => Promise.reject(new Error("the careful way is meant")) }),
        transaction: async (work) => {
          const rowOf = (executionId: string) => ({
            executionId,
            attempt: 1,
            epoch: 1n,
            attachment: 0n,
            state: "RUNNING",
          });
          const seen: Queryable = {
            query: async <Row>(_sql: string, params: Record<string, unknown> = {}) => {
              if (params.bodies) sizes.push((params.bodies as Buffer).length);
              const ids = params.executionIds as string[] | undefined;
              const rows = ids?.map((id) => ({ ...rowOf(id), lastSequence: 0n, lastEventNumber: 0n })) ?? [{}];
              return rows as Row[];
            },
          };
          const result = await work(seen);
          if ((sizes.at(-1) ?? 0) > 100_000) throw new InDoubt(new Error("too slow"));
          return result;
        },
        close: async () => {},
      },
      onCommitted: () => {},
      log,
      now: Date.now,
    });
    let stored = 0n;
    const writer = slow.open({
      fence: { executionId: "e", attempt: 1, epoch: 1n, attachment: 0n },
      leaseMs: 1,
      lastSequence: 0n,
      listener: { stored: (last) => (stored = last), alive: () => {}, refused: () => {} },
    });
    for (let n = 0; n < 40; n++) writer.take(lines(n * 200 + 1, 200), () => undefined);
    await until(() => stored > 0n);
    expect(sizes[0]).to.be.greaterThan(100_000);
    await slow.close(0);
  });

  it("closes in time though the database answers nothing", async () => {
    const connection = createWriterConnection({ connect: () => new Promise(() => {}), patienceMs: 60_000 });
    const stuck = createEventCommitter({ connection, onCommitted: () => {}, log, now: Date.now });
    const listener = { stored: () => {}, alive: () => {}, refused: () => {} };
    const fence = { executionId: "e", attempt: 1, epoch: 1n, attachment: 0n };
    stuck.open({ fence, leaseMs: 1, lastSequence: 0n, listener }).beat();
    await delay(20);
    await stuck.close(50);
  });

  it("gives up the connection that is being made when it is closed, and ends it when it comes all the same", async () => {
    const made = deferred<pg.Client>();
    const connection = createWriterConnection({ connect: () => made.promise, patienceMs: 60_000 });
    const refused = rejection(connection.transaction(async () => {}));
    await connection.close();
    expect(await refused).to.be.an.instanceOf(InDoubt);
    const late = await db.sessionConnection("postern-writer");
    const ended = new Promise((resolve) => late.once("end", resolve));
    made.resolve(late);
    await ended;
    expect(await rejection(connection.transaction(async () => {}))).to.be.an.instanceOf(InDoubt);
  });

  it("extends the lease by a heartbeat, also when there is nothing to store", async () => {
    const [id] = await bareExecutions(db);
    const { writer, told } = open(id!);
    writer.beat();
    await until(() => told.alive === 1);
    const [row] = await db.query<{ ahead: boolean }>(
      "select lease_expires_at > now() + interval '50 seconds' as ahead from execution where id = :id",
      { id },
    );
    expect(row?.ahead).to.equal(true);
  });

  it("still stores what a stream said before it broke", async () => {
    const [id] = await bareExecutions(db);
    const { writer, say } = open(id!);
    say(1, 500);
    committer.release(writer);
    await until(async () => (await logOf(id!)).length === 500);
    await until(() => committer.load().streams === 0);
  });
});
