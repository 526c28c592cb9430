import { setMaxListeners } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { expect } from "chai";
import { pino } from "pino";
import { WatchExecutionResponse } from "../../src/contract/postern/v1/execution.js";
import { AppError } from "../../src/core/app-error.js";
import type { Queryable } from "../../src/server/database/database.js";
import { createEventFeed, type EventFeed } from "../../src/server/executions/event-feed.js";
import type { LookAtLog } from "../../src/server/notifications.js";
import { allowBareExecutions, bareExecutions, type WrittenEvents, writeEvents } from "../support/bare-executions.js";
import { createMigratedDatabase, type MigratedDatabase } from "../support/migrated-database.js";
import { rejection } from "../support/rejection.js";
import { until } from "../support/until.js";

/** Where the backstop shall not do what hints must. */
const HINTS_ONLY = { backstopMs: 60_000 };

type Watching = ReturnType<EventFeed["follow"]>;

/** `from`, `from + 1n` … `to`. */
const range = (from: bigint, to: bigint) => Array.from({ length: Number(to - from) + 1 }, (_, i) => from + BigInt(i));

describe("the event feed of a replica", () => {
  let database: MigratedDatabase;
  before(async () => {
    database = await createMigratedDatabase();
    await allowBareExecutions(database.db);
  });
  after(() => database.close());

  let stopFeeds: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const stop of stopFeeds) await stop();
    stopFeeds = [];
  });

  /** A feed with hints by hand, whose statements are recorded. */
  function replica(limits: { memoryBytes?: number; backstopMs?: number; rightEveryMs?: number } = {}) {
    const looks = new Map<string, LookAtLog>();
    const statements: string[] = [];
    const faults: unknown[] = [];
    const draining = new AbortController();
    const stop = new AbortController();
    const gone = new AbortController();
    setMaxListeners(0, gone.signal);
    let failing = false;
    const db: Queryable = {
      async query(sql, params) {
        statements.push(sql);
        if (failing) throw new AppError("unavailable", "UNAVAILABLE", "no database");
        return database.db.query(sql, params);
      },
    };
    const log = pino({ level: "error" }, { write: (line: string) => faults.push(JSON.parse(line).msg) });
    const feed = createEventFeed({
      db,
      draining: draining.signal,
      log,
      ...limits,
      hints: {
        onExecution(id, look) {
          looks.set(id, look);
          return () => looks.delete(id);
        },
      },
    });
    const running = feed.run(stop.signal);
    stopFeeds.push(async () => {
      gone.abort();
      draining.abort();
      stop.abort();
      await running;
      expect(feed.size(), "nothing is left behind").to.deep.equal({ tails: 0, watchers: 0, bytes: 0 });
      expect(looks.size).to.equal(0);
    });
    const follow = (executionId: string, after = 0n, pastEnd = after, clientGone = gone.signal) =>
      feed.follow({ executionId, after, pastEnd, requireRight: async () => {} }, clientGone);
    return {
      feed,
      follow,
      statements,
      faults,
      draining,
      gone,
      hint: (id: string, lastNumber?: bigint) => looks.get(id)?.(lastNumber),
      fail: (now: boolean) => {
        failing = now;
      },
      /** Statements that read events of tails, and of single watchers. */
      reads: () => statements.filter((sql) => sql.includes("lateral")).length,
      pages: () => statements.filter((sql) => sql.includes("as page")).length,
    };
  }

  const itemOf = (reply: WatchExecutionResponse | Buffer) =>
    (Buffer.isBuffer(reply) ? WatchExecutionResponse.decode(reply) : reply).item!;

  /** Reads in the background, and notes event numbers as they come; `sentinel` is where caughtUp stood among them. */
  function listenTo(watching: Watching) {
    const heard = { numbers: [] as bigint[], sentinels: [] as bigint[], ended: undefined as unknown };
    void (async () => {
      try {
        for await (const reply of watching) {
          const item = itemOf(reply);
          if (item.$case === "event") heard.numbers.push(item.value.number);
          if (item.$case === "caughtUp") heard.sentinels.push(item.value.number);
        }
        heard.ended = "well";
      } catch (error) {
        heard.ended = error;
      }
    })();
    return heard;
  }
  const execution = async () => (await bareExecutions(database.db))[0]!;
  const write = (id: string, count: number, how = {}): Promise<WrittenEvents> =>
    writeEvents(database.db, id, count, how);

  it("tells the past, one sentinel where it ended, and then what comes", async () => {
    const id = await execution();
    await write(id, 7);
    const here = replica(HINTS_ONLY);
    const heard = listenTo(here.follow(id, 2n, 7n));
    await until(() => heard.sentinels.length > 0);
    expect(heard).to.deep.equal({ numbers: range(3n, 7n), sentinels: [7n], ended: undefined });
    await write(id, 3);
    here.hint(id);
    await until(() => heard.numbers.at(-1) === 10n);
    await write(id, 1, { state: "COMPLETED" });
    here.hint(id);
    await until(() => heard.ended !== undefined);
    expect(heard).to.deep.equal({ numbers: range(3n, 11n), sentinels: [7n], ended: "well" });
  });

  it("reads a log once, however many watch it", async () => {
    const id = await execution();
    const here = replica(HINTS_ONLY);
    const heard = Array.from({ length: 50 }, () => listenTo(here.follow(id)));
    await until(() => heard.every(({ sentinels }) => sentinels.length === 1));
    here.statements.length = 0;
    for (let n = 1n; n <= 20n; n++) {
      await write(id, 1);
      here.hint(id, n);
      await until(() => heard.every(({ numbers }) => numbers.at(-1) === n));
    }
    expect(here.reads()).to.be.at.most(20);
    expect(here.pages()).to.equal(0);
    for (const { numbers } of heard) expect(numbers).to.deep.equal(range(1n, 20n));
    here.gone.abort();
    await until(() => heard.every(({ ended }) => ended !== undefined));
  });

  it("reads all logs that have moved with one statement, and asks once a second when nothing happens", async () => {
    const ids = await bareExecutions(database.db, 300);
    const here = replica();
    const heard = ids.map((id) => listenTo(here.follow(id)));
    await until(() => heard.every(({ sentinels }) => sentinels.length === 1));
    await until(() => here.reads() > 0);
    here.statements.length = 0;
    for (const id of ids) await write(id, 2);
    for (const id of ids) here.hint(id);
    await until(() => heard.every(({ numbers }) => numbers.length === 2));
    expect(here.reads(), "the first hint may leave before the others").to.be.at.most(6);
    await delay(50);
    here.statements.length = 0;
    await delay(2_500);
    expect(here.statements.length).to.be.within(1, 3);
  });

  it("reads more than fits into one statement, and no log waits for ever behind a large one", async () => {
    const ids = await bareExecutions(database.db, 8);
    const here = replica(HINTS_ONLY);
    const heard = ids.map((id) => listenTo(here.follow(id)));
    await until(() => here.reads() > 0);
    for (const id of ids) await write(id, 60, { bytes: 30_000 });
    for (const id of ids) here.hint(id, 60n);
    await until(() => heard.every(({ numbers }) => numbers.length === 60));
    for (const { numbers } of heard) expect(numbers).to.deep.equal(range(1n, 60n));
    expect(here.faults).to.deep.equal([]);
  });

  it("ends no watch before everything was sent, however much there is at the end", async () => {
    const id = await execution();
    const here = replica(HINTS_ONLY);
    const heard = listenTo(here.follow(id));
    await until(() => here.reads() > 0);
    await write(id, 1_700, { state: "COMPLETED" });
    here.hint(id);
    await until(() => heard.ended !== undefined);
    expect(heard).to.deep.include({ numbers: range(1n, 1_700n), ended: "well" });
  });

  it("reads nothing that this replica has committed itself", async () => {
    const id = await execution();
    const here = replica();
    const heard = listenTo(here.follow(id));
    await until(() => here.reads() === 1);
    await delay(20);
    for (let n = 1n; n <= 30n; n++) {
      here.feed.committed(id, await write(id, 1));
      here.hint(id, n);
    }
    await until(() => heard.numbers.length === 30);
    expect(heard.numbers).to.deep.equal(range(1n, 30n));
    expect(here.reads()).to.equal(1);
    here.feed.committed("00000000-0000-7000-8000-000000000000", {
      attempt: 1,
      firstNumber: 1n,
      firstSequence: 1n,
      events: [],
    });
  });

  it("reads what others committed in between", async () => {
    const id = await execution();
    const here = replica(HINTS_ONLY);
    const heard = listenTo(here.follow(id));
    await until(() => here.reads() === 1);
    await write(id, 2);
    here.feed.committed(id, await write(id, 2));
    await until(() => heard.numbers.length === 4);
    expect(heard.numbers).to.deep.equal(range(1n, 4n));
    expect(here.faults).to.deep.equal([]);
  });

  it("finds what no hint has told, an end included", async () => {
    const id = await execution();
    const here = replica();
    const heard = listenTo(here.follow(id));
    await until(() => here.reads() === 1);
    await write(id, 3);
    await until(() => heard.numbers.length === 3);
    await write(id, 1, { state: "KILLED" });
    await until(() => heard.ended !== undefined);
    expect(heard).to.deep.include({ numbers: range(1n, 4n), ended: "well" });
  });

  it("tells a slow watcher everything, and the others do not wait for it", async () => {
    const id = await execution();
    const here = replica(HINTS_ONLY);
    const slow = here.follow(id);
    expect(itemOf((await slow.next()).value!).$case).to.equal("caughtUp");
    const quick = listenTo(here.follow(id));
    for (let round = 0; round < 6; round++) {
      here.feed.committed(id, await write(id, 20, { bytes: 20_000 }));
      await until(() => quick.numbers.length === 20 * (round + 1));
    }
    expect(here.feed.size().bytes).to.be.at.most(1024 * 1024);
    const seen: bigint[] = [];
    while (seen.length < 120) {
      const item = itemOf((await slow.next()).value!);
      if (item.$case === "event") seen.push(item.value.number);
      if (seen.length === 60) here.feed.committed(id, await write(id, 1));
    }
    expect(seen).to.deep.equal(range(1n, 120n));
    expect(here.pages(), "what fell out of the tail").to.be.greaterThan(5);
    const pages = here.pages();
    expect(itemOf((await slow.next()).value!)).to.nested.include({ "value.number": 121n });
    here.feed.committed(id, await write(id, 1));
    expect(itemOf((await slow.next()).value!)).to.nested.include({ "value.number": 122n });
    expect(here.pages(), "it is back").to.equal(pages);
    await slow.return(undefined);
  });

  it("holds no more for all watchers together than it may", async () => {
    const ids = await bareExecutions(database.db, 10);
    const here = replica({ memoryBytes: 200_000 });
    const heard = ids.map((id) => listenTo(here.follow(id)));
    for (let round = 0; round < 3; round++)
      for (const id of ids) {
        here.feed.committed(id, await write(id, 3, { bytes: 20_000 }));
        expect(here.feed.size().bytes).to.be.at.most(200_000);
      }
    await until(() => heard.every(({ numbers }) => numbers.length === 9));
    for (const { numbers } of heard) expect(numbers).to.deep.equal(range(1n, 9n));
  });

  it("lets the tail go with its last watcher", async () => {
    const id = await execution();
    const here = replica();
    const gone = [new AbortController(), new AbortController()];
    const heard = gone.map(({ signal }) => listenTo(here.follow(id, 0n, 0n, signal)));
    await until(() => here.feed.size().watchers === 2);
    here.feed.committed(id, await write(id, 5));
    await until(() => heard.every(({ numbers }) => numbers.length === 5));
    gone[0]!.abort();
    await until(() => heard[0]!.ended !== undefined);
    expect(here.feed.size()).to.include({ tails: 1, watchers: 1 });
    gone[1]!.abort();
    await until(() => heard[1]!.ended !== undefined);
    expect(here.feed.size()).to.deep.equal({ tails: 0, watchers: 0, bytes: 0 });
  });

  it("ends at once where the log has ended already", async () => {
    const id = await execution();
    await write(id, 5, { state: "FAILED" });
    const here = replica();
    const heard = [0n, 3n, 5n].map((after) => listenTo(here.follow(id, after, 5n)));
    await until(() => heard.every(({ ended }) => ended === "well"));
    expect(heard.map(({ numbers }) => numbers.length)).to.deep.equal([5, 2, 0]);
    for (const { sentinels } of heard) expect(sentinels).to.deep.equal([5n]);
  });

  it("ends when the execution is deleted, for those who are behind as well", async () => {
    const id = await execution();
    await write(id, 3);
    const here = replica(HINTS_ONLY);
    const live = listenTo(here.follow(id, 3n));
    const behind = here.follow(id, 0n, 3n);
    await until(() => here.reads() === 1);
    await database.db.query("delete from execution_event where execution_id = :id", { id });
    await database.db.query("delete from execution where id = :id", { id });
    here.hint(id);
    const heard = listenTo(behind);
    await until(() => live.ended === "well" && heard.ended === "well");
    expect(heard).to.deep.include({ numbers: [], sentinels: [0n] });
  });

  it("ends a watch whose right is gone, and no other; while nobody can say, it goes on", async () => {
    const id = await execution();
    const here = replica({ rightEveryMs: 20 });
    const asked = { one: 0, other: 0 };
    let answer: AppError | undefined = new AppError("unavailable", "UNAVAILABLE", "no database");
    const watchWith = (requireRight: () => Promise<void>) =>
      listenTo(here.feed.follow({ executionId: id, after: 0n, pastEnd: 0n, requireRight }, here.gone.signal));
    const one = watchWith(async () => {
      asked.one++;
      if (answer) throw answer;
    });
    const other = watchWith(async () => void asked.other++);
    await until(() => asked.one >= 3);
    here.feed.committed(id, await write(id, 2));
    await until(() => one.numbers.length === 2 && other.numbers.length === 2);
    expect(one.ended).to.equal(undefined);
    answer = new AppError("not-found", "NOT_FOUND", "There is no execution, or you may not see it.");
    await until(() => one.ended !== undefined);
    expect(one.ended).to.equal(answer);
    const askedOnce = asked.one;
    here.feed.committed(id, await write(id, 1, { state: "KILLED" }));
    await until(() => other.ended !== undefined);
    expect(other).to.deep.include({ numbers: range(1n, 3n), ended: "well" });
    const askedLast = { ...asked };
    await new Promise((resolve) => setTimeout(resolve, 80));
    expect(asked, "nobody is asked for who is gone").to.deep.equal(askedLast);
    expect(asked.one).to.equal(askedOnce);
    expect(one.numbers).to.deep.equal(range(1n, 2n));
  });

  it("ends well, not for want of a right, when the execution is gone", async () => {
    const id = await execution();
    await write(id, 1);
    const here = replica({ rightEveryMs: 1, backstopMs: 300 });
    const requireRight = async () => {
      const [row] = await database.db.query("select 1 from execution where id = :id", { id });
      if (!row) throw new AppError("not-found", "NOT_FOUND", "gone");
    };
    const heard = listenTo(
      here.feed.follow({ executionId: id, after: 1n, pastEnd: 1n, requireRight }, here.gone.signal),
    );
    await until(() => heard.sentinels.length === 1);
    await database.db.query("delete from execution_event where execution_id = :id", { id });
    await database.db.query("delete from execution where id = :id", { id });
    await until(() => heard.ended !== undefined);
    expect(heard.ended).to.equal("well");
  });

  it("never skips a missing event: it is reported as a fault", async () => {
    const id = await execution();
    const here = replica();
    const heard = listenTo(here.follow(id));
    await until(() => here.reads() === 1);
    await write(id, 5);
    await database.db.query("delete from execution_event where execution_id = :id and number = 3", { id });
    here.hint(id);
    await until(() => heard.ended !== undefined);
    expect(heard.numbers).to.deep.equal([1n, 2n]);
    expect(heard.ended).to.be.instanceOf(Error).with.property("message").that.contains("lacks event 3");
    expect(here.faults).to.deep.equal(["a log lacks an event"]);
  });

  it("goes on where it was when the database comes back", async () => {
    const id = await execution();
    const here = replica();
    const heard = listenTo(here.follow(id));
    await until(() => here.reads() === 1);
    here.fail(true);
    await write(id, 3);
    here.hint(id);
    await until(() => here.statements.length > 3);
    expect(heard).to.deep.include({ numbers: [], ended: undefined });
    here.fail(false);
    await until(() => heard.numbers.length === 3);
  });

  it("says that it stops, rather than that the execution has ended", async () => {
    const id = await execution();
    const here = replica();
    const heard = listenTo(here.follow(id));
    await until(() => heard.sentinels.length > 0);
    here.draining.abort();
    await until(() => heard.ended !== undefined);
    expect(heard.ended).to.include({ code: "unavailable", reason: "DRAINING" });
    expect(await rejection(here.follow(id).next())).to.include({ reason: "DRAINING" });
  });

  it("tells each watcher everything once and in order, whatever is lost, late, large or slow", async () => {
    const id = await execution();
    const here = replica({ memoryBytes: 100_000 });
    const total = 600n;
    let seed = 12345;
    const chance = (share: number) => {
      seed = (seed * 1103515245 + 12345) % 2 ** 31;
      return seed / 2 ** 31 < share;
    };
    const collected: { after: bigint; numbers: bigint[] }[] = [];
    const watchers: Promise<void>[] = [];
    async function watch(after: bigint, slow: boolean): Promise<void> {
      const mine = { after, numbers: [] as bigint[] };
      collected.push(mine);
      for await (const reply of here.follow(id, after, after)) {
        const item = itemOf(reply);
        if (item.$case === "event") mine.numbers.push(item.value.number);
        if (slow && chance(0.1)) await delay(3);
      }
    }
    for (let written = 0n, round = 0; written < total; round++) {
      if (round % 5 === 0) watchers.push(watch(chance(0.3) ? 0n : written, chance(0.5)));
      const count = Math.min(chance(0.2) ? 40 : 3, Number(total - written));
      written += BigInt(count);
      const state = written === total ? "COMPLETED" : "RUNNING";
      const events = await write(id, count, { state, bytes: chance(0.2) ? 5_000 : 20 });
      // Some are committed here, some elsewhere with a hint, some with none.
      if (chance(0.5) && state === "RUNNING") here.feed.committed(id, events);
      if (chance(0.5)) here.hint(id, chance(0.5) ? written : undefined);
    }
    await Promise.all(watchers);
    expect(collected.length).to.be.at.least(3);
    for (const { after, numbers } of collected) expect(numbers).to.deep.equal(range(after + 1n, total));
    expect(here.faults).to.deep.equal([]);
  });
});
