// Real executor processes on two replicas: what people order reaches user code, and what an executor that dies has done is
// not done again.
import type { ChildProcess } from "node:child_process";
import { expect } from "chai";
import { CostModel } from "../../src/contract/postern/v1/compile.js";
import {
  type ExecutionEvent,
  ExecutionState,
  RunState,
  type WatchExecutionResponse,
} from "../../src/contract/postern/v1/execution.js";
import { LogicalPlan } from "../../src/contract/postern/v1/plan.js";
import { bearer, callUnary, serverStream } from "../../src/rpc/channel.js";
import { killProcess, startExecutorProcess } from "../support/executor-process.js";
import { PROJECT, startReplica, startTestServer, type TestServer, UNIT } from "../support/test-server.js";

const out = [{ name: "step", type: "string" }];
const script = (id: string, code: string) => ({
  id,
  type: "javascript-function",
  properties: { code, outputColumns: out, retainInputColumns: false },
});
/** Busy for about a second and a half, in three rows. */
const SLOW = `
  function processTuple(tuple) {
    const until = Date.now() + 500;
    while (Date.now() < until);
    return { step: "slow" };
  }`;
const QUICK = `
  let first = true;
  function processTuple(tuple) {
    if (first) console.log("the first function runs");
    first = false;
    return { step: "quick" };
  }`;

describe("Executor processes on two replicas", function () {
  this.timeout(90_000);
  let one: TestServer;
  let two: TestServer;
  let executors: ChildProcess[];

  before(async () => {
    const config = { leaseMs: 2_000, attachWithinMs: 5_000 };
    one = await startTestServer(config);
    two = await startReplica(one, config);
    await one.furnish();
  });
  after(async () => {
    await two.stop();
    await one.stop();
  });
  beforeEach(() => (executors = []));
  afterEach(() => Promise.all(executors.map(killProcess)));

  async function startExecutor(name: string, server: TestServer): Promise<ChildProcess> {
    const child = await startExecutorProcess(server, name);
    executors.push(child);
    return child;
  }

  /** Queues a workflow of these functions over the three rows of fruit, each in a region of its own. */
  async function run(workflowId: string, ...functions: { id: string }[]): Promise<string> {
    const plan = LogicalPlan.fromJSON({
      operators: [{ id: "fruit", type: "scan", properties: { dataset: "fruit" } }, ...functions],
      links: functions.map(({ id }, i) => ({ from: functions[i - 1]?.id ?? "fruit", to: id })),
    });
    const workflow = { requestId: "", projectId: PROJECT, workflowId, plan, comment: "" };
    await callUnary(one.client.workflows, "putWorkflow", workflow, { token: one.owner });
    const request = {
      projectId: PROJECT,
      workflowId,
      workflowVersion: 0,
      computingUnitId: UNIT,
      name: "",
      requestId: "",
    };
    const { execution } = await callUnary(
      one.client.executions,
      "prepareExecution",
      { ...request, queue: true, maxAttempts: 0, cache: undefined, costModel: CostModel.COST_MODEL_UNSPECIFIED },
      { token: one.owner },
    );
    return execution!.id;
  }

  /** The log of an execution as a watcher of the second replica sees it, up to the first event that fits. */
  async function watchUntil(executionId: string, fits: (event: ExecutionEvent) => boolean): Promise<ExecutionEvent[]> {
    const events: ExecutionEvent[] = [];
    const watch = two.client.executions.watchExecution({ executionId, after: 0n }, bearer(one.owner));
    for await (const { item } of serverStream<WatchExecutionResponse>(watch)) {
      if (item?.$case !== "event") continue;
      events.push(item.value);
      if (fits(item.value)) return events;
    }
    throw new Error(`The log ended without it: ${events.map((e) => e.kind?.$case).join(", ")}`);
  }
  const inState = (state: ExecutionState) => (event: ExecutionEvent) =>
    event.kind?.$case === "executionState" && event.kind.value.state === state;
  const order = (name: "pauseExecution" | "resumeExecution", executionId: string) =>
    callUnary(two.client.executions, name, { executionId, reason: "" }, { token: one.owner });

  it("pauses, goes on and completes as ordered through another replica", async () => {
    await startExecutor("obedient", one);
    const id = await run("pausing", script("first", SLOW), script("second", SLOW));
    await watchUntil(id, inState(ExecutionState.EXECUTION_STATE_RUNNING));
    await order("pauseExecution", id);
    await watchUntil(id, inState(ExecutionState.EXECUTION_STATE_PAUSED));
    await order("resumeExecution", id);
    const log = await watchUntil(id, inState(ExecutionState.EXECUTION_STATE_COMPLETED));
    expect(log.map((e) => e.number)).to.deep.equal(log.map((_, i) => BigInt(i + 1)));
    const states = log.flatMap((e) => (e.kind?.$case === "executionState" ? [e.kind.value.state] : []));
    expect(states.slice(2)).to.deep.equal([
      ExecutionState.EXECUTION_STATE_RUNNING,
      ExecutionState.EXECUTION_STATE_PAUSING,
      ExecutionState.EXECUTION_STATE_PAUSED,
      ExecutionState.EXECUTION_STATE_RESUMING,
      ExecutionState.EXECUTION_STATE_RUNNING,
      ExecutionState.EXECUTION_STATE_COMPLETING,
      ExecutionState.EXECUTION_STATE_COMPLETED,
    ]);
  });

  it("stops user code that would run for ever, when told so through another replica", async () => {
    await startExecutor("stoppable", one);
    const id = await run("endless", script("endless", "function processTuple() { for (;;); }"));
    await watchUntil(id, (e) => e.kind?.$case === "operatorState" && e.kind.value.operatorId === "endless");
    await callUnary(
      two.client.executions,
      "cancelExecution",
      { executionId: id, reason: "enough", force: true },
      { token: one.owner },
    );
    await watchUntil(id, inState(ExecutionState.EXECUTION_STATE_KILLED));
  });

  it("goes on with another executor from the ports the lost one has registered, and runs nothing twice", async () => {
    const first = await startExecutor("doomed", one);
    const id = await run("recovering", script("quick", QUICK), script("slow", SLOW));
    await watchUntil(id, (e) => e.kind?.$case === "operatorState" && e.kind.value.operatorId === "slow");
    first.kill("SIGKILL");
    await startExecutor("successor", two);
    const log = await watchUntil(id, inState(ExecutionState.EXECUTION_STATE_COMPLETED));
    const of = (attempt: number) => log.filter((e) => e.attempt === attempt);
    expect(log.at(-1)!.attempt).to.equal(2);
    const quickStates = of(2).flatMap((e) =>
      e.kind?.$case === "operatorState" && e.kind.value.operatorId === "quick" ? [e.kind.value.state] : [],
    );
    expect(quickStates).to.deep.equal([RunState.RUN_STATE_COMPLETED_FROM_CACHE]);
    const lines = log.filter((e) => e.kind?.$case === "consoleMessage" && e.kind.value.text.includes("first function"));
    expect(lines).to.have.lengthOf(1);
  });
});
