import { expect } from "chai";
import { type ExecutionSpec, ExecutionState } from "../../src/contract/postern/v1/execution.js";
import { PortResult } from "../../src/contract/postern/v1/port_registry.js";
import { createLogger } from "../../src/process/log.js";
import { callUnary } from "../../src/rpc/channel.js";
import { expireLeases } from "../../src/server/executions/lost-leases.js";
import { IS_LIVE, lockLostExecutions } from "../../src/server/repositories/lease-watch.js";
import { attachExecutor, event, running } from "../support/attached-executor.js";
import { connectPooledExecutor } from "../support/pooled-executor.js";
import { rejection } from "../support/rejection.js";
import { startReplica, startTestServer, type TestServer } from "../support/test-server.js";

const { EXECUTION_STATE_FAILED, EXECUTION_STATE_QUEUED, EXECUTION_STATE_RUNNING } = ExecutionState;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Attaches, and runs as far as RUNNING. */
async function attachAndRun(server: TestServer, spec: ExecutionSpec, token: string, executorId = "test-1") {
  const executor = attachExecutor(server.client.executions, token);
  await executor.hello(spec, { executorId });
  await executor.next("welcome");
  await executor.events(running(1n));
  await executor.next("ack");
  return executor;
}

async function untilState(server: TestServer, executionId: string, state: ExecutionState) {
  for (;;) {
    const execution = await server.execution(executionId);
    if (execution.state === state) return execution;
    await pause(30);
  }
}

describe("Lost leases", () => {
  let server: TestServer;
  before(async () => {
    server = await startTestServer({ leaseMs: 900, attachWithinMs: 900 });
    await server.furnish();
  });
  after(() => server.stop());

  it("starts the next attempt when an executor falls silent, and fails the execution after the last", async () => {
    const { execution } = await server.prepare({ queue: true, maxAttempts: 2 });
    const pool = await connectPooledExecutor(server, { slots: 2 });
    for (const attempt of [1, 2]) {
      const { spec, token } = await pool.next("assignment");
      expect(spec).to.include({ executionId: execution!.id, attempt });
      await pool.answer(spec!.executionId);
      const executor = await attachAndRun(server, spec!, token, `silent-${attempt}`);
      executor.cut();
    }
    const ended = await untilState(server, execution!.id, EXECUTION_STATE_FAILED);
    expect(ended.failure?.reason).to.equal("LOST");
    pool.cut();
  });

  it("starts the next attempt from what is already materialised, under a new epoch", async () => {
    const { execution } = await server.prepare({ queue: true });
    const pool = await connectPooledExecutor(server, { slots: 2 });
    const first = await pool.next("assignment");
    await pool.answer(execution!.id);
    expect(first.spec!.alreadyMaterialized).to.deep.equal([]);
    const executor = await attachAndRun(server, first.spec!, first.token);
    const { key } = first.spec!.plan!.operators.find((o) => o.operatorId === "order")!.outputs[0]!;
    const uri = `${first.spec!.resultPrefix}order.parquet`;
    const value = PortResult.fromPartial({ key, uri, rowCount: 2n, byteCount: 10n });
    await executor.events(event(2n, { $case: "portResult", value }));
    await executor.next("ack");
    executor.cut();
    const second = await pool.next("assignment");
    expect(second.spec).to.include({ executionId: execution!.id, attempt: 2 });
    expect(second.spec!.epoch > first.spec!.epoch).to.equal(true);
    expect(second.spec!.resultPrefix).not.to.equal(first.spec!.resultPrefix);
    expect(second.spec!.alreadyMaterialized).to.have.length(1);
    expect(second.spec!.alreadyMaterialized[0]).to.deep.include({
      key,
      uri,
      rowCount: 2n,
    });
    // The first executor comes back too late: its token speaks for nothing.
    const late = attachExecutor(server.client.executions, first.token);
    await late.hello(first.spec!);
    expect(await rejection(late.next("welcome"))).to.include({ reason: "STALE_LEASE" });
    pool.cut();
    await stop(execution!.id);
  });

  const stop = (executionId: string) =>
    callUnary(
      server.client.executions,
      "cancelExecution",
      { executionId, reason: "", force: false },
      { token: server.owner },
    );

  it("gives an attempt up at once when its executor says goodbye", async () => {
    const { spec, token } = await server.prepare();
    const executor = await attachAndRun(server, spec!, token);
    await executor.say({ $case: "goodbye", value: { reason: "stopping" } });
    await executor.ended();
    const ended = await server.execution(spec!.executionId);
    expect(ended.failure?.reason).to.equal("LOST");
  });

  it("fails an execution prepared for an executor that never attached", async () => {
    const { execution } = await server.prepare();
    await server.db.query("update execution set lease_expires_at = now() where id = :id", { id: execution!.id });
    const ended = await untilState(server, execution!.id, EXECUTION_STATE_FAILED);
    expect(ended.failure).to.include({ reason: "LOST" });
  });

  it("does not take a report beside the stream for a sign of life of the stream", async () => {
    const { spec, token } = await server.prepare();
    const { executionId } = spec!;
    const executor = await attachAndRun(server, spec!, token);
    executor.cut();
    const report = { requestId: "", executionId, logUri: "", statisticsUri: "", statistics: [], failure: undefined };
    const reporting = (async () => {
      for (;;) {
        const asked = { ...report, state: EXECUTION_STATE_RUNNING };
        await callUnary(server.client.executions, "updateExecution", asked, { token });
        await pause(50);
      }
    })();
    expect(await rejection(reporting))
      .to.have.property("reason")
      .that.is.oneOf(["STALE_LEASE", "TOKEN_INVALID"]);
    expect((await server.execution(executionId)).failure?.reason).to.equal("LOST");
  });
});

