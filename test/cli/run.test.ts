import { expect } from "chai";
import {
  type DeepPartial,
  Execution,
  ExecutionState,
  type Failure,
  GetExecutionResponse,
  PrepareExecutionResponse,
  WatchExecutionResponse,
} from "../../src/contract/postern/v1/execution.js";
import { ListPortsResponse, ReadPortResponse } from "../../src/contract/postern/v1/port_registry.js";
import { AppError } from "../../src/core/app-error.js";
import { type FakeServer, startFakeServer } from "./fake-server.js";
import { cli, fakeTerminal } from "./fake-terminal.js";

const ID = "0198c2f0-0000-7000-8000-000000000001";
const { EXECUTION_STATE_COMPLETED, EXECUTION_STATE_FAILED, EXECUTION_STATE_KILLED, EXECUTION_STATE_RUNNING } =
  ExecutionState;

const execution = (state = ExecutionState.EXECUTION_STATE_QUEUED): Execution =>
  Execution.fromPartial({ id: ID, workflowId: "w", workflowVersion: 2, attempt: 1, computingUnitId: "c", state });

type Item = DeepPartial<WatchExecutionResponse>;
const snapshot = (): Item => ({
  item: {
    $case: "snapshot",
    value: { execution: execution(), plan: { operators: [{ operatorId: "a", layer: "main", displayName: "All" }] } },
  },
});
const moved = (number: bigint, state: ExecutionState, failure?: DeepPartial<Failure>): Item => ({
  item: {
    $case: "event",
    value: { number, attempt: 1, kind: { $case: "executionState", value: { state, failure } } },
  },
});
const said = (number: bigint, text: string): Item => ({
  item: {
    $case: "event",
    value: { number, attempt: 1, kind: { $case: "consoleMessage", value: { operatorId: "a", level: 1, text } } },
  },
});
const ran = (number: bigint): Item => ({
  item: {
    $case: "event",
    value: {
      number,
      attempt: 1,
      kind: { $case: "operatorState", value: { operatorId: "a", layer: "main", state: 4 } },
    },
  },
});

