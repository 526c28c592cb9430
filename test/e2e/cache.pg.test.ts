// The cache with real executor processes on two replicas: what is computed once is not computed again, whoever asks, and
// whoever dies.
import type { ChildProcess } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { CostModel } from "../../src/contract/postern/v1/compile.js";
import {
  CacheMode,
  type Execution,
  ExecutionState,
  type WatchExecutionResponse,
} from "../../src/contract/postern/v1/execution.js";
import { LogicalPlan } from "../../src/contract/postern/v1/plan.js";
import { bearer, callUnary, serverStream } from "../../src/rpc/channel.js";
import { killProcess, startExecutorProcess } from "../support/executor-process.js";
import { rejection } from "../support/rejection.js";
import { PROJECT, startReplica, startTestServer, type TestServer, UNIT } from "../support/test-server.js";
import { until } from "../support/until.js";

const ENDED = [
  ExecutionState.EXECUTION_STATE_COMPLETED,
  ExecutionState.EXECUTION_STATE_FAILED,
  ExecutionState.EXECUTION_STATE_KILLED,
];

/** User code between two relational operators; busy for so long at its first row. */
const workflow = (label: string, busyMs: number, predicate = "weight > 0") => ({
  operators: [
    { id: "fruit", type: "scan", properties: { dataset: "fruit" } },
    {
      id: "code",
      type: "javascript-function",
      properties: {
        code: `let first = true;
          function processTuple(tuple) {
            if (first) { const until = Date.now() + ${busyMs}; while (Date.now() < until); first = false; }
            return { label: "${label}" };
          }`,
        retainInputColumns: true,
        // It looks at the clock, and gives the same rows whatever that says.
        deterministic: true,
        outputColumns: [{ name: "label", type: "string" }],
      },
    },
    { id: "some", type: "filter", properties: { predicate } },
  ],
  links: [
    { from: "fruit", to: "code" },
    { from: "code", to: "some" },
  ],
});

