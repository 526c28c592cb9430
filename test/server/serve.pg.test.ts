import { expect } from "chai";
import { ExecutionState } from "../../src/contract/postern/v1/execution.js";
import { callUnary } from "../../src/rpc/channel.js";
import { attachExecutor, running } from "../support/attached-executor.js";
import { connectPooledExecutor, type PooledExecutor } from "../support/pooled-executor.js";
import { rejection } from "../support/rejection.js";
import { PROJECT, startReplica, startTestServer, type TestServer, UNIT } from "../support/test-server.js";

const { EXECUTION_STATE_COMPLETED, EXECUTION_STATE_QUEUED } = ExecutionState;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const times = { leaseMs: 1_200, attachWithinMs: 900 };

describe("Serve", () => {
  let server: TestServer;
  const connected: PooledExecutor[] = [];
  before(async () => {
    server = await startTestServer(times);
    await server.furnish();
  });
  afterEach(async () => {
    for (const one of connected.splice(0)) one.cut();
    // What a test leaves in the queue is not for the next one.
    await server.db.query("update execution set state = 'KILLED', epoch = epoch + 1 where ended_at is null");
  });
  after(() => server.stop());

  async function pooled(options: Parameters<typeof connectPooledExecutor>[1] = {}, at = server) {
    const executor = await connectPooledExecutor(at, options);
    connected.push(executor);
    return executor;
  }
  const queued = async (at = server) => (await at.prepare({ queue: true })).execution!.id;

  async function untilState(executionId: string, state: ExecutionState) {
    for (;;) {
      const execution = await server.execution(executionId);
      if (execution.state === state) return execution;
      await pause(20);
    }
  }

  it("hands a queued execution to a connected executor, which runs it to its end", async () => {
    const pool = await pooled();
    expect((await pool.next("welcome")).computingUnitId).to.equal(UNIT);
    const id = await queued();
    const { spec, token } = await pool.next("assignment");
    expect(spec!.executionId).to.equal(id);
    await pool.answer(id);
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    await executor.events(running(1n));
    await executor.complete(spec!, { lastSequence: 1n });
    await executor.next("completeAck");
    expect((await server.execution(id)).state).to.equal(EXECUTION_STATE_COMPLETED);
  });

  it("counts connected executors and their free slots for people", async () => {
    const pool = await pooled({ slots: 3, labels: { disk: "fast" } });
    await pool.next("welcome");
    const list = () =>
      callUnary(server.client.access, "listComputingUnits", { projectId: PROJECT }, { token: server.owner });
    expect((await list()).computingUnits[0]).to.include({ connectedExecutors: 1, freeSlots: 3 });
    pool.cut();
    while ((await list()).computingUnits[0]!.connectedExecutors > 0) await pause(20);
  });

  it("refuses labels without end", async () => {
    const labels = Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`l${i}`, ""]));
    const pool = await pooled({ labels });
    expect(await rejection(pool.next("welcome"))).to.include({ reason: "INVALID_REQUEST" });
  });

  it("never sends more than the executor has slots for", async () => {
    const pool = await pooled();
    const [one, two] = [await queued(), await queued()];
    const first = await pool.next("assignment");
    expect(first.spec!.executionId).to.equal(one);
    await pool.answer(one);
    const executor = attachExecutor(server.client.executions, first.token);
    await executor.hello(first.spec!);
    await executor.next("welcome");
    expect((await server.execution(two)).state).to.equal(EXECUTION_STATE_QUEUED);
    await executor.complete(first.spec!);
    await executor.next("completeAck");
    await pool.freeSlots(1);
    expect((await pool.next("assignment")).spec!.executionId).to.equal(two);
  });

  it("lets executors take turns", async () => {
    const pools = [await pooled({ executorId: "a", slots: 2 }), await pooled({ executorId: "b", slots: 2 })];
    for (const pool of pools) await pool.next("welcome");
    await pause(50); // both have found the queue empty
    await queued();
    await queued();
    await Promise.all(pools.map((pool) => pool.next("assignment")));
  });

  it("puts an assignment that nobody answers back after its time, though the stream stays open", async () => {
    const id = await queued();
    const silent = await pooled({ executorId: "silent" });
    const stale = await silent.next("assignment");
    await untilState(id, EXECUTION_STATE_QUEUED);
    const other = await pooled({ executorId: "other" });
    const again = await other.next("assignment");
    expect(again.spec).to.include({ executionId: id, attempt: 1 });
    expect(again.spec!.epoch > stale.spec!.epoch).to.equal(true);
    const late = attachExecutor(server.client.executions, stale.token);
    await late.hello(stale.spec!);
    expect(await rejection(late.next("welcome"))).to.include({ reason: "STALE_LEASE" });
  });

  it("puts an assignment that was accepted and never attached to back after its time", async () => {
    const id = await queued();
    const first = await pooled({ executorId: "accepts" });
    await first.next("assignment");
    await first.answer(id);
    const other = await pooled({ executorId: "other" });
    expect((await other.next("assignment")).spec).to.include({ executionId: id, attempt: 1 });
  });

  it("gives the assignment of an executor that died right after it to another at once", async () => {
    const id = await queued();
    const dying = await pooled({ executorId: "dying" });
    await dying.next("assignment");
    const other = await pooled({ executorId: "other" });
    await other.next("welcome");
    dying.cut();
    const { spec } = await other.next("assignment");
    expect(spec).to.include({ executionId: id, attempt: 1 });
    const [row] = await server.db.query<{ ms: number }>(
      `select cast(extract(epoch from max(occurred_at) - min(occurred_at)) * 1000 as double precision) as ms
         from execution_event where execution_id = :id`,
      { id },
    );
    expect(row!.ms).to.be.lessThan(times.attachWithinMs);
  });

  it("leaves an execution with the executor that attached to it before the Serve stream broke", async () => {
    const id = await queued();
    const pool = await pooled();
    const { spec, token } = await pool.next("assignment");
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    await executor.next("welcome");
    pool.cut();
    await executor.events(running(1n));
    await executor.next("ack");
    await pause(200);
    expect(await server.execution(id)).to.include({ attempt: 1, epoch: spec!.epoch });
    executor.cut();
  });

  it("offers what one executor refused to another first, and says who refused it and why", async () => {
    const refusing = await pooled({ executorId: "refusing" });
    const id = await queued();
    await refusing.next("assignment");
    await refusing.answer(id, "no disk");
    await refusing.freeSlots(1);
    // It has room again and is alone, yet does not get it back at once, but it does get others.
    const next = await queued();
    expect((await refusing.next("assignment")).spec!.executionId).to.equal(next);
    expect((await server.execution(id)).state).to.equal(EXECUTION_STATE_QUEUED);
    const other = await pooled({ executorId: "other" });
    expect((await other.next("assignment")).spec).to.include({ executionId: id, attempt: 1 });
    const bodies = await server.db.query<{ text: string }>(
      "select convert_from(body, 'LATIN1') as text from execution_event where execution_id = :id and position('\\x00' in body) = 0",
      { id },
    );
    expect(bodies.some(({ text }) => text.includes("refused by refusing: no disk"))).to.equal(true);
  });

  it("ends the stream of an executor that is silent for a whole lease, and gives its assignment on", async () => {
    const id = await queued();
    const mute = await pooled({ executorId: "mute", heartbeatMs: 0 });
    await mute.next("assignment");
    expect(await rejection(mute.next("drain"))).to.include({ reason: "UNAVAILABLE" });
    const other = await pooled({ executorId: "other" });
    expect((await other.next("assignment")).spec!.executionId).to.equal(id);
  });

  it("finds a queued execution although no hint told of it", async () => {
    const pool = await pooled();
    await pool.next("welcome");
    await pause(50);
    const id = await queued();
    await pool.next("assignment");
    await pool.answer(id);
    await server.db.query(
      "update execution set state = 'QUEUED', executor_id = '', lease_expires_at = null where id = :id",
      { id },
    );
    await pool.freeSlots(0);
    await pool.freeSlots(1);
    expect((await pool.next("assignment")).spec!.executionId).to.equal(id);
    const other = await pooled({ executorId: "idle" });
    await other.next("welcome");
    await pause(100);
    await server.db.query(
      "update execution set state = 'QUEUED', executor_id = '', lease_expires_at = null where id = :id",
      { id },
    );
    expect((await other.next("assignment")).spec!.executionId).to.equal(id);
  });

  it("hands nothing more out once its replica stops; the executors get it elsewhere", async () => {
    const second = await startReplica(server, times);
    try {
      const stopping = await pooled({ executorId: "pool-1" }, second);
      await stopping.next("welcome");
      const stopped = second.drain();
      await stopping.next("drain");
      const id = await queued();
      const here = await pooled({ executorId: "pool-1" });
      expect((await here.next("assignment")).spec).to.include({ executionId: id, attempt: 1 });
      stopping.cut();
      expect(await rejection(stopping.next("assignment"))).to.be.instanceOf(Error);
      await stopped;
    } finally {
      await second.stop();
    }
  });

  it("hands each of 60 executions to one of 6 executors on 2 replicas, exactly once", async () => {
    const second = await startReplica(server, times);
    const EXECUTIONS = 60;
    const attached = new Map<string, number>();
    let done = 0;
    /** Takes, attaches and ends assignments until all are done; refuses one now and then. */
    async function work(pool: PooledExecutor, at: TestServer, refuses: boolean): Promise<void> {
      for (let taken = 0; done < EXECUTIONS; taken++) {
        const { spec, token } = await pool.next("assignment");
        const { executionId } = spec!;
        if (refuses && taken % 4 === 3) {
          await pool.answer(executionId, "not now");
          await pool.freeSlots(1);
          continue;
        }
        await pool.answer(executionId);
        const executor = attachExecutor(at.client.executions, token);
        await executor.hello(spec!);
        await executor.next("welcome");
        attached.set(executionId, (attached.get(executionId) ?? 0) + 1);
        await executor.complete(spec!);
        await executor.next("completeAck");
        done++;
        await pool.freeSlots(1);
      }
    }
    try {
      const pools = await Promise.all(
        [0, 1, 2, 3, 4, 5].map((i) => pooled({ executorId: `e${i}` }, i % 2 === 0 ? server : second)),
      );
      const working = pools.map((pool, i) => work(pool, i % 2 === 0 ? server : second, i === 1));
      const ids = new Set<string>();
      for (let i = 0; i < EXECUTIONS; i++) ids.add(await queued(i % 2 === 0 ? server : second));
      while (done < EXECUTIONS) await pause(20);
      for (const pool of pools) pool.cut();
      await Promise.allSettled(working);
      expect([...attached.keys()]).to.have.members([...ids]);
      expect([...attached.values()].every((times) => times === 1)).to.equal(true);
      const rows = await server.db.query<{ state: string; attempt: number }>(
        "select state, attempt from execution where id = any(cast(:ids as uuid[]))",
        { ids: [...ids] },
      );
      expect(rows.every((row) => row.state === "COMPLETED" && row.attempt === 1)).to.equal(true);
    } finally {
      await second.stop();
    }
  }).timeout(60_000);
});