// These look after leases by hand: the server's own looks are an hour apart.
describe("The lease watch", () => {
  const times = { leaseMs: 15_000, attachWithinMs: 5_000, everyMs: 1_500 };
  const log = createLogger("test", "silent");
  let server: TestServer;
  let hinted: string[];
  before(async () => {
    server = await startTestServer({ leaseMs: 3_600_000, attachWithinMs: 3_600_000 });
    await server.furnish();
  });
  beforeEach(() => {
    hinted = [];
  });
  after(() => server.stop());

  const look = () => {
    const hint = (id: string) => void hinted.push(id);
    const none = () => () => {};
    const hints = {
      executionChanged: hint,
      executorConcerned: hint,
      executionQueued: hint,
      onExecution: none,
      onExecutorConcern: none,
      onQueue: none,
      cacheChanged: () => {},
      onCacheKey: none,
    };
    return expireLeases({ db: server.db, hints, now: () => new Date(), ...times }, log);
  };
  /** As if somebody had watched for so long, last so long ago. */
  const watched = ({ forSeconds, agoSeconds }: { forSeconds: number; agoSeconds: number }) =>
    server.db.query(
      `update lease_watch set watched_at = now() - cast(:agoSeconds as double precision) * interval '1 second',
              watching_since = now() - cast(:forSeconds as double precision) * interval '1 second'`,
      { forSeconds, agoSeconds },
    );
  const ranOut = (id: string, agoSeconds: number) =>
    server.db.query(
      `update execution set lease_expires_at = now() - cast(:agoSeconds as double precision) * interval '1 second'
        where id = :id`,
      { id, agoSeconds },
    );
  const watchingForMs = async () => {
    const [row] = await server.db.query<{ ms: number }>(
      "select cast(extract(epoch from now() - watching_since) * 1000 as double precision) as ms from lease_watch",
    );
    return row!.ms;
  };
  async function attached() {
    const { spec, token } = await server.prepare();
    const executor = await attachAndRun(server, spec!, token);
    return { executor, spec: spec!, token, id: spec!.executionId };
  }

  it("loses nobody to an outage, however long, when executors are back within a lease", async () => {
    const { executor, spec, token, id } = await attached();
    executor.cut();
    await ranOut(id, 590);
    await watched({ forSeconds: 7_200, agoSeconds: 600 });
    expect(await look()).to.equal(0);
    expect(await watchingForMs()).to.be.lessThan(times.leaseMs);
    // Some time later, not yet a lease after the outage.
    await watched({ forSeconds: 14, agoSeconds: 1 });
    expect(await look()).to.equal(0);
    const again = attachExecutor(server.client.executions, token);
    await again.hello(spec);
    expect(await again.next("welcome")).to.include({ epoch: spec.epoch, lastSequence: 1n });
    await watched({ forSeconds: 16, agoSeconds: 1 });
    expect(await look()).to.equal(0);
    expect(await server.execution(id)).to.include({ attempt: 1, state: EXECUTION_STATE_RUNNING });
    again.cut();
  });

  it("loses who has not come back a whole lease after an outage", async () => {
    const { executor, id } = await attached();
    executor.cut();
    await ranOut(id, 590);
    await watched({ forSeconds: 15.1, agoSeconds: 1 });
    expect(await look()).to.equal(1);
    expect((await server.execution(id)).state).to.equal(EXECUTION_STATE_FAILED);
    expect(hinted).to.include(id);
  });

  it("goes on over a pause that costs no executor its lease, such as the restart of a single replica", async () => {
    const { executor, id } = await attached();
    await ranOut(id, 1);
    await watched({ forSeconds: 3_600, agoSeconds: 4.5 });
    expect(await look()).to.equal(1);
    expect(await watchingForMs()).to.be.greaterThan(3_000_000);
    executor.cut();
  });

  it("finds nothing lost for a replica that froze between saying that it watches and looking", async () => {
    const { executor, id } = await attached();
    await ranOut(id, 590);
    await watched({ forSeconds: 3_600, agoSeconds: 600 });
    expect(await lockLostExecutions(server.db, { ...times, pauseMs: 5_000, limit: 10 })).to.deep.equal([]);
    await watched({ forSeconds: 3_600, agoSeconds: 1 });
    expect(await lockLostExecutions(server.db, { ...times, pauseMs: 5_000, limit: 10 })).to.have.length(1);
    executor.cut();
    await look();
  });

  it("holds an assignment for its attach time after an outage, not for a whole lease", async () => {
    const { execution } = await server.prepare({ queue: true });
    const pool = await connectPooledExecutor(server);
    await pool.next("assignment");
    await ranOut(execution!.id, 590);
    await watched({ forSeconds: 4.9, agoSeconds: 1 });
    expect(await look()).to.equal(0);
    await watched({ forSeconds: 5.1, agoSeconds: 1 });
    expect(await look()).to.equal(1);
    expect(await server.execution(execution!.id)).to.include({ attempt: 1, state: EXECUTION_STATE_QUEUED });
    pool.cut();
    await server.db.query("update execution set state = 'KILLED' where id = :id", { id: execution!.id });
  });

  it("lets another replica pass by an execution that one has locked", async () => {
    const { executor, id } = await attached();
    await ranOut(id, 1);
    await watched({ forSeconds: 3_600, agoSeconds: 1 });
    await server.db.transaction(async (tx) => {
      await tx.query("select from execution where id = :id for update", { id });
      expect(await look()).to.equal(0);
    });
    expect(await look()).to.equal(1);
    executor.cut();
  });

  it("takes back more executions at once than one batch holds", async () => {
    const { execution } = await server.prepare();
    await server.db.query(
      `insert into execution (id, project_id, workflow_id, workflow_version, computing_unit_id, name, state, attempt,
                              max_attempts, epoch, queued, trusted, created_by, plan_digest, lease_expires_at, executor_id)
       select gen_random_uuid(), project_id, workflow_id, workflow_version, computing_unit_id, 'many', 'RUNNING', 1,
              3, 1, true, true, 'owner', '', now() - interval '1 second', 'gone' from execution, generate_series(1, 120)
        where id = :id`,
      { id: execution!.id },
    );
    await watched({ forSeconds: 3_600, agoSeconds: 1 });
    expect(await look()).to.equal(120);
    await server.db.query("delete from execution where name = 'many'");
  });

  it("finds live executions by their index", async () => {
    const plan = await server.db.transaction(async (tx) => {
      await tx.query("set local enable_seqscan = off");
      return tx.query<Record<string, string>>(`explain select from execution e where ${IS_LIVE}`);
    });
    expect(plan.flatMap((row) => Object.values(row)).join("\n")).to.contain("execution_live");
  });
});

