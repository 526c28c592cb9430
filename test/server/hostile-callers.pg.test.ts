// What one careless or hostile caller must not be able to do to everybody else.

import { setTimeout as delay } from "node:timers/promises";
import { credentials, type Metadata, makeGenericClientConstructor, type ServiceError, status } from "@grpc/grpc-js";
import { expect } from "chai";
import type { ServeRequest, ServeResponse } from "../../src/contract/postern/v1/execution.js";
import {
  ExecutionServiceService,
  ExecutionState,
  UpdateExecutionRequest,
  type WatchExecutionResponse,
} from "../../src/contract/postern/v1/execution.js";
import { PortResult } from "../../src/contract/postern/v1/port_registry.js";
import { bearer, callUnary, openDuplex, serverStream } from "../../src/rpc/channel.js";
import { attachExecutor, event, running } from "../support/attached-executor.js";
import { rejection } from "../support/rejection.js";
import { PROJECT, startTestServer, type TestServer, UNIT, WORKFLOW } from "../support/test-server.js";

const LEASE_MS = 3_600_000;

describe("Against hostile callers", () => {
  let server: TestServer;
  before(async () => {
    // One connection: a call that asks the pool for a second one while it holds the first would wait for ever.
    server = await startTestServer({ leaseMs: LEASE_MS, attachWithinMs: LEASE_MS, databasePoolSize: 1 });
    await server.furnish();
  });
  after(() => server.stop());

  const leaseOf = async (id: string) =>
    (
      await server.db.query<{ leaseExpiresAt: Date | null }>("select lease_expires_at from execution where id = :id", {
        id,
      })
    )[0]!.leaseExpiresAt;
  const update = (executionId: string, changes: Partial<UpdateExecutionRequest>, token: string) =>
    callUnary(
      server.client.executions,
      "updateExecution",
      UpdateExecutionRequest.fromPartial({ executionId, ...changes }),
      { token },
    );
  const attached = async () => {
    const { spec, token } = await server.prepare();
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    await executor.next("welcome");
    return { spec: spec!, token, executor };
  };

  it("many refused reports at once leave the pool alone", async () => {
    const { spec } = await server.prepare();
    await callUnary(
      server.client.executions,
      "cancelExecution",
      { executionId: spec!.executionId, reason: "", force: false },
      { token: server.owner },
    );
    const port = PortResult.fromPartial({ uri: "x" });
    const refusals = Array.from({ length: 12 }, () =>
      rejection(
        callUnary(
          server.client.ports,
          "registerPorts",
          { executionId: spec!.executionId, ports: [port] },
          { token: server.owner },
        ),
      ),
    );
    for (const refusal of await Promise.all(refusals)) expect(refusal).to.include({ reason: "ILLEGAL_TRANSITION" });
  });

  it("a user's report does not take a live executor's lease away", async () => {
    const { spec, executor } = await attached();
    await update(spec.executionId, { state: ExecutionState.EXECUTION_STATE_RUNNING }, server.owner);
    expect(await leaseOf(spec.executionId)).to.be.an.instanceOf(Date);
    executor.cut();
  });

  it("an ended execution keeps its first failure, and a repeated report gets its first answer although the token is dead", async () => {
    const { spec, token } = await server.prepare();
    const failed = (message: string) => ({
      requestId: "failed-once",
      state: ExecutionState.EXECUTION_STATE_FAILED,
      failure: { reason: "X", operatorId: "", message, detail: "" },
    });
    const first = await update(spec!.executionId, failed("first"), token);
    expect(await update(spec!.executionId, failed("first"), token)).to.deep.equal(first);
    await update(spec!.executionId, { ...failed("second"), requestId: "" }, server.owner);
    expect((await server.execution(spec!.executionId)).failure?.message).to.equal("first");
  });

  it("an event too large for watchers is refused, and large ones are read in pages", async () => {
    const { spec, executor } = await attached();
    await executor.events(running(1n));
    await executor.next("ack");
    const large = (sequence: bigint, length: number) =>
      event(sequence, {
        $case: "executionState",
        value: { state: ExecutionState.EXECUTION_STATE_RUNNING, failure: undefined, comment: "x".repeat(length) },
      });
    for (let n = 2n; n <= 40n; n++) await executor.events(large(n, 60_000));
    await executor.events(large(41n, 70_000));
    expect(await rejection(executor.next("completeAck"))).to.include({ code: "invalid" });
    const numbers: bigint[] = [];
    const stream = serverStream<WatchExecutionResponse>(
      server.client.executions.watchExecution({ executionId: spec.executionId, after: 0n }, bearer(server.owner)),
    );
    for await (const { item } of stream) {
      if (item?.$case === "caughtUp") break;
      if (item?.$case === "event") numbers.push(item.value.number);
    }
    expect(numbers).to.deep.equal(Array.from({ length: 41 }, (_, i) => BigInt(i + 1)));
  });

  it("a failure cut in the middle of a character is stored all the same", async () => {
    const { spec, executor } = await attached();
    const message = `${"x".repeat(16_383)}😀\0`;
    await executor.complete(spec, {
      state: ExecutionState.EXECUTION_STATE_FAILED,
      failure: { reason: "USER_CODE_ERROR", operatorId: "", message, detail: "" },
    });
    await executor.next("completeAck");
    expect((await server.execution(spec.executionId)).failure?.message).to.match(/^x+\uFFFD$/);
  });

  it("an expression with a number beyond all bounds, or nested functions without end, is a finding", async () => {
    const nested = `${"list_transform([1], x -> ".repeat(40)}1${")".repeat(40)}`;
    const nines = `weight < ${"9".repeat(9_000)}`;
    const { CompileRequest, CompileServiceClient } = await import("../../src/contract/postern/v1/compile.js");
    const { LogicalPlan } = await import("../../src/contract/postern/v1/plan.js");
    const client = new CompileServiceClient(server.address, credentials.createInsecure());
    for (const predicate of [`len(${nested}) > 0`, "weight < 1e999", nines]) {
      const plan = LogicalPlan.fromJSON({
        operators: [
          { id: "fruit", type: "scan", properties: { dataset: "fruit" } },
          { id: "bad", type: "filter", properties: { predicate } },
        ],
        links: [{ from: "fruit", to: "bad" }],
      });
      const source = { $case: "plan" as const, value: plan };
      const request = { ...CompileRequest.create(), projectId: PROJECT, source };
      const reply = await callUnary(client, "compile", request, { token: server.owner });
      expect(
        reply.diagnostics.map((d) => `${d.operatorId}.${d.property}`),
        predicate.slice(0, 40),
      ).to.include("bad.predicate");
    }
    client.close();
  });

  it("bytes that are no message are the caller's mistake, not the server's", async () => {
    const { getExecution } = ExecutionServiceService;
    const Raw = makeGenericClientConstructor(
      { getExecution: { ...getExecution, requestSerialize: (bytes: Buffer) => bytes } as never },
      "Raw",
    );
    const client = new Raw(server.address, credentials.createInsecure()) as unknown as {
      getExecution(bytes: Buffer, metadata: Metadata, done: (error: ServiceError) => void): void;
      close(): void;
    };
    const error = await new Promise<ServiceError>((resolve) =>
      client.getExecution(Buffer.from([0x0a, 0xff]), bearer(server.owner), resolve),
    );
    client.close();
    expect(error.code).to.equal(status.INVALID_ARGUMENT);
  });

  it("a serve token is of no use once its maker no longer owns the project", async () => {
    const token = await server.userToken("second-owner");
    const member = (role: number) =>
      callUnary(
        server.client.access,
        "putMember",
        { projectId: PROJECT, member: { subject: "second-owner", role } },
        { token: server.owner },
      );
    await member(3);
    const { token: serveToken } = await callUnary(
      server.client.access,
      "createServeToken",
      { projectId: PROJECT, computingUnitId: UNIT },
      { token },
    );
    await member(2);
    const stream = openDuplex<ServeRequest, ServeResponse>(server.client.executions.serve(bearer(serveToken)));
    const hello = {
      protocolVersion: 1,
      executorId: "e",
      software: "",
      slots: 1,
      labels: {},
      sandboxLayers: [],
      languages: [],
    };
    await stream.send({ frame: { $case: "hello", value: hello } });
    expect(await rejection(stream.incoming[Symbol.asyncIterator]().next())).to.include({ code: "forbidden" });
  });

  it("somebody who may only read a workflow cannot put results into its cache or its statistics", async () => {
    for (const [kind, id] of [
      [1, WORKFLOW],
      [2, "fruit"],
      [3, UNIT],
    ] as const) {
      const resource = { kind, id };
      await callUnary(
        server.client.access,
        "setPublic",
        { projectId: PROJECT, resource, public: true },
        { token: server.owner },
      );
    }
    const stranger = await server.userToken("stranger");
    const { spec, token } = await server.prepare({}, stranger);
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    await executor.complete(spec!, {
      ports: [
        PortResult.fromPartial({
          key: { operatorId: "order", layer: "main", portId: 0, internal: false, input: false },
          uri: `${spec!.resultPrefix}order.parquet`,
          rowCount: 666n,
        }),
      ],
      cacheCommits: [spec!.plan!.operators[2]!.outputs[0]!.subdagHash],
    });
    await executor.next("completeAck");
    const entries = await callUnary(
      server.client.caches,
      "listEntries",
      { projectId: PROJECT, workflowId: WORKFLOW, pageSize: 0, pageToken: "" },
      { token: server.owner },
    );
    expect(entries.entries).to.deep.equal([]);
    expect((await server.prepare()).spec!.lastRun).to.deep.equal([]);
  });
});

