import { expect } from "chai";
import { ExecutionState, type ServeRequest, type ServeResponse } from "../../src/contract/postern/v1/execution.js";
import { bearer, callUnary, openDuplex } from "../../src/rpc/channel.js";
import { attachExecutor, running } from "../support/attached-executor.js";
import { rejection } from "../support/rejection.js";
import { PROJECT, startTestServer, type TestServer, UNIT } from "../support/test-server.js";

describe("Serve and lost leases", () => {
  let server: TestServer;
  before(async () => {
    server = await startTestServer({ leaseMs: 900, attachWithinMs: 900 });
    await server.furnish();
  });
  after(() => server.stop());

  async function serve(slots: number, executorId = "pool-1") {
    const request = { projectId: PROJECT, computingUnitId: UNIT };
    const { token } = await callUnary(server.client.access, "createServeToken", request, { token: server.owner });
    const stream = openDuplex<ServeRequest, ServeResponse>(server.client.executions.serve(bearer(token)));
    const incoming = stream.incoming[Symbol.asyncIterator]();
    const hello = {
      protocolVersion: 1,
      executorId,
      software: "test",
      slots,
      labels: {},
      sandboxLayers: [],
      languages: [],
    };
    await stream.send({ frame: { $case: "hello", value: hello } });
    return {
      say: (frame: NonNullable<ServeRequest["frame"]>) => stream.send({ frame }),
      cut: () => stream.cancel(),
      async next<Name extends NonNullable<ServeResponse["frame"]>["$case"]>(name: Name) {
        for (let next = await incoming.next(); !next.done; next = await incoming.next()) {
          const { frame } = next.value;
          if (frame?.$case === name)
            return frame.value as Extract<NonNullable<ServeResponse["frame"]>, { $case: Name }>["value"];
        }
        throw new Error(`The stream ended without ${name}.`);
      },
    };
  }

  async function untilState(executionId: string, state: ExecutionState) {
    for (;;) {
      const execution = await server.execution(executionId);
      if (execution.state === state) return execution;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  it("hands a queued execution to a connected executor, which runs it to its end", async () => {
    const pool = await serve(1);
    expect((await pool.next("welcome")).computingUnitId).to.equal(UNIT);
    const { execution } = await server.prepare({ queue: true });
    const { spec, token } = await pool.next("assignment");
    expect(spec!.executionId).to.equal(execution!.id);
    await pool.say({ $case: "assignmentAck", value: { executionId: spec!.executionId, refused: "" } });
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    await executor.events(running(1n));
    await executor.complete(spec!, { lastSequence: 1n });
    await executor.next("completeAck");
    expect((await server.execution(execution!.id)).state).to.equal(ExecutionState.EXECUTION_STATE_COMPLETED);
    pool.cut();
  });

  it("counts connected executors and their free slots for people", async () => {
    const pool = await serve(3);
    await pool.next("welcome");
    const list = () =>
      callUnary(server.client.access, "listComputingUnits", { projectId: PROJECT }, { token: server.owner });
    expect((await list()).computingUnits[0]).to.include({ connectedExecutors: 1, freeSlots: 3 });
    pool.cut();
    while ((await list()).computingUnits[0]!.connectedExecutors > 0) await new Promise((r) => setTimeout(r, 20));
  });

  it("never sends more than the executor has slots for", async () => {
    const pool = await serve(1);
    const [one, two] = [await server.prepare({ queue: true }), await server.prepare({ queue: true })];
    const first = await pool.next("assignment");
    expect(first.spec!.executionId).to.equal(one.execution!.id);
    await pool.say({ $case: "assignmentAck", value: { executionId: first.spec!.executionId, refused: "" } });
    const executor = attachExecutor(server.client.executions, first.token);
    await executor.hello(first.spec!);
    await executor.next("welcome");
    expect((await server.execution(two.execution!.id)).state).to.equal(ExecutionState.EXECUTION_STATE_QUEUED);
    await executor.complete(first.spec!);
    await executor.next("completeAck");
    await pool.say({ $case: "slotsChanged", value: { freeSlots: 1 } });
    const second = await pool.next("assignment");
    expect(second.spec!.executionId).to.equal(two.execution!.id);
    pool.cut();
    await callUnary(
      server.client.executions,
      "cancelExecution",
      { executionId: two.execution!.id, reason: "" },
      { token: server.owner },
    );
  });

  it("puts an assignment that is refused, or not taken up in time, back without costing an attempt", async () => {
    const { execution } = await server.prepare({ queue: true });
    const refusing = await serve(1, "refusing");
    await refusing.next("assignment");
    await refusing.say({ $case: "assignmentAck", value: { executionId: execution!.id, refused: "no disk" } });
    const silent = await serve(1, "silent");
    const stale = await silent.next("assignment");
    expect(stale.spec!.attempt).to.equal(1);
    await untilState(execution!.id, ExecutionState.EXECUTION_STATE_QUEUED);
    const again = await silent
      .say({ $case: "slotsChanged", value: { freeSlots: 2 } })
      .then(() => silent.next("assignment"));
    expect(again.spec).to.include({ executionId: execution!.id, attempt: 1 });
    expect(again.spec!.epoch > stale.spec!.epoch).to.equal(true);
    const late = attachExecutor(server.client.executions, stale.token);
    await late.hello(stale.spec!);
    expect(await rejection(late.next("welcome"))).to.include({ reason: "STALE_LEASE" });
    refusing.cut();
    silent.cut();
    await callUnary(
      server.client.executions,
      "cancelExecution",
      { executionId: execution!.id, reason: "" },
      { token: server.owner },
    );
  });

  it("starts the next attempt when an executor falls silent, and fails the execution after the last", async () => {
    const { execution } = await server.prepare({ queue: true, maxAttempts: 2 });
    const pool = await serve(2);
    for (const attempt of [1, 2]) {
      const { spec, token } = await pool.next("assignment");
      expect(spec).to.include({ executionId: execution!.id, attempt });
      await pool.say({ $case: "assignmentAck", value: { executionId: spec!.executionId, refused: "" } });
      const executor = attachExecutor(server.client.executions, token);
      await executor.hello(spec!, { executorId: `silent-${attempt}` });
      await executor.events(running(1n));
      await executor.next("ack");
      executor.cut();
    }
    const ended = await untilState(execution!.id, ExecutionState.EXECUTION_STATE_FAILED);
    expect(ended.failure?.reason).to.equal("LOST");
    pool.cut();
  });

  it("gives an attempt up at once when its executor says goodbye", async () => {
    const { spec, token } = await server.prepare();
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    await executor.next("welcome");
    await executor.say({ $case: "goodbye", value: { reason: "stopping" } });
    await executor.ended();
    const ended = await server.execution(spec!.executionId);
    expect(ended.failure?.reason).to.equal("LOST");
  });

  it("fails an execution prepared for an executor that never attached", async () => {
    const { execution } = await server.prepare();
    await server.db.query("update execution set lease_expires_at = now() where id = :id", { id: execution!.id });
    const ended = await untilState(execution!.id, ExecutionState.EXECUTION_STATE_FAILED);
    expect(ended.failure).to.include({ reason: "LOST" });
  });
});
