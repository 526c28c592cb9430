import { expect } from "chai";
import {
  CacheMode,
  ExecutionState,
  RunState,
  type WatchExecutionResponse,
} from "../../src/contract/postern/v1/execution.js";
import { bearer, callUnary, serverStream } from "../../src/rpc/channel.js";
import { outputPort } from "../support/cached-ports.js";
import { branches, type ReuseLab, reuseLab } from "../support/reuse-lab.js";
import { startTestServer, type TestServer } from "../support/test-server.js";

describe("an execution whose every result the cache has", () => {
  let server: TestServer;
  let lab: ReuseLab;
  let workflows = 0;
  before(async () => {
    server = await startTestServer();
    await server.furnish();
  });
  after(() => server.stop());
  beforeEach(async () => {
    lab = reuseLab(server, `w${++workflows}`);
    await lab.putPlan(branches());
  });

  it("is completed at once, without spec, token or executor", async () => {
    await lab.cached("order", "few");
    const { execution, spec, token } = await lab.prepare();
    expect(execution!.state).to.equal(ExecutionState.EXECUTION_STATE_COMPLETED);
    expect([spec, token, execution!.executorId]).to.deep.equal([undefined, "", ""]);
    expect(execution!.endedAt!.getTime()).to.be.at.least(execution!.startedAt!.getTime());
  });

  it("never waits in the queue it was meant for", async () => {
    await lab.cached("order", "few");
    const { execution } = await lab.prepare({ queue: true });
    expect(execution!.state).to.equal(ExecutionState.EXECUTION_STATE_COMPLETED);
    const states = (await lab.log(execution!.id)).flatMap(({ kind }) =>
      kind?.$case === "executionState" ? [kind.value.state] : [],
    );
    expect(states).to.deep.equal([ExecutionState.EXECUTION_STATE_PREPARED, ExecutionState.EXECUTION_STATE_COMPLETED]);
  });

  it("has the log an executor would have written, from 1 without holes", async () => {
    await lab.cached("order", "few");
    const { execution } = await lab.prepare();
    const events = await lab.log(execution!.id);
    expect(events.map(({ number }) => number)).to.deep.equal(events.map((_, i) => BigInt(i + 1)));
    expect(execution!.lastEventNumber).to.equal(BigInt(events.length));
    const regions = events.flatMap(({ kind }) => (kind?.$case === "regionState" ? [kind.value.state] : []));
    expect(new Set(regions)).to.deep.equal(new Set([RunState.RUN_STATE_COMPLETED_FROM_CACHE]));
    const operators = events.flatMap(({ kind }) => (kind?.$case === "operatorState" ? [kind.value.operatorId] : []));
    expect(operators).to.have.members(["fruit", "heavy", "order", "light", "few"]);
    const ports = events.flatMap(({ kind }) => (kind?.$case === "portResult" ? [kind.value] : []));
    expect(ports.map(({ key, reused, rowCount }) => [key!.operatorId, reused, rowCount])).to.have.deep.members([
      ["order", true, 3n],
      ["few", true, 3n],
    ]);
  });

  it("is followed to its end by a watcher who comes later", async () => {
    await lab.cached("order", "few");
    const { execution } = await lab.prepare();
    const call = server.client.executions.watchExecution(
      { executionId: execution!.id, after: 0n },
      bearer(server.owner),
    );
    const numbers: bigint[] = [];
    for await (const { item } of serverStream<WatchExecutionResponse>(call))
      if (item?.$case === "event") numbers.push(item.value.number);
    expect(numbers.at(-1)).to.equal(execution!.lastEventNumber);
  });

  it("shows the rows that were counted when its results were computed, and what follows from them", async () => {
    await lab.cached({ operatorId: "order", rows: 2 }, { operatorId: "few", rows: 1 });
    const { execution } = await lab.prepare();
    const { operators } = await callUnary(
      server.client.executions,
      "getOperatorStatistics",
      { of: { $case: "executionId", value: execution!.id } },
      { token: server.owner },
    );
    const rows = new Map(operators.map((o) => [o.operatorId, [o.inputRows, o.outputRows, o.busyMs]]));
    expect(rows.get("order")).to.deep.equal([2n, 2n, 0n]);
    expect(rows.get("heavy"), "a sort keeps every row").to.deep.equal([3n, 2n, 0n]);
    expect(rows.get("few"), "nobody counted what it read").to.deep.equal([undefined, 1n, 0n]);
    expect(new Set(operators.map(({ state }) => state))).to.deep.equal(
      new Set([RunState.RUN_STATE_COMPLETED_FROM_CACHE]),
    );
  });

  it("names its results where they lie", async () => {
    const uris = await lab.cached("order", "few");
    const { execution } = await lab.prepare();
    const list = { executionId: execution!.id, pageSize: 0, pageToken: "" };
    const { ports } = await callUnary(server.client.ports, "listPorts", list, { token: server.owner });
    expect(ports.map(({ uri, viewed, reused }) => [uri, viewed, reused])).to.have.deep.members(
      [...uris.values()].map((uri) => [uri, true, true]),
    );
  });

  it("tells how much was saved and why, and counts as a use of each entry", async () => {
    await lab.cached("heavy", "order", "few");
    const { execution } = await lab.prepare();
    const { execution: later, reuse } = await lab.get(execution!.id);
    expect(later).to.deep.equal(execution);
    const { regions, ...rest } = later!.reuse!;
    expect(rest).to.deep.equal({
      regionsReused: regions,
      portsLookedUp: 2,
      portsReused: 2,
      savedMs: 1_000n,
      savedBytes: 2_000n,
    });
    expect(reuse.map(({ globalPortId, reused }) => [globalPortId, reused])).to.have.deep.members(
      ["fruit", "heavy", "order", "light", "few"].map((id) => [outputPort(id), id === "order" || id === "few"]),
    );
    for (const { reason } of reuse) expect(reason).to.match(/\.$/);
    const used = await server.db.query<{ port: string; hits: bigint }>(
      "select global_port_id as port, hit_count as hits from cache_entry where workflow_id = :workflowId",
      lab,
    );
    expect(new Map(used.map(({ port, hits }) => [port, hits]))).to.deep.equal(
      new Map([
        [outputPort("heavy"), 0n],
        [outputPort("order"), 1n],
        [outputPort("few"), 1n],
      ]),
    );
  });

  it("is the same one again for the same request id", async () => {
    await lab.cached("order", "few");
    const first = await lab.prepare({ requestId: `again-${lab.workflowId}` });
    const second = await lab.prepare({ requestId: `again-${lab.workflowId}` });
    expect(second).to.deep.equal(first);
    expect([second.spec, second.token]).to.deep.equal([undefined, ""]);
  });

  it("cannot be cancelled any more", async () => {
    await lab.cached("order", "few");
    const { execution } = await lab.prepare();
    const cancel = { executionId: execution!.id, reason: "", force: true };
    const after = await callUnary(server.client.executions, "cancelExecution", cancel, { token: server.owner });
    expect(after.execution).to.deep.include({
      state: ExecutionState.EXECUTION_STATE_COMPLETED,
      cancelRequested: false,
    });
  });

  it("is in the audit log", async () => {
    await lab.cached("order", "few");
    const { execution } = await lab.prepare();
    const [entry] = await server.db.query<{ action: string; detail: { state: string } }>(
      "select action, detail from audit_log where resource = :resource",
      { resource: `execution "${execution!.id}"` },
    );
    expect([entry!.action, entry!.detail.state]).to.deep.equal(["PrepareExecution", "COMPLETED"]);
  });

  it("stands for no other run: neither its figures nor its results", async () => {
    await lab.cached("order", "few");
    const { execution } = await lab.prepare();
    const [row] = await server.db.query<{ trusted: boolean }>("select trusted from execution where id = :id", {
      id: execution!.id,
    });
    expect(row!.trusted).to.equal(false);
    const next = await lab.prepare({ cache: { mode: CacheMode.CACHE_MODE_SKIP } });
    expect(next.spec!.lastRun).to.deep.equal([]);
  });
});
