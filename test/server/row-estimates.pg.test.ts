// Estimated rows are told to whoever watches, and end there: nothing that others go by holds them.
import { expect } from "chai";
import {
  ExecutionState,
  OperatorStatistics,
  RunState,
  type WatchExecutionResponse,
} from "../../src/contract/postern/v1/execution.js";
import { bearer, callUnary } from "../../src/rpc/channel.js";
import { attachExecutor, event, running } from "../support/attached-executor.js";
import { PROJECT, startTestServer, type TestServer, WORKFLOW } from "../support/test-server.js";

const ESTIMATES = { estimatedInputRows: 1_000n, estimatedOutputRows: 300n };
const RUNNING = RunState.RUN_STATE_RUNNING;
const COMPLETED = RunState.RUN_STATE_COMPLETED;

describe("estimated rows", () => {
  let server: TestServer;
  before(async () => {
    server = await startTestServer();
    await server.furnish();
  });
  after(() => server.stop());

  const figuresOf = (operatorId: string, more: Partial<OperatorStatistics>): OperatorStatistics => ({
    ...OperatorStatistics.fromPartial({ operatorId, layer: "main" }),
    ...more,
  });
  const watched = (executionId: string, after?: bigint): AsyncIterable<WatchExecutionResponse> =>
    server.client.executions.watchExecution({ executionId, after }, bearer(server.owner));

  /** Attaches and tells figures of a running operator with estimates. */
  async function tellEstimates() {
    const { spec, token } = await server.prepare();
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    const value = figuresOf("order", { state: RUNNING, progress: 0.3, busyMs: 500n, ...ESTIMATES });
    await executor.events(running(1n), event(2n, { $case: "operatorStatistics", value }));
    while ((await executor.next("ack")).sequence < 2n);
    return { spec: spec!, executor };
  }

  it("are carried to watchers as they were told, and are in no snapshot and no table", async () => {
    const { spec, executor } = await tellEstimates();
    const { executionId } = spec;
    for await (const { item } of watched(executionId, 0n)) {
      if (item?.$case === "caughtUp") throw new Error("The log has no figures.");
      if (item?.$case !== "event" || item.value.kind?.$case !== "operatorStatistics") continue;
      expect(item.value.kind.value).to.deep.include({ operatorId: "order", state: RUNNING, ...ESTIMATES });
      break;
    }
    for await (const { item } of watched(executionId)) {
      if (item?.$case !== "snapshot") throw new Error("The first item is no snapshot.");
      const order = item.value.operators.find(({ operatorId }) => operatorId === "order")!;
      expect(order).to.include({ state: RUNNING, progress: 0.3, busyMs: 500n });
      for (const rows of ["inputRows", "outputRows", "estimatedInputRows", "estimatedOutputRows"] as const)
        expect(order[rows], rows).to.equal(undefined);
      break;
    }
    const rows = await server.db.query(
      "select operator_id, input_rows, output_rows, output_bytes from operator_statistics where execution_id = :executionId",
      { executionId },
    );
    expect(rows).to.deep.equal([{ operatorId: "order", inputRows: null, outputRows: null, outputBytes: 0n }]);
    executor.cut();
  });

  it("in a manifest are left out, and the next run goes by counts alone", async () => {
    const { spec, executor } = await tellEstimates();
    const counted = figuresOf("order", { state: COMPLETED, inputRows: 8n, outputRows: 2n, busyMs: 40n, ...ESTIMATES });
    await executor.complete(spec, {
      lastSequence: 2n,
      statistics: [counted, figuresOf("heavy", { state: COMPLETED, ...ESTIMATES })],
    });
    expect((await executor.next("completeAck")).state).to.equal(ExecutionState.EXECUTION_STATE_COMPLETED);
    await executor.ended();
    const of = { $case: "workflow" as const, value: { projectId: PROJECT, workflowId: WORKFLOW } };
    const { operators, smoothed } = await callUnary(
      server.client.executions,
      "getOperatorStatistics",
      { of },
      { token: server.owner },
    );
    const { spec: next } = await server.prepare();
    expect(next!.usual.find(({ operatorId }) => operatorId === "order")).to.include({ inputRows: 8n, outputRows: 2n });
    expect(next!.usual.every(({ state }) => state === COMPLETED)).to.equal(true);
    for (const figures of [...operators, ...smoothed, ...next!.usual, ...next!.lastRun]) {
      expect(figures.estimatedInputRows, figures.operatorId).to.equal(undefined);
      expect(figures.estimatedOutputRows, figures.operatorId).to.equal(undefined);
      expect(figures.inputRows, figures.operatorId).to.be.oneOf([undefined, 8n]);
    }
  });
});