describe("postern run", () => {
  let server: FakeServer;
  let script: (Item | Error | Promise<unknown>)[][];
  let terminal: ReturnType<typeof fakeTerminal>;
  beforeEach(async () => {
    script = [];
    let connection = 0;
    server = await startFakeServer({
      prepareExecution: () => PrepareExecutionResponse.fromPartial({ execution: execution() }),
      getExecution: () => GetExecutionResponse.fromPartial({ execution: execution(EXECUTION_STATE_COMPLETED) }),
      getOperatorStatistics: () => ({ executionId: ID, operators: [], smoothed: [] }),
      listPorts: () =>
        ListPortsResponse.fromPartial({
          ports: [
            { globalPortId: "g", viewed: true, key: { operatorId: "a", layer: "main", portId: 0 } },
            { globalPortId: "h", viewed: false, key: { operatorId: "b", layer: "main", portId: 0 } },
          ],
        }),
      readPort: () =>
        ReadPortResponse.fromPartial({
          totalRows: 1n,
          schema: { attributes: [{ name: "n", type: 2 }] },
          rows: [{ cells: [{ value: { $case: "intValue", value: 42n } }] }],
        }),
      async *watchExecution() {
        for (const step of script[connection++] ?? []) {
          if (step instanceof Error) throw step;
          if (step instanceof Promise) await step;
          else yield WatchExecutionResponse.fromPartial(step);
        }
      },
    });
    terminal = fakeTerminal({
      env: { POSTERN_SERVER: server.address, POSTERN_TOKEN: "t", POSTERN_PROJECT: "p", POSTERN_COMPUTING_UNIT: "c" },
    });
  });
  afterEach(() => server.stop());
  const run = (...args: string[]) => cli(["run", "w", ...args], terminal);

  it("tells every change, what user code says, and the result of the viewed ports", async () => {
    script = [
      [snapshot(), moved(1n, EXECUTION_STATE_RUNNING), said(2n, "hi"), ran(3n), moved(4n, EXECUTION_STATE_COMPLETED)],
    ];
    const { code, out, err } = await run();
    expect(code).to.equal(0);
    expect(err.split("\n").slice(0, 6)).to.deep.equal([
      `execution ${ID}`,
      "w version 2: QUEUED",
      "w version 2: RUNNING",
      "  [All] hi",
      "  All: COMPLETED",
      "w version 2: COMPLETED",
    ]);
    expect(out).to.equal("\na (1 row)\n n\n──\n42\n");
  });

  it("goes on where it was when the connection breaks", async () => {
    const away = new AppError("unavailable", "DRAINING", "This replica is stopping.");
    script = [
      [snapshot(), moved(1n, EXECUTION_STATE_RUNNING), away],
      [ran(2n), moved(3n, EXECUTION_STATE_COMPLETED)],
    ];
    const { code, err } = await run("--no-result");
    expect(code).to.equal(0);
    expect(err).to.contain("All: COMPLETED");
    expect(server.calls.filter((name) => name === "watchExecution")).to.have.length(2);
  });

  it("exits with 1 when the run failed, with its sentence and the detail below", async () => {
    const failure = { reason: "USER_CODE_ERROR", operatorId: "a", message: "It raised.", detail: "line 1\nline 2" };
    script = [[snapshot(), moved(1n, EXECUTION_STATE_FAILED, failure)]];
    const { code, out, err } = await run();
    expect([code, out]).to.deep.equal([1, ""]);
    expect(err).to.contain("failed: All: It raised. (USER_CODE_ERROR)\n  line 1\n  line 2\n");
  });

  it("prints one JSON document with --json and nothing else", async () => {
    script = [[snapshot(), moved(1n, EXECUTION_STATE_RUNNING), said(2n, "hi"), moved(3n, EXECUTION_STATE_COMPLETED)]];
    const { code, out, err } = await run("--json");
    expect([code, err]).to.deep.equal([0, ""]);
    const { execution: ended, results } = JSON.parse(out);
    expect(ended).to.include({ id: ID, state: "EXECUTION_STATE_COMPLETED" });
    expect(results[0]).to.deep.include({ port: "a", totalRows: "1", rows: [{ n: 42 }] });
  });

  it("only queues with --detach", async () => {
    const { code, out } = await run("--detach");
    expect([code, out]).to.deep.equal([0, `${ID}\n`]);
    expect(server.calls).to.deep.equal(["prepareExecution"]);
  });

  it("asks for the run to be cancelled at the first Ctrl-C, and exits with 130 once it was", async () => {
    let cancelled = () => {};
    const cancel = new Promise<void>((resolve) => {
      cancelled = resolve;
    });
    server.handlers.cancelExecution = () => {
      cancelled();
      return { execution: execution() };
    };
    script = [[snapshot(), moved(1n, EXECUTION_STATE_RUNNING), cancel, moved(2n, EXECUTION_STATE_KILLED)]];
    const ending = run();
    await until(() => terminal.stderr().includes("RUNNING"));
    terminal.pressCtrlC();
    const { code, err } = await ending;
    expect(code).to.equal(130);
    expect(err).to.contain("Cancelling").and.to.contain("The run was cancelled.");
  });

  it("leaves at the second Ctrl-C and says how to follow the run", async () => {
    server.handlers.cancelExecution = () => ({ execution: execution() });
    let release = () => {};
    const never = new Promise<void>((resolve) => {
      release = resolve;
    });
    script = [[snapshot(), never]];
    const ending = run();
    await until(() => terminal.stderr().includes("QUEUED"));
    terminal.pressCtrlC();
    terminal.pressCtrlC();
    const { code, err } = await ending;
    release();
    expect(code).to.equal(130);
    expect(err).to.contain(`postern watch ${ID}`);
  });

  it("streams every item of a watch as a JSON line", async () => {
    script = [[snapshot(), moved(1n, EXECUTION_STATE_COMPLETED)]];
    const { code, out } = await cli(["watch", ID, "--json"], terminal);
    expect(code).to.equal(0);
    const lines = out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines.map((line) => Object.keys(line)[0])).to.deep.equal(["snapshot", "event"]);
    expect(lines[1].event).to.deep.include({ number: "1" });
  });
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}