describe("Replicas that stop and start", () => {
  const lease = { leaseMs: 5_000, attachWithinMs: 5_000 };
  let first: TestServer;
  before(async () => {
    first = await startTestServer(lease);
    await first.furnish();
  });
  after(() => first.stop());

  it("cost a running execution no attempt: neither that one starts beside it, nor that its own one goes", async () => {
    const { spec, token } = await first.prepare();
    const { executionId } = spec!;
    const executor = await attachAndRun(first, spec!, token);
    const second = await startReplica(first, lease);
    const { lastEventNumber } = await first.execution(executionId);
    expect(await second.execution(executionId)).to.include({ attempt: 1, state: EXECUTION_STATE_RUNNING });
    const drained = first.drain();
    await executor.next("drain");
    executor.cut();
    await drained;
    const again = attachExecutor(second.client.executions, token);
    await again.hello(spec!);
    expect(await again.next("welcome")).to.include({ epoch: spec!.epoch, lastSequence: 1n });
    const third = await startReplica(first, lease);
    const now = await third.execution(executionId);
    expect(now).to.include({ attempt: 1, state: EXECUTION_STATE_RUNNING, lastEventNumber });
    await again.complete(spec!, { lastSequence: 1n });
    await again.next("completeAck");
    await third.stop();
    await second.stop();
  });

  it("cost it none when all of them are gone for longer than its lease", async () => {
    const one = await startReplica(first, lease);
    const { spec, token } = await one.prepare();
    const executor = await attachAndRun(one, spec!, token);
    executor.cut();
    await one.stop();
    await pause(1.5 * lease.leaseMs);
    const two = await startReplica(first, lease);
    const again = attachExecutor(two.client.executions, token);
    await again.hello(spec!);
    expect(await again.next("welcome")).to.include({ epoch: spec!.epoch, lastSequence: 1n });
    expect(await two.execution(spec!.executionId)).to.include({ attempt: 1, state: EXECUTION_STATE_RUNNING });
    await again.complete(spec!, { lastSequence: 1n });
    await again.next("completeAck");
    await two.stop();
  });
});
