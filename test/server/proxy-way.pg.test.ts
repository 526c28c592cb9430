import { expect } from "chai";
import { InvalidateRequest } from "../../src/contract/postern/v1/cache.js";
import {
  ExecutionState,
  Manifest,
  OperatorStatistics,
  RunState,
  UpdateExecutionRequest,
} from "../../src/contract/postern/v1/execution.js";
import { PortResult } from "../../src/contract/postern/v1/port_registry.js";
import { callUnary } from "../../src/rpc/channel.js";
import { rejection } from "../support/rejection.js";
import { PROJECT, startTestServer, type TestServer, WORKFLOW } from "../support/test-server.js";

const { EXECUTION_STATE_RUNNING: RUNNING, EXECUTION_STATE_FAILED: FAILED } = ExecutionState;

describe("The proxy way: unary reports of an existing engine", () => {
  let server: TestServer;
  before(async () => {
    server = await startTestServer();
    await server.furnish();
  });
  after(() => server.stop());

  const update = (executionId: string, changes: Partial<UpdateExecutionRequest>, token = server.owner) =>
    callUnary(
      server.client.executions,
      "updateExecution",
      UpdateExecutionRequest.fromPartial({ executionId, ...changes }),
      { token },
    );
  const complete = (manifest: Partial<Manifest>, token = server.owner) =>
    callUnary(server.client.executions, "completeExecution", { manifest: Manifest.fromPartial(manifest) }, { token });
  const failure = { reason: "BROKEN", operatorId: "heavy", message: "It broke.", detail: "" };
  const orderPort = (prefix: string) =>
    PortResult.fromPartial({
      key: { operatorId: "order", layer: "main", portId: 0, internal: false, input: false },
      uri: `${prefix}order.parquet`,
      rowCount: 2n,
      byteCount: 9n,
    });

  it("reports states, locations and figures, by the user's token and by the execution's", async () => {
    for (const who of ["user", "execution"] as const) {
      const { spec, token: executionToken } = await server.prepare();
      const token = who === "user" ? server.owner : executionToken;
      const { executionId, resultPrefix } = spec!;
      const figures = OperatorStatistics.fromPartial({
        operatorId: "heavy",
        layer: "main",
        state: RunState.RUN_STATE_RUNNING,
        outputRows: 2n ** 60n,
      });
      const reply = await update(
        executionId,
        { state: RUNNING, logUri: `${resultPrefix}log`, statisticsUri: `${resultPrefix}stats`, statistics: [figures] },
        token,
      );
      expect(reply.execution).to.include({ state: RUNNING, logUri: `${resultPrefix}log` });
      const of = { $case: "executionId" as const, value: executionId };
      const statistics = await callUnary(server.client.executions, "getOperatorStatistics", { of }, { token });
      expect(statistics.operators.map((o) => o.outputRows)).to.deep.equal([undefined, 2n ** 60n, undefined]);
    }
  });

  it("writes one log event per change of state, and none for a report repeated", async () => {
    const { spec } = await server.prepare();
    await update(spec!.executionId, { state: RUNNING });
    const again = await update(spec!.executionId, { state: RUNNING });
    expect(again.execution!.lastEventNumber).to.equal(2n);
  });

  it("has no lease to lose when a user reports: silence does not end the execution", async () => {
    const { spec } = await server.prepare();
    await update(spec!.executionId, { state: RUNNING });
    const [row] = await server.db.query<{ leaseExpiresAt: Date | null }>(
      "select lease_expires_at from execution where id = :id",
      { id: spec!.executionId },
    );
    expect(row!.leaseExpiresAt).to.equal(null);
  });

  it("refuses moves the state machine does not have", async () => {
    const { spec } = await server.prepare();
    const { executionId } = spec!;
    await update(executionId, { state: FAILED, failure });
    expect((await update(executionId, { state: FAILED, failure })).execution!.state).to.equal(FAILED);
    expect(await rejection(update(executionId, { state: RUNNING }))).to.include({ reason: "ILLEGAL_TRANSITION" });
    const queued = await server.prepare({ queue: true });
    expect(await rejection(update(queued.execution!.id, { state: RUNNING }))).to.include({
      reason: "ILLEGAL_TRANSITION",
    });
    await callUnary(
      server.client.executions,
      "cancelExecution",
      { executionId: queued.execution!.id, reason: "", force: false },
      { token: server.owner },
    );
  });

  it("refuses FAILED without a reason, a reason without FAILED, and COMPLETED without a manifest", async () => {
    const { executionId } = (await server.prepare()).spec!;
    expect(await rejection(update(executionId, { state: FAILED }))).to.include({ code: "invalid" });
    expect(await rejection(update(executionId, { state: RUNNING, failure }))).to.include({ code: "invalid" });
    const state = ExecutionState.EXECUTION_STATE_COMPLETED;
    expect(await rejection(update(executionId, { state }))).to.include({ code: "invalid" });
  });

  it("refuses locations elsewhere and figures of operators the plan does not have, and stores nothing of the report", async () => {
    const { executionId } = (await server.prepare()).spec!;
    const logUri = "file:///etc/passwd";
    expect(await rejection(update(executionId, { state: RUNNING, logUri }))).to.include({
      reason: "URI_OUTSIDE_PREFIX",
    });
    const figures = OperatorStatistics.fromPartial({
      operatorId: "nowhere",
      layer: "main",
      state: RunState.RUN_STATE_READY,
    });
    expect(await rejection(update(executionId, { state: RUNNING, statistics: [figures] }))).to.include({
      code: "invalid",
    });
    expect((await server.execution(executionId)).state).to.equal(ExecutionState.EXECUTION_STATE_PREPARED);
  });

  it("stores a manifest whole: state, ports, figures, cache entries", async () => {
    const { spec, token } = await server.prepare();
    const { executionId, resultPrefix } = spec!;
    const hash = spec!.plan!.operators[2]!.outputs[0]!.subdagHash;
    const wanted = { executionId, globalPortIds: [], brokenUris: [] };
    await callUnary(server.client.caches, "lookupPlan", wanted, { token });
    await complete(
      {
        executionId,
        attempt: 1,
        state: ExecutionState.EXECUTION_STATE_COMPLETED,
        ports: [orderPort(resultPrefix)],
        statistics: [
          {
            ...OperatorStatistics.fromPartial({ operatorId: "order", layer: "main" }),
            state: RunState.RUN_STATE_COMPLETED,
          },
        ],
        cacheCommits: [hash],
      },
      token,
    );
    const entries = await callUnary(
      server.client.caches,
      "listEntries",
      { projectId: PROJECT, workflowId: WORKFLOW, pageSize: 0, pageToken: "" },
      { token: server.owner },
    );
    const entry = entries.entries.find((e) => e.sourceExecutionId === executionId)!;
    expect(entry).to.include({ subdagHash: hash, resultUri: `${resultPrefix}order.parquet`, tupleCount: 2n });
    const latest = { $case: "workflow" as const, value: { projectId: PROJECT, workflowId: WORKFLOW } };
    const statistics = await callUnary(
      server.client.executions,
      "getOperatorStatistics",
      { of: latest },
      { token: server.owner },
    );
    expect(statistics.executionId).to.equal(executionId);
  });

  it("gives the figures of the last successful run to the next execution's spec", async () => {
    const { spec } = await server.prepare();
    expect(spec!.lastRun.map((o) => [o.operatorId, o.state])).to.deep.include(["order", RunState.RUN_STATE_COMPLETED]);
  });

  it("refuses to remember a fingerprint the plan does not have, or a result of a run that failed", async () => {
    const { spec } = await server.prepare();
    const { executionId, resultPrefix } = spec!;
    const base = { executionId, attempt: 1, ports: [orderPort(resultPrefix)] };
    const forged = { ...base, state: ExecutionState.EXECUTION_STATE_COMPLETED, cacheCommits: ["f".repeat(64)] };
    expect(await rejection(complete(forged))).to.include({ reason: "CACHE_COMMIT_REFUSED" });
    const hash = spec!.plan!.operators[2]!.outputs[0]!.subdagHash;
    const failed = { ...base, state: FAILED, failure, cacheCommits: [hash] };
    expect(await rejection(complete(failed))).to.include({ reason: "MANIFEST_REFUSED" });
    expect((await server.execution(executionId)).state).to.equal(ExecutionState.EXECUTION_STATE_PREPARED);
  });

  it("keeps cache entries, and the objects they point to, when the registry lets go of them", async () => {
    const list = () =>
      callUnary(
        server.client.caches,
        "listEntries",
        { projectId: PROJECT, workflowId: WORKFLOW, pageSize: 0, pageToken: "" },
        { token: server.owner },
      );
    const invalidate = (dryRun: boolean) =>
      callUnary(
        server.client.caches,
        "invalidate",
        InvalidateRequest.fromPartial({ projectId: PROJECT, workflowId: WORKFLOW, dryRun }),
        { token: server.owner },
      );
    await invalidate(false);
    const { spec, token } = await server.prepare();
    const { executionId, resultPrefix } = spec!;
    const cacheCommits = [spec!.plan!.operators[2]!.outputs[0]!.subdagHash];
    const wanted = { executionId, globalPortIds: [], brokenUris: [] };
    await callUnary(server.client.caches, "lookupPlan", wanted, { token });
    const ports = [orderPort(resultPrefix)];
    const state = ExecutionState.EXECUTION_STATE_COMPLETED;
    await complete({ executionId, attempt: 1, state, ports, cacheCommits }, token);
    const cleared = await callUnary(server.client.ports, "clearExecution", { executionId }, { token: server.owner });
    expect(cleared.releasedUris).to.deep.equal([]);
    expect((await list()).entries).to.have.lengthOf(1);
    expect((await invalidate(true)).entryCount).to.equal(1n);
    expect((await invalidate(false)).entryCount).to.equal(1n);
    expect((await list()).entries).to.deep.equal([]);
  });

  it("lets whoever started it act on it, and readers only look", async () => {
    const { executionId } = (await server.prepare()).spec!;
    const reader = await server.userToken("reader");
    const grant = { resource: { kind: 1, id: WORKFLOW }, subject: "reader", permission: 1 };
    await callUnary(server.client.access, "putGrant", { projectId: PROJECT, grant }, { token: server.owner });
    expect((await server.execution(executionId, reader)).id).to.equal(executionId);
    expect(await rejection(update(executionId, { state: RUNNING }, reader))).to.include({ code: "forbidden" });
    const cancel = callUnary(
      server.client.executions,
      "cancelExecution",
      { executionId, reason: "", force: false },
      { token: reader },
    );
    expect(await rejection(cancel)).to.include({ code: "forbidden" });
    const stranger = await server.userToken("stranger");
    expect(await rejection(server.execution(executionId, stranger))).to.include({ code: "not-found" });
  });

  it("kills what nobody holds at once, and does nothing the second time", async () => {
    const { execution } = await server.prepare({ queue: true });
    const executionId = execution!.id;
    for (const _ of [1, 2]) {
      const reply = await callUnary(
        server.client.executions,
        "cancelExecution",
        { executionId, reason: "changed my mind", force: false },
        { token: server.owner },
      );
      expect(reply.execution!.state).to.equal(ExecutionState.EXECUTION_STATE_KILLED);
      expect(reply.execution!.lastEventNumber).to.equal(2n);
    }
  });

  it("deletes ended executions with all they left, and none when one has not ended", async () => {
    const ended = (await server.prepare()).spec!;
    await callUnary(
      server.client.ports,
      "registerPorts",
      { executionId: ended.executionId, ports: [orderPort(ended.resultPrefix)] },
      { token: server.owner },
    );
    await complete({ executionId: ended.executionId, attempt: 1, state: ExecutionState.EXECUTION_STATE_KILLED });
    const open = (await server.prepare()).spec!;
    const deleteAll = (executionIds: string[]) =>
      callUnary(server.client.executions, "deleteExecutions", { executionIds }, { token: server.owner });
    expect(await rejection(deleteAll([ended.executionId, open.executionId]))).to.include({
      reason: "ILLEGAL_TRANSITION",
    });
    const reply = await deleteAll([ended.executionId]);
    expect(reply.releasedUris).to.deep.equal([`${ended.resultPrefix}order.parquet`]);
    expect(await rejection(server.execution(ended.executionId))).to.include({ code: "not-found" });
  });

  it("lists executions newest first, in pages, and finds the latest", async () => {
    const ids = [];
    for (let i = 0; i < 3; i++) ids.unshift((await server.prepare()).execution!.id);
    const list = (pageToken: string) =>
      callUnary(
        server.client.executions,
        "listExecutions",
        { projectId: PROJECT, workflowId: WORKFLOW, states: [], pageSize: 2, pageToken },
        { token: server.owner },
      );
    const first = await list("");
    const second = await list(first.nextPageToken);
    expect([...first.executions, ...second.executions].map((e) => e.id).slice(0, 3)).to.deep.equal(ids);
    const latest = await callUnary(
      server.client.executions,
      "getLatestExecution",
      { projectId: PROJECT, workflowId: WORKFLOW, computingUnitId: "" },
      { token: server.owner },
    );
    expect(latest.execution!.id).to.equal(ids[0]);
  });
});
