// Attach on two replicas of one system: whoever speaks for an attempt, every replica agrees.
import { setTimeout as delay } from "node:timers/promises";
import { expect } from "chai";
import { ExecutionState } from "../../src/contract/postern/v1/execution.js";
import { callUnary } from "../../src/rpc/channel.js";
import { attachExecutor, line, running } from "../support/attached-executor.js";
import { rejection } from "../support/rejection.js";
import { startReplica, startTestServer, type TestServer } from "../support/test-server.js";
import { until } from "../support/until.js";

describe("Attach on two replicas", () => {
  let one: TestServer;
  let two: TestServer;
  before(async () => {
    const config = { leaseMs: 3_600_000, attachWithinMs: 3_600_000, executionTokenSeconds: 2 };
    one = await startTestServer(config);
    two = await startReplica(one, config);
    await one.furnish();
  });
  after(async () => {
    await two.stop();
    await one.stop();
  });

  const at = (server: TestServer, token: string) => attachExecutor(server.client.executions, token);

  async function attachedToOne() {
    const { spec, token } = await one.prepare();
    const executor = at(one, token);
    await executor.hello(spec!);
    await executor.next("welcome");
    return { spec: spec!, token, executor };
  }

  it("goes on at another replica in the same attempt, after the last event that is stored", async () => {
    const { spec, token, executor } = await attachedToOne();
    await executor.events(running(1n), line(2n, "a"));
    await executor.next("ack");
    executor.cut();
    const again = at(two, token);
    await again.hello(spec);
    expect(await again.next("welcome")).to.include({ lastSequence: 2n, epoch: 1n });
    await again.events(line(3n, "b"));
    expect((await again.next("ack")).sequence).to.equal(3n);
    again.cut();
  });

  it("ends the older stream of an executor that has come back by another replica, and takes nothing from it any more", async () => {
    const { spec, token, executor } = await attachedToOne();
    const again = at(two, token);
    await again.hello(spec);
    await again.next("welcome");
    expect(await rejection(executor.ended())).to.include({ code: "unavailable", reason: "STREAM_SUPERSEDED" });
    await again.events(running(1n));
    expect((await again.next("ack")).sequence).to.equal(1n);
    again.cut();
  });

  it("tells an executor that was taken over elsewhere to stop its work, though it said nothing", async () => {
    const { spec, token, executor } = await attachedToOne();
    await one.db.query("update execution set lease_expires_at = now() - interval '1 second' where id = :id", {
      id: spec.executionId,
    });
    const successor = at(two, token);
    await successor.hello(spec, { executorId: "successor" });
    await successor.next("welcome");
    expect(await rejection(executor.ended())).to.include({ code: "precondition", reason: "STALE_LEASE" });
    successor.cut();
  });

  it("leaves the execution to an executor's newer stream when the older one's Goodbye comes late", async () => {
    const { spec, executor } = await attachedToOne();
    const id = spec.executionId;
    await one.db.transaction(async (tx) => {
      await tx.query("select id from execution where id = :id for update", { id });
      await executor.events(running(1n));
      await executor.say({ $case: "goodbye", value: { reason: "restarting" } });
      await delay(100); // it waits for its events, and they for the lock
      // What the newer stream's Hello does.
      await tx.query("update execution set attachment = attachment + 1 where id = :id", { id });
    });
    expect(await rejection(executor.ended())).to.include({ reason: "STREAM_SUPERSEDED" });
    await delay(100);
    expect((await one.execution(id)).failure).to.equal(undefined);
  });

  it("takes an executor back that took over and lost its stream before the new token came", async () => {
    const { spec, token, executor } = await attachedToOne();
    executor.cut();
    await one.db.query("update execution set lease_expires_at = now() - interval '1 second' where id = :id", {
      id: spec.executionId,
    });
    const first = at(two, token);
    await first.hello(spec, { executorId: "successor" });
    await first.next("welcome");
    first.cut();
    const again = at(one, token);
    await again.hello(spec, { executorId: "successor" });
    expect(await again.next("welcome")).to.include({ epoch: 2n });
    again.cut();
    const stranger = at(one, token);
    await stranger.hello(spec, { executorId: "stranger" });
    expect(await rejection(stranger.next("welcome"))).to.include({ reason: "STALE_LEASE" });
  });

  it("ends a stream that sends beyond its credit, and stores nothing of that", async () => {
    const { spec, token } = await one.prepare();
    const executor = at(one, token);
    await executor.hello(spec!);
    const { credit } = await executor.next("welcome");
    const batches = Number(credit) / 500 + 2;
    const flood = async () => {
      for (let n = 0n; n < batches; n++)
        await executor.events(...Array.from({ length: 500 }, (_, i) => line(n * 500n + BigInt(i) + 1n, "x")));
    };
    // Without a pause to be acknowledged in: somebody holds the execution's row.
    await one.db.transaction(async (tx) => {
      await tx.query("select id from execution where id = :id for update", { id: spec!.executionId });
      await flood().catch(() => {}); // it may be ended in the midst of it
      await delay(200);
    });
    expect(await rejection(executor.ended())).to.include({ code: "invalid" });
    const [stored] = await one.db.query<{ last: bigint }>(
      "select last_sequence as last from execution where id = :id",
      { id: spec!.executionId },
    );
    expect(Number(stored!.last)).to.be.at.most(Number(credit));
  });

  it("ends the stream of an execution that was ended by other means on another replica", async () => {
    const { spec, executor } = await attachedToOne();
    await callUnary(
      two.client.executions,
      "updateExecution",
      {
        requestId: "",
        executionId: spec.executionId,
        state: ExecutionState.EXECUTION_STATE_FAILED,
        failure: { reason: "GIVEN_UP", operatorId: "", message: "no longer wanted", detail: "" },
        logUri: "",
        statisticsUri: "",
        statistics: [],
      },
      { token: two.owner },
    );
    expect(await rejection(executor.ended())).to.include({ code: "precondition", reason: "ILLEGAL_TRANSITION" });
  });

  it("renews the token in the stream for as long as it lasts: each one attaches, at any replica", async () => {
    const { spec, executor } = await attachedToOne();
    const first = await executor.next("tokenGrant");
    const second = await executor.next("tokenGrant");
    expect(second.token).not.to.equal(first.token);
    executor.cut();
    const again = at(two, second.token);
    await again.hello(spec);
    await again.next("welcome");
    again.cut();
  });

  it("lets a token of an ended execution open nothing, at any replica", async () => {
    const { spec, executor } = await attachedToOne();
    const { token } = await executor.next("tokenGrant");
    await executor.complete(spec);
    await executor.next("completeAck");
    const again = at(two, token);
    await again.hello(spec);
    expect(await rejection(again.next("welcome"))).to.include({ reason: "ILLEGAL_TRANSITION" });
    const read = callUnary(two.client.executions, "getExecution", { executionId: spec.executionId }, { token });
    expect(await rejection(read)).to.include({ code: "unauthenticated" });
  });

  it("asks an executor to leave before a proxy's limit, with nothing lost", async () => {
    const three = await startReplica(one, { leaseMs: 3_600_000, rotateStreamsMs: 50 });
    try {
      const { spec, token } = await one.prepare();
      const executor = at(three, token);
      await executor.hello(spec!);
      await executor.events(running(1n));
      await executor.next("drain");
      await executor.events(line(2n, "on its way already"));
      await until(async () => (await one.execution(spec!.executionId)).lastEventNumber === 3n);
      executor.end();
      await executor.ended();
    } finally {
      await three.stop();
    }
  });

  it("grants credit for a whole batch at least beyond the last stored event", async () => {
    const { spec, token } = await one.prepare();
    const executor = at(one, token);
    await executor.hello(spec!);
    const { credit } = await executor.next("welcome");
    expect(Number(credit)).to.be.greaterThan(255);
    await executor.events(running(1n), ...Array.from({ length: 200 }, (_, i) => line(BigInt(i + 2), "x")));
    let ack = await executor.next("ack");
    while (ack.sequence < 201n) ack = await executor.next("ack");
    expect(Number(ack.credit - ack.sequence)).to.be.greaterThan(255);
    executor.cut();
  });
});