describe("The port cache with executor processes on two replicas", function () {
  this.timeout(90_000);
  let one: TestServer;
  let two: TestServer;
  const executors = new Map<string, ChildProcess>();

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
  afterEach(async () => {
    for (const name of [...executors.keys()]) await kill(name);
  });

  async function startExecutor(name: string, server: TestServer, slots: number): Promise<void> {
    executors.set(name, await startExecutorProcess(server, name, slots));
  }
  async function kill(name: string): Promise<void> {
    await killProcess(executors.get(name)!);
    executors.delete(name);
  }

  const put = (workflowId: string, plan: unknown) =>
    callUnary(
      one.client.workflows,
      "putWorkflow",
      { requestId: "", projectId: PROJECT, workflowId, plan: LogicalPlan.fromJSON(plan), comment: "" },
      { token: one.owner },
    );

  async function prepare(workflowId: string, mode = CacheMode.CACHE_MODE_USE): Promise<Execution> {
    const request = {
      requestId: "",
      projectId: PROJECT,
      workflowId,
      workflowVersion: 0,
      computingUnitId: UNIT,
      name: "",
      queue: true,
      maxAttempts: 5,
      cache: { mode, operators: {} },
      costModel: CostModel.COST_MODEL_UNSPECIFIED,
    };
    const reply = await callUnary(one.client.executions, "prepareExecution", request, { token: one.owner });
    return reply.execution!;
  }

  /** The execution as it is once it has ended. */
  async function ended({ id: executionId }: Execution): Promise<Execution> {
    const watch = two.client.executions.watchExecution({ executionId }, bearer(one.owner));
    for await (const { item } of serverStream<WatchExecutionResponse>(watch)) {
      const state =
        item?.$case === "snapshot"
          ? item.value.execution?.state
          : item?.$case === "event" && item.value.kind?.$case === "executionState"
            ? item.value.kind.value.state
            : undefined;
      if (state !== undefined && ENDED.includes(state)) break;
    }
    const { execution } = await callUnary(one.client.executions, "getExecution", { executionId }, { token: one.owner });
    return execution!;
  }
  const expectCompleted = ({ state, failure }: Execution) =>
    expect(ExecutionState[state], failure?.message).to.equal("EXECUTION_STATE_COMPLETED");

  /** The objects of a port, over executions: one when it was computed once. */
  async function objectsOf(executions: Execution[], operatorId: string): Promise<Set<string>> {
    const rows = await one.db.query<{ uri: string }>(
      "select uri from port_result where execution_id = any(cast(:ids as uuid[])) and operator_id = :operatorId",
      { ids: executions.map(({ id }) => id), operatorId },
    );
    return new Set(rows.map(({ uri }) => uri));
  }

  it("completes an unchanged workflow at once and without any executor", async () => {
    await put("again", workflow("again", 0));
    await startExecutor("first", one, 1);
    const first = await ended(await prepare("again"));
    expectCompleted(first);
    await kill("first");

    const second = await prepare("again");
    expectCompleted(second);
    expect(second.executorId).to.equal("");
    expect(second.reuse?.regionsReused).to.equal(second.reuse?.regions).and.to.be.greaterThan(0);
    expect(await objectsOf([first, second], "some")).to.have.lengthOf(1);
  });

  it("computes only what an edit has changed, and everything when asked to refresh", async () => {
    await put("edited", workflow("edited", 0));
    await startExecutor("editor", one, 1);
    const first = await ended(await prepare("edited"));
    await put("edited", workflow("edited", 0, "weight > 100"));
    const second = await ended(await prepare("edited"));
    expectCompleted(second);
    expect(await objectsOf([first, second], "code"), "the function was not run again").to.have.lengthOf(1);
    expect(await objectsOf([first, second], "some")).to.have.lengthOf(2);
    expect(second.reuse?.portsReused).to.equal(1);

    const third = await ended(await prepare("edited", CacheMode.CACHE_MODE_REFRESH));
    expectCompleted(third);
    expect(await objectsOf([second, third], "code")).to.have.lengthOf(2);
  });

  it("computes anew what is damaged: at once where its ends show it, and once somebody could not read it", async () => {
    await put("damaged", workflow("damaged", 0));
    await startExecutor("mender", one, 1);
    const runs = [await ended(await prepare("damaged"))];
    const damage = async (change: (bytes: Buffer) => void) => {
      const [uri] = await objectsOf(runs.slice(-1), "some");
      const bytes = await readFile(fileURLToPath(uri!));
      change(bytes);
      await writeFile(fileURLToPath(uri!), bytes);
    };
    await damage((bytes) => bytes.fill(1));
    runs.push(await ended(await prepare("damaged")));
    expect(await objectsOf(runs, "some")).to.have.lengthOf(2);

    await damage((bytes) => bytes.fill(1, 4, bytes.length - 4));
    const port = { by: { $case: "logicalPort" as const, value: { operatorId: "some", portId: 0 } } };
    const read = { executionId: runs[1]!.id, port, offset: 0n, limit: 10, columns: [], where: "" };
    const error = await rejection(callUnary(one.client.ports, "readPort", read, { token: one.owner }));
    expect(error)
      .to.have.property("message")
      .that.matches(/run the workflow again/);
    runs.push(await ended(await prepare("damaged")));
    for (const run of runs) expectCompleted(run);
    expect(await objectsOf(runs, "some")).to.have.lengthOf(3);
    await callUnary(one.client.ports, "readPort", { ...read, executionId: runs[2]!.id }, { token: one.owner });
  });

  it("computes each port once for many executions at a time, on two executors and two replicas", async () => {
    await put("many", workflow("many", 1_500));
    await startExecutor("left", one, 4);
    await startExecutor("right", two, 4);
    const executions = await Promise.all(Array.from({ length: 8 }, () => prepare("many")));
    for (const execution of await Promise.all(executions.map(ended))) expectCompleted(execution);
    expect(await objectsOf(executions, "some")).to.have.lengthOf(1);
    expect(await objectsOf(executions, "code")).to.have.lengthOf(1);
  });

  it("lets the oldest waiter inherit when the executor that computes is killed", async () => {
    await put("killed", workflow("killed", 3_000));
    await startExecutor("left", one, 2);
    await startExecutor("right", two, 2);
    const held = await prepare("killed");
    const holder = async () => {
      const [row] = await one.db.query<{ executorId: string }>(
        `select e.executor_id from cache_reservation r join execution e on e.id = r.execution_id
          where e.id = :id and r.state = 'HELD' limit 1`,
        { id: held.id },
      );
      return row?.executorId;
    };
    await until(async () => (await holder()) !== undefined);
    const waiting = [await prepare("killed"), await prepare("killed")];
    const inLine = async () => {
      const [row] = await one.db.query<{ waiters: bigint }>(
        "select count(distinct execution_id) as waiters from cache_waiter where execution_id = any(cast(:ids as uuid[]))",
        { ids: waiting.map(({ id }) => id) },
      );
      return row!.waiters === 2n;
    };
    await until(inLine);
    await kill((await holder())!);
    for (const execution of await Promise.all([held, ...waiting].map(ended))) expectCompleted(execution);
    expect(await objectsOf([held, ...waiting], "some")).to.have.lengthOf(1);
  });
});
