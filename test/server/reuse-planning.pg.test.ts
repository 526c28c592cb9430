import { truncate } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { Permission, ResourceKind, Role } from "../../src/contract/postern/v1/access.js";
import {
  CacheMode,
  ExecutionState,
  OperatorStatistics,
  PortReuse,
  type PrepareExecutionResponse,
  RunState,
} from "../../src/contract/postern/v1/execution.js";
import { callUnary } from "../../src/rpc/channel.js";
import { attachExecutor, event, running as runningEvent } from "../support/attached-executor.js";
import { loseObject, outputPort } from "../support/cached-ports.js";
import { rejection } from "../support/rejection.js";
import { branches, type ReuseLab, reuseLab, running, spared } from "../support/reuse-lab.js";
import { PROJECT, startTestServer, type TestServer, UNIT } from "../support/test-server.js";
import { until } from "../support/until.js";

const ALL = ["few", "fruit", "heavy", "light", "order"];
const isEnded = ({ execution }: PrepareExecutionResponse) =>
  execution!.state === ExecutionState.EXECUTION_STATE_COMPLETED;

describe("planning reuse", () => {
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

  it("runs everything when the cache has nothing", async () => {
    const prepared = await lab.prepare();
    expect([spared(prepared), running(prepared)]).to.deep.equal([[], ALL]);
    const { execution, reuse } = await lab.get(prepared.execution!.id);
    expect(execution!.reuse, "not known before the end").to.equal(undefined);
    expect(reuse.map(({ reused, reason }) => [reused, reason])).to.deep.equal(
      ALL.map(() => [false, "The cache does not have it."]),
    );
  });

  it("reuses what is upstream of an edit and beside it, and runs what is downstream", async () => {
    await lab.cached(...ALL);
    await lab.putPlan(branches({ limit: 200 }));
    const prepared = await lab.prepare();
    expect(spared(prepared)).to.deep.equal(["few", "fruit"]);
    expect(running(prepared)).to.deep.equal(["heavy", "order"]);
    expect(prepared.spec!.plan!.regions.filter(({ cached }) => cached).length).to.be.at.least(1);
  });

  it("leaves the executor what it needs: an earlier result that lies in the cache, not one that would be read in vain", async () => {
    await lab.cached("fruit", "few");
    const prepared = await lab.prepare();
    expect(spared(prepared)).to.deep.equal(["few", "fruit"]);
    const [port] = prepared.spec!.alreadyMaterialized;
    expect(port).to.deep.include({ reused: true, computeMs: 500n, rowCount: 3n, byteCount: 1_000n });
  });

  it("tells both estimates of every port it had to choose about", async () => {
    await lab.cached({ operatorId: "heavy", bytes: 4_000_000, computeMs: 900 }, "few");
    const prepared = await lab.prepare();
    const { reuse } = await lab.get(prepared.execution!.id);
    const heavy = reuse.find(({ globalPortId }) => globalPortId === outputPort("heavy"))!;
    expect(heavy.reused).to.equal(true);
    expect(heavy.readMs).to.be.greaterThan(0).and.lessThan(heavy.recomputeMs);
    expect(heavy).to.deep.include({ tupleCount: 3n, byteCount: 4_000_000n });
    expect(heavy.sourceExecutionId).to.match(/^[0-9a-f-]{36}$/);
  });

  it("computes again what is cheaper to compute than to read", async () => {
    await lab.cached({ operatorId: "heavy", bytes: 4_000_000_000, computeMs: 5 });
    const prepared = await lab.prepare();
    expect(running(prepared)).to.deep.equal(ALL);
    const { reuse } = await lab.get(prepared.execution!.id);
    const heavy = reuse.find(({ globalPortId }) => globalPortId === outputPort("heavy"))!;
    expect(heavy.readMs).to.be.greaterThan(heavy.recomputeMs);
    expect(heavy).to.deep.include({ reused: false, tupleCount: 0n, byteCount: 0n, sourceExecutionId: "" });
  });

  it("reuses results though somebody looks at other operators than before", async () => {
    await lab.cached(...ALL);
    await lab.putPlan(branches({ view: ["heavy", "light"] }));
    const { execution } = await lab.prepare();
    expect(execution!.state).to.equal(ExecutionState.EXECUTION_STATE_COMPLETED);
    const list = { executionId: execution!.id, pageSize: 0, pageToken: "" };
    const { ports } = await callUnary(server.client.ports, "listPorts", list, { token: server.owner });
    expect(ports.map(({ key }) => key!.operatorId)).to.have.members(["few", "heavy", "light", "order"]);
  });

  describe("by the caller's wish", () => {
    beforeEach(() => lab.cached(...ALL));

    it("REFRESH computes everything anew, and tells the executor so", async () => {
      const prepared = await lab.prepare({ cache: { mode: CacheMode.CACHE_MODE_REFRESH } });
      expect(running(prepared)).to.deep.equal(ALL);
      expect(prepared.spec!.cache).to.deep.equal({ mode: CacheMode.CACHE_MODE_REFRESH, operators: {} });
    });

    it("REFRESH of one operator computes what is downstream of it, and nothing else", async () => {
      const prepared = await lab.prepare({ cache: { operators: { heavy: CacheMode.CACHE_MODE_REFRESH } } });
      expect(running(prepared)).to.deep.equal(["heavy", "order"]);
      expect(spared(prepared)).to.deep.equal(["few", "fruit"]);
      expect(prepared.spec!.cache).to.deep.equal({
        mode: CacheMode.CACHE_MODE_USE,
        operators: { heavy: CacheMode.CACHE_MODE_REFRESH },
      });
    });

    it("SKIP asks for nothing", async () => {
      const prepared = await lab.prepare({ cache: { mode: CacheMode.CACHE_MODE_SKIP } });
      expect(running(prepared)).to.deep.equal(ALL);
      expect((await lab.get(prepared.execution!.id)).reuse).to.deep.equal([]);
    });

    it("SKIP of one operator asks for all others", async () => {
      const prepared = await lab.prepare({ cache: { operators: { order: CacheMode.CACHE_MODE_SKIP } } });
      expect([spared(prepared), running(prepared)]).to.deep.equal([["few", "heavy"], ["order"]]);
    });

    it("READ_ONLY reuses", async () => {
      expect(isEnded(await lab.prepare({ cache: { mode: CacheMode.CACHE_MODE_READ_ONLY } }))).to.equal(true);
    });

    it("refuses modes for operators the workflow does not have, and stores nothing", async () => {
      const count = async () => (await server.db.query("select id from execution")).length;
      const before = await count();
      const refused = await rejection(lab.prepare({ cache: { operators: { hevy: CacheMode.CACHE_MODE_SKIP } } }));
      expect(refused).to.include({ code: "invalid" });
      expect(refused.message).to.match(/names "hevy".*did you mean "heavy"\?.*fruit, heavy, order, light, few\./);
      expect(await count()).to.equal(before);
    });
  });

  describe("when objects are gone", () => {
    it("forgets the entry, says so in the audit log, and computes the result", async () => {
      const uris = await lab.cached("order", "few");
      await loseObject(uris.get("order")!);
      const prepared = await lab.prepare();
      expect([spared(prepared), running(prepared)]).to.deep.equal([["few"], ["fruit", "heavy", "order"]]);
      const entries = await server.db.query<{ port: string }>(
        "select global_port_id as port from cache_entry where workflow_id = :workflowId",
        lab,
      );
      expect(entries.map(({ port }) => port)).to.deep.equal([outputPort("few")]);
      const [audit] = await server.db.query<{ actor: string; detail: object }>(
        "select actor, detail from audit_log where action = 'ForgetBrokenObjects' order by id desc limit 1",
      );
      expect(audit).to.deep.equal({ actor: "owner", detail: { uris: [uris.get("order")], entries: 1 } });
    });

    it("takes an object that is not as long as it was for a broken one", async () => {
      const uris = await lab.cached("order", "few");
      await truncate(fileURLToPath(uris.get("few")!), 3);
      expect(spared(await lab.prepare())).to.deep.equal(["order"]);
    });

    it("looks only at those it would reuse", async () => {
      const uris = await lab.cached(...ALL);
      await loseObject(uris.get("fruit")!);
      expect(isEnded(await lab.prepare())).to.equal(true);
    });

    it("plans once more when one is swept while the execution is stored", async () => {
      const uris = await lab.cached("order", "few");
      let prepared: Promise<PrepareExecutionResponse> | undefined;
      await server.db.transaction(async (tx) => {
        await tx.query("select from computing_unit where id = :id for update", { id: UNIT });
        prepared = lab.prepare();
        prepared.catch(() => {});
        await until(async () => {
          const [waiting] = await server.db.query<{ n: bigint }>(
            "select count(*) as n from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
          );
          return waiting!.n > 0n;
        });
        await server.db.query("delete from cache_entry where result_uri = :uri", { uri: uris.get("order") });
        await server.db.query("delete from blob where uri = :uri", { uri: uris.get("order") });
      });
      const reply = await prepared!;
      expect([spared(reply), running(reply)]).to.deep.equal([["few"], ["fruit", "heavy", "order"]]);
    });
  });

  it("lets a mere reader of the workflow reuse its results: he may read them anyway", async () => {
    await lab.cached("order", "few");
    const reader = await server.userToken("reader");
    await callUnary(
      server.client.access,
      "putMember",
      { projectId: PROJECT, member: { subject: "reader", role: Role.ROLE_VIEWER } },
      { token: server.owner },
    );
    const grant = {
      resource: { kind: ResourceKind.RESOURCE_KIND_COMPUTING_UNIT, id: UNIT },
      subject: "reader",
      permission: Permission.PERMISSION_WRITE,
    };
    await callUnary(server.client.access, "putGrant", { projectId: PROJECT, grant }, { token: server.owner });
    expect(isEnded(await lab.prepare({}, reader))).to.equal(true);
  });

  describe("by what earlier runs took", () => {
    const figures = (operatorId: string, busyMs: bigint, state = RunState.RUN_STATE_COMPLETED) =>
      OperatorStatistics.fromPartial({ operatorId, layer: "main", state, busyMs, outputRows: 2n });

    /** Runs an execution to its end; its executor says so of each operator. */
    async function run(statistics: OperatorStatistics[]): Promise<string> {
      const { spec, token } = await lab.prepare({ cache: { mode: CacheMode.CACHE_MODE_SKIP } });
      const executor = attachExecutor(server.client.executions, token);
      await executor.hello(spec!);
      await executor.next("welcome");
      const value = { state: ExecutionState.EXECUTION_STATE_COMPLETING, failure: undefined, comment: "" };
      const completing = event(2n, { $case: "executionState", value });
      await executor.events(runningEvent(1n), completing);
      await executor.complete(spec!, { statistics, lastSequence: 2n });
      await executor.next("completeAck");
      await executor.end();
      return spec!.executionId;
    }

    it("hands the newest figures of each operator that ran, whatever came from the cache since", async () => {
      await run([figures("heavy", 700n), figures("order", 40n)]);
      await run([figures("heavy", 0n, RunState.RUN_STATE_COMPLETED_FROM_CACHE), figures("order", 50n)]);
      await lab.cached("order", "few");
      for (let i = 0; i < 25; i++) expect(isEnded(await lab.prepare())).to.equal(true);
      const { spec } = await lab.prepare({ cache: { mode: CacheMode.CACHE_MODE_SKIP } });
      const known = spec!.lastRun.filter(({ state }) => state === RunState.RUN_STATE_COMPLETED);
      expect(known.map(({ operatorId, busyMs }) => [operatorId, busyMs])).to.deep.equal([
        ["heavy", 700n],
        ["order", 50n],
      ]);
    });

    it("sums up at the end what came from the cache, with what the executor decided", async () => {
      await lab.cached("fruit", "few");
      const { spec, token, execution } = await lab.prepare();
      const executor = attachExecutor(server.client.executions, token);
      await executor.hello(spec!);
      await executor.next("welcome");
      await executor.events(runningEvent(1n));
      await executor.complete(spec!, {
        lastSequence: 1n,
        statistics: [
          ...["fruit", "light", "few"].map((id) => figures(id, 0n, RunState.RUN_STATE_COMPLETED_FROM_CACHE)),
          ...["heavy", "order"].map((id) => figures(id, 10n)),
        ],
        reuse: [PortReuse.fromPartial({ globalPortId: outputPort("order"), recomputeMs: 8, reason: "Nobody had it." })],
      });
      await executor.next("completeAck");
      const { execution: ended, reuse } = await lab.get(execution!.id);
      // What "few" took includes what "fruit" took.
      expect(ended!.reuse).to.deep.include({ portsLookedUp: 3, portsReused: 2, savedMs: 500n, savedBytes: 2_000n });
      expect(ended!.reuse!.regionsReused).to.equal(spec!.plan!.regions.filter(({ cached }) => cached).length);
      expect(reuse.find(({ globalPortId }) => globalPortId === outputPort("order"))).to.deep.include({
        reused: false,
        recomputeMs: 8,
        reason: "Nobody had it.",
      });
    });

    it("estimates by them", async () => {
      await run([figures("fruit", 100n), figures("heavy", 7_000n)]);
      await lab.cached({ operatorId: "heavy", computeMs: 0 });
      const { execution } = await lab.prepare();
      const { reuse } = await lab.get(execution!.id);
      const heavy = reuse.find(({ globalPortId }) => globalPortId === outputPort("heavy"))!;
      expect(heavy.recomputeMs).to.be.within(7_000, 7_100);
    });
  });
});
