import { expect } from "chai";
import { ExecutionState } from "../../src/contract/postern/v1/execution.js";
import { callUnary } from "../../src/rpc/channel.js";
import { attachExecutor, event, line, running } from "../support/attached-executor.js";
import { rejection } from "../support/rejection.js";
import { startTestServer, type TestServer } from "../support/test-server.js";

const LEASE_MS = 3_600_000;

describe("Attach", () => {
  let server: TestServer;
  before(async () => {
    // A lease this long also keeps housekeeping out of the way of what the tests do to leases by hand.
    server = await startTestServer({ leaseMs: LEASE_MS, attachWithinMs: LEASE_MS });
    await server.furnish();
  });
  after(() => server.stop());

  const attach = (token: string) => attachExecutor(server.client.executions, token);
  const storedEvents = async (executionId: string) =>
    server.db.query<{ number: bigint; sequence: bigint }>(
      "select number, sequence from execution_event where execution_id = :executionId order by number",
      { executionId },
    );

  it("welcomes the executor, acknowledges what it stored, and ends the execution with its manifest", async () => {
    const { spec, token } = await server.prepare();
    const executor = attach(token);
    await executor.hello(spec!);
    const welcome = await executor.next("welcome");
    expect(welcome).to.include({ lastSequence: 0n, epoch: 1n, leaseMs: LEASE_MS });
    await executor.events(running(1n), line(2n, "hello"));
    expect((await executor.next("ack")).sequence).to.equal(2n);
    expect((await server.execution(spec!.executionId)).state).to.equal(ExecutionState.EXECUTION_STATE_RUNNING);
    await executor.complete(spec!, { lastSequence: 2n });
    expect((await executor.next("completeAck")).state).to.equal(ExecutionState.EXECUTION_STATE_COMPLETED);
    await executor.ended();
    const ended = await server.execution(spec!.executionId);
    expect(ended.state).to.equal(ExecutionState.EXECUTION_STATE_COMPLETED);
    expect(ended.endedAt).to.be.an.instanceOf(Date);
  });

  it("numbers the log without holes, events of server and executor together", async () => {
    const { spec, token } = await server.prepare();
    const executor = attach(token);
    await executor.hello(spec!);
    await executor.events(running(1n), line(2n, "a"), line(3n, "b"));
    await executor.next("ack");
    await executor.complete(spec!, { lastSequence: 3n });
    await executor.ended();
    const events = await storedEvents(spec!.executionId);
    expect(events.map((e) => e.number)).to.deep.equal([1n, 2n, 3n, 4n, 5n]);
    expect(events.map((e) => e.sequence)).to.deep.equal([0n, 1n, 2n, 3n, 0n]);
  });

  it("acknowledges a repeated batch again and stores it once; an overlap stores its tail", async () => {
    const { spec, token } = await server.prepare();
    const executor = attach(token);
    await executor.hello(spec!);
    await executor.events(running(1n), line(2n, "a"));
    await executor.next("ack");
    await executor.events(running(1n), line(2n, "a"));
    expect((await executor.next("ack")).sequence).to.equal(2n);
    await executor.events(line(2n, "a"), line(3n, "b"));
    expect((await executor.next("ack")).sequence).to.equal(3n);
    expect((await storedEvents(spec!.executionId)).filter((e) => e.sequence > 0n)).to.have.lengthOf(3);
    executor.cut();
  });

  it("answers a gap with the number it waits for and stores nothing of it", async () => {
    const { spec, token } = await server.prepare();
    const executor = attach(token);
    await executor.hello(spec!);
    await executor.events(line(3n, "too early"));
    expect((await executor.next("nack")).expected).to.equal(1n);
    expect((await storedEvents(spec!.executionId)).filter((e) => e.sequence > 0n)).to.have.lengthOf(0);
    executor.cut();
  });

  it("tells a reconnecting executor where to go on, in the same attempt and epoch", async () => {
    const { spec, token } = await server.prepare();
    const first = attach(token);
    await first.hello(spec!);
    await first.events(running(1n), line(2n, "a"));
    await first.next("ack");
    first.cut();
    const second = attach(token);
    await second.hello(spec!);
    expect(await second.next("welcome")).to.include({ lastSequence: 2n, epoch: 1n });
    second.cut();
  });

  it("refuses a second executor while the first one's lease is alive", async () => {
    const { spec, token } = await server.prepare();
    const first = attach(token);
    await first.hello(spec!);
    await first.next("welcome");
    const second = attach(token);
    await second.hello(spec!, { executorId: "somebody-else" });
    expect(await rejection(second.next("welcome"))).to.include({ code: "precondition", reason: "LEASE_HELD" });
    first.cut();
  });

  it("gives the lease to another executor once it has run out, under a higher epoch that fences the first", async () => {
    const { spec, token } = await server.prepare();
    const first = attach(token);
    await first.hello(spec!);
    await first.next("welcome");
    await server.db.query("update execution set lease_expires_at = now() - interval '1 second' where id = :id", {
      id: spec!.executionId,
    });
    const second = attach(token);
    await second.hello(spec!, { executorId: "second" });
    expect((await second.next("welcome")).epoch).to.equal(2n);
    const grant = await second.next("tokenGrant");
    await first.events(running(1n)).catch(() => {}); // it may have been told already
    expect(await rejection(first.next("ack"))).to.include({ code: "precondition", reason: "STALE_LEASE" });
    expect((await storedEvents(spec!.executionId)).filter((e) => e.sequence > 0n)).to.have.lengthOf(0);
    const lateComer = attach(token);
    await lateComer.hello(spec!);
    expect(await rejection(lateComer.next("welcome"))).to.include({ reason: "STALE_LEASE" });
    second.cut();
    const again = attach(grant.token);
    await again.hello(spec!, { executorId: "second" });
    await again.next("welcome");
    again.cut();
  });

  it("refuses the token of another execution", async () => {
    const [one, other] = [await server.prepare(), await server.prepare()];
    const executor = attach(one.token);
    await executor.hello(other.spec!);
    expect(await rejection(executor.next("welcome"))).to.include({ code: "forbidden", reason: "STALE_LEASE" });
  });

  it("refuses a user's token", async () => {
    const { spec } = await server.prepare();
    const executor = attach(server.owner);
    const refused = rejection(executor.next("welcome"));
    await executor.hello(spec!).catch(() => {});
    expect(await refused).to.include({ code: "forbidden", reason: "SCOPE_MISSING" });
  });

  it("refuses an executor that holds another plan, and leaves the lease free", async () => {
    const { spec, token } = await server.prepare();
    const wrong = attach(token);
    await wrong.hello(spec!, { planDigest: "0".repeat(64), executorId: "wrong" });
    expect(await rejection(wrong.next("welcome"))).to.include({ code: "invalid" });
    const right = attach(token);
    await right.hello(spec!);
    await right.next("welcome");
    right.cut();
  });

  it("refuses a first frame that is not Hello, and a Hello of another protocol version", async () => {
    const { spec, token } = await server.prepare();
    const mute = attach(token);
    await mute.say({ $case: "heartbeat", value: { sentAt: undefined } });
    expect(await rejection(mute.next("welcome"))).to.include({ code: "invalid" });
    const newer = attach(token);
    await newer.hello(spec!, { protocolVersion: 2 });
    expect(await rejection(newer.next("welcome"))).to.include({ code: "invalid" });
  });

  it("refuses to be reported a terminal state by an event", async () => {
    const { spec, token } = await server.prepare();
    const executor = attach(token);
    await executor.hello(spec!);
    const state = ExecutionState.EXECUTION_STATE_COMPLETED;
    await executor.events(event(1n, { $case: "executionState", value: { state, failure: undefined, comment: "" } }));
    expect(await rejection(executor.next("ack"))).to.include({ code: "invalid" });
    expect((await server.execution(spec!.executionId)).state).to.equal(ExecutionState.EXECUTION_STATE_PREPARED);
  });

  it("does not let a late RUNNING overwrite the end", async () => {
    const { spec, token } = await server.prepare();
    const executor = attach(token);
    await executor.hello(spec!);
    await executor.next("welcome");
    await server.db.query("update execution set state = 'FAILED' where id = :id", { id: spec!.executionId });
    await executor.events(running(1n));
    expect(await rejection(executor.next("ack"))).to.include({ code: "precondition", reason: "ILLEGAL_TRANSITION" });
    expect((await server.execution(spec!.executionId)).state).to.equal(ExecutionState.EXECUTION_STATE_FAILED);
  });

  it("answers heartbeats and extends the lease by them", async () => {
    const { spec, token } = await server.prepare();
    const executor = attach(token);
    await executor.hello(spec!);
    await executor.next("welcome");
    await server.db.query("update execution set lease_expires_at = now() + interval '1 second' where id = :id", {
      id: spec!.executionId,
    });
    await executor.say({ $case: "heartbeat", value: { sentAt: new Date() } });
    await executor.next("heartbeat");
    const [row] = await server.db.query<{ extended: boolean }>(
      "select lease_expires_at > now() + interval '1 minute' as extended from execution where id = :id",
      { id: spec!.executionId },
    );
    expect(row!.extended).to.equal(true);
    executor.cut();
  });

  it("grants a fresh token when asked, and the fresh one attaches", async () => {
    const { spec, token } = await server.prepare();
    const executor = attach(token);
    await executor.hello(spec!);
    await executor.say({ $case: "tokenRefresh", value: {} });
    const grant = await executor.next("tokenGrant");
    executor.cut();
    const again = attach(grant.token);
    await again.hello(spec!);
    await again.next("welcome");
    again.cut();
  });

  it("pushes a cancel to the executor, and KILLED is what the executor reports", async () => {
    const { spec, token } = await server.prepare();
    const executor = attach(token);
    await executor.hello(spec!);
    await executor.next("welcome");
    const cancel = { executionId: spec!.executionId, reason: "enough", force: false };
    await callUnary(server.client.executions, "cancelExecution", cancel, { token: server.owner });
    await callUnary(server.client.executions, "cancelExecution", cancel, { token: server.owner });
    const command = await executor.next("command");
    expect(command.reason).to.equal("enough");
    await executor.say({ $case: "commandAck", value: { commandId: command.commandId, refused: "" } });
    await executor.complete(spec!, { state: ExecutionState.EXECUTION_STATE_KILLED });
    await executor.next("completeAck");
    expect((await server.execution(spec!.executionId)).state).to.equal(ExecutionState.EXECUTION_STATE_KILLED);
    const rows = await server.db.query("select * from execution_command where execution_id = :id", {
      id: spec!.executionId,
    });
    expect(rows, "asked twice, ordered once").to.have.lengthOf(1);
    expect(rows[0]).to.have.property("acknowledgedAt").that.is.an.instanceOf(Date);
  });

  it("refuses a manifest that ends before the events it claims are stored", async () => {
    const { spec, token } = await server.prepare();
    const executor = attach(token);
    await executor.hello(spec!);
    await executor.complete(spec!, { lastSequence: 7n });
    const refused = await rejection(executor.next("completeAck"));
    expect(refused).to.include({ code: "precondition", reason: "UNEXPECTED_SEQUENCE" });
  });

  it("takes the same manifest again as done, and refuses another one", async () => {
    const { spec, token } = await server.prepare();
    for (const _ of [1, 2]) {
      const executor = attach(token);
      await executor.hello(spec!);
      await executor.complete(spec!).catch(() => {});
      await executor.next("completeAck").catch(() => {});
      executor.cut();
    }
    const manifest = {
      executionId: spec!.executionId,
      attempt: 1,
      state: ExecutionState.EXECUTION_STATE_COMPLETED,
      failure: undefined,
      ports: [],
      consoles: [],
      statistics: [],
      cacheCommits: [],
      reuse: [],
      logUri: "",
      statisticsUri: "",
      lastSequence: 0n,
      dropped: undefined,
    };
    const again = await callUnary(server.client.executions, "completeExecution", { manifest }, { token });
    expect(again.execution?.state).to.equal(ExecutionState.EXECUTION_STATE_COMPLETED);
    const killed = { ...manifest, state: ExecutionState.EXECUTION_STATE_KILLED };
    const refused = await rejection(
      callUnary(server.client.executions, "completeExecution", { manifest: killed }, { token }),
    );
    expect(refused).to.include({ code: "precondition", reason: "ILLEGAL_TRANSITION" });
  });
});