describe("A database that goes away for a moment", () => {
  it("leaves no stream half-dead: a command given afterwards reaches the executor on the stream it had", async () => {
    const server = await startTestServer({ leaseMs: LEASE_MS, attachWithinMs: LEASE_MS });
    try {
      await server.furnish();
      const { spec, token } = await server.prepare();
      const executor = attachExecutor(server.client.executions, token);
      await executor.hello(spec!);
      await executor.next("welcome");
      // What a restart of the database does to the statements of the moment: here, to those that look for commands.
      await server.db.query("alter table execution_command rename to execution_command_away");
      await delay(1_500); // longer than the look that needs no hint
      await server.db.query("alter table execution_command_away rename to execution_command");
      await callUnary(
        server.client.executions,
        "cancelExecution",
        { executionId: spec!.executionId, reason: "after the storm", force: false },
        { token: server.owner },
      );
      expect((await executor.next("command")).reason).to.equal("after the storm");
      executor.cut();
    } finally {
      await server.stop();
    }
  });
});

describe("A server that stops", () => {
  it("tells executors and watchers to go elsewhere, and never that an execution has ended", async () => {
    const server = await startTestServer();
    await server.furnish();
    const { spec, token } = await server.prepare();
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    await executor.next("welcome");
    const stream = serverStream<WatchExecutionResponse>(
      server.client.executions.watchExecution(
        { executionId: spec!.executionId, after: undefined },
        bearer(server.owner),
      ),
    );
    const items = stream[Symbol.asyncIterator]();
    for (let next = await items.next(); next.value?.item?.$case !== "caughtUp"; ) next = await items.next();
    const watching = rejection(items.next());
    const stopping = server.drain();
    await executor.next("drain");
    const ended = rejection(executor.ended());
    expect(await watching).to.include({ code: "unavailable", reason: "DRAINING" });
    expect(await ended).to.include({ code: "unavailable" });
    await stopping;
    await server.stop();
  });
});
