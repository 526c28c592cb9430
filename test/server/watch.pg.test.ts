import { expect } from "chai";
import { Role } from "../../src/contract/postern/v1/access.js";
import { ExecutionState, type WatchExecutionResponse } from "../../src/contract/postern/v1/execution.js";
import { bearer, callUnary, serverStream } from "../../src/rpc/channel.js";
import { attachExecutor, line, running } from "../support/attached-executor.js";
import { rejection } from "../support/rejection.js";
import { PROJECT, startReplica, startTestServer, type TestServer } from "../support/test-server.js";
import { until } from "../support/until.js";

describe("WatchExecution", () => {
  let server: TestServer;
  let other: TestServer;
  before(async () => {
    server = await startTestServer();
    other = await startReplica(server);
    await server.furnish();
  });
  after(async () => {
    await other.stop();
    await server.stop();
  });

  const watch = (executionId: string, after?: bigint, token = server.owner, at = server) =>
    serverStream<WatchExecutionResponse>(at.client.executions.watchExecution({ executionId, after }, bearer(token)));
  async function collect(items: AsyncIterable<WatchExecutionResponse>) {
    const all: NonNullable<WatchExecutionResponse["item"]>[] = [];
    for await (const { item } of items) all.push(item!);
    return all;
  }
  async function endedExecution() {
    const { spec, token } = await server.prepare();
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    await executor.events(running(1n), line(2n, "a"), line(3n, "b"));
    await executor.complete(spec!, { lastSequence: 3n });
    await executor.next("completeAck");
    return spec!.executionId;
  }

  it("sends a snapshot with every operator, one sentinel, and ends when the execution has ended", async () => {
    const [snapshot, caughtUp, ...rest] = await collect(watch(await endedExecution()));
    expect(rest).to.deep.equal([]);
    expect(snapshot!.$case).to.equal("snapshot");
    if (snapshot?.$case === "snapshot") {
      expect(snapshot.value.execution!.state).to.equal(ExecutionState.EXECUTION_STATE_COMPLETED);
      expect(snapshot.value.operators.map((o) => o.operatorId)).to.deep.equal(["fruit", "heavy", "order"]);
    }
    expect(caughtUp).to.deep.equal({ $case: "caughtUp", value: { number: 5n } });
  });

  it("replays every event after any number, once each and in order", async () => {
    const id = await endedExecution();
    for (const after of [0n, 1n, 3n, 5n]) {
      const items = await collect(watch(id, after));
      const numbers = items.flatMap((item) => (item.$case === "event" ? [item.value.number] : []));
      const expected = [1n, 2n, 3n, 4n, 5n].filter((n) => n > after);
      expect(numbers, `after ${after}`).to.deep.equal(expected);
      expect(items.filter((item) => item.$case === "caughtUp")).to.have.lengthOf(1);
    }
  });

  it("follows live from snapshot to end without a gap", async () => {
    const { spec, token } = await server.prepare();
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    await executor.next("welcome");
    const watching = collect(watch(spec!.executionId));
    for (let n = 1n; n <= 40n; n++) await executor.events(n === 1n ? running(n) : line(n, `line ${n}`));
    await executor.complete(spec!, { lastSequence: 40n });
    await executor.next("completeAck");
    const items = await watching;
    const snapshot = items.find((item) => item.$case === "snapshot");
    const from = snapshot?.$case === "snapshot" ? snapshot.value.execution!.lastEventNumber : -1n;
    const numbers = items.flatMap((item) => (item.$case === "event" ? [item.value.number] : []));
    expect(numbers).to.deep.equal(Array.from({ length: 42 - Number(from) }, (_, i) => from + 1n + BigInt(i)));
  });

  it("sees changes made where no hint reaches it", async () => {
    const { spec } = await server.prepare();
    const watching = collect(watch(spec!.executionId, 1n));
    await server.db.query(
      `with e as (update execution set state = 'FAILED', ended_at = now(), last_event_number = 2 where id = :id returning id)
       insert into execution_event (execution_id, number, attempt, sequence, occurred_at, kind, body)
       select id, 2, 1, 0, now(), 'executionState', '\\x' from e`,
      { id: spec!.executionId },
    );
    expect((await watching).filter((item) => item.$case === "event")).to.have.lengthOf(1);
  });

  /** An execution on `server` whose executor says what the test tells it to. */
  async function runningExecution() {
    const { spec, token } = await server.prepare();
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    await executor.next("welcome");
    let said = 0n;
    return {
      id: spec!.executionId,
      executor,
      async say(lines: number) {
        for (let i = 0; i < lines; i++)
          await executor.events(++said === 1n ? running(said) : line(said, `line ${said}`));
        let { sequence } = await executor.next("ack");
        while (sequence < said) ({ sequence } = await executor.next("ack"));
      },
      async complete() {
        await executor.complete(spec!, { lastSequence: said });
        await executor.next("completeAck");
      },
    };
  }
  /** Event numbers, as they come. */
  function listenTo(items: AsyncIterable<WatchExecutionResponse>) {
    const heard = { numbers: [] as bigint[], sentinel: undefined as bigint | undefined, ended: undefined as unknown };
    void (async () => {
      try {
        for await (const { item } of items) {
          if (item?.$case === "event") heard.numbers.push(item.value.number);
          if (item?.$case === "caughtUp") heard.sentinel = item.value.number;
        }
        heard.ended = "well";
      } catch (error) {
        heard.ended = error;
      }
    })();
    return heard;
  }
  const numbersUpTo = (last: number) => Array.from({ length: last }, (_, i) => BigInt(i + 1));

  it("tells on one replica what an executor says on another", async () => {
    const { id, say, complete } = await runningExecution();
    const heard = [listenTo(watch(id, 0n, server.owner, other)), listenTo(watch(id, 0n))];
    await until(() => heard.every(({ sentinel }) => sentinel !== undefined));
    for (let round = 0; round < 20; round++) await say(5);
    await complete();
    await until(() => heard.every(({ ended }) => ended === "well"));
    for (const { numbers } of heard) expect(numbers).to.deep.equal(numbersUpTo(102));
  });

  it("goes on from any number on any replica", async () => {
    const { id, say, complete } = await runningExecution();
    await say(10);
    const heard: { after: bigint; it: ReturnType<typeof listenTo> }[] = [];
    for (const at of [server, other])
      for (let after = 0n; after <= 11n; after++)
        heard.push({ after, it: listenTo(watch(id, after, server.owner, at)) });
    await until(() => heard.every(({ it }) => it.sentinel === 11n));
    await say(5);
    await complete();
    await until(() => heard.every(({ it }) => it.ended === "well"));
    for (const { after, it } of heard) expect(it.numbers).to.deep.equal(numbersUpTo(17).filter((n) => n > after));
  });

  it("tells everything also when the replicas lose their hints", async () => {
    const { id, say, complete } = await runningExecution();
    const heard = listenTo(watch(id, 0n, server.owner, other));
    await until(() => heard.sentinel !== undefined);
    for (let round = 0; round < 5; round++) {
      await server.db.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and application_name = 'postern-hints'`,
      );
      await say(3);
    }
    await complete();
    await until(() => heard.ended === "well");
    expect(heard.numbers).to.deep.equal(numbersUpTo(17));
  });

  it("ends when the execution is deleted on another replica", async () => {
    const { id, say, complete } = await runningExecution();
    await say(2);
    const call = other.client.executions.watchExecution({ executionId: id, after: 0n }, bearer(server.owner));
    call.pause(); // reads nothing until the execution is gone
    await complete();
    await callUnary(server.client.executions, "deleteExecutions", { executionIds: [id] }, { token: server.owner });
    const heard = listenTo(serverStream<WatchExecutionResponse>(call));
    await until(() => heard.ended !== undefined);
    expect(heard.ended).to.equal("well");
  });

  it("says where to go on when its replica stops, and loses nothing on the next one", async () => {
    const third = await startReplica(server);
    try {
      const { id, say, complete } = await runningExecution();
      const before = listenTo(watch(id, 0n, server.owner, third));
      await say(4);
      await until(() => before.numbers.length >= 3);
      await third.drain();
      await until(() => before.ended !== undefined);
      expect(before.ended).to.include({ code: "unavailable", reason: "DRAINING" });
      await say(4);
      await complete();
      const rest = (await collect(watch(id, before.numbers.at(-1)!, server.owner, other))).flatMap((item) =>
        item.$case === "event" ? [item.value.number] : [],
      );
      expect([...before.numbers, ...rest]).to.deep.equal(numbersUpTo(10));
    } finally {
      await third.stop();
    }
  });

  describe("where rights are asked for again soon", () => {
    let strict: TestServer;
    before(async () => {
      strict = await startReplica(server, { watchRightMs: 200 });
    });
    after(() => strict.stop());

    it("ends with the right to it, as a new watch would be refused, and goes on for all others", async () => {
      const { id, say, complete } = await runningExecution();
      const member = { subject: "bob", role: Role.ROLE_VIEWER };
      const owner = { token: server.owner };
      await callUnary(server.client.access, "putMember", { projectId: PROJECT, member }, owner);
      const bob = await server.userToken("bob");
      const his = listenTo(watch(id, 0n, bob, strict));
      const mine = listenTo(watch(id, 0n, server.owner, strict));
      await say(2);
      await until(() => his.numbers.length === 3 && mine.numbers.length === 3);
      await callUnary(server.client.access, "deleteMember", { projectId: PROJECT, subject: "bob" }, owner);
      await until(() => his.ended !== undefined);
      const anew = await rejection(collect(watch(id, 0n, bob, strict)));
      expect(anew).to.include({ code: "not-found" });
      expect(his.ended).to.include({ code: "not-found", message: anew.message });
      await say(2);
      await complete();
      await until(() => mine.ended === "well");
      expect(mine.numbers).to.deep.equal(numbersUpTo(6));
      expect(his.numbers).to.deep.equal(numbersUpTo(3));
    });

    it("ends with the token it came with, and is taken up with a new one", async () => {
      const { id, say, complete } = await runningExecution();
      const heard = listenTo(watch(id, 0n, await server.userToken("owner", ["read"], 2), strict));
      await say(2);
      await until(() => heard.ended !== undefined);
      expect(heard.ended).to.include({ code: "unauthenticated", reason: "TOKEN_EXPIRED" });
      await complete();
      const rest = (await collect(watch(id, heard.numbers.at(-1)!))).flatMap((item) =>
        item.$case === "event" ? [item.value.number] : [],
      );
      expect([...heard.numbers, ...rest]).to.deep.equal(numbersUpTo(4));
    });
  });

  it("refuses a position the log does not have, and an execution the caller may not see", async () => {
    const id = await endedExecution();
    expect(await rejection(collect(watch(id, 99n)))).to.include({ code: "invalid" });
    const stranger = await server.userToken("stranger");
    expect(await rejection(collect(watch(id, 0n, stranger)))).to.include({ code: "not-found" });
  });
});
