import { expect } from "chai";
import {
  CancelExecutionResponse,
  ExecutionState,
  GetExecutionResponse,
  PauseExecutionResponse,
  ResumeExecutionResponse,
} from "../../src/contract/postern/v1/execution.js";
import { illegalTransition } from "../../src/core/app-error.js";
import { type FakeServer, startFakeServer } from "./fake-server.js";
import { cli, fakeTerminal } from "./fake-terminal.js";

const id = "0198c2f0-0000-7000-8000-000000000001";

describe("postern pause, resume, cancel", () => {
  let server: FakeServer;
  let asked: unknown[];
  beforeEach(async () => {
    server = await startFakeServer();
    asked = [];
    server.handlers.getExecution = () => GetExecutionResponse.fromPartial({ execution: { id } });
  });
  afterEach(() => server.stop());
  const run = (...args: string[]) =>
    cli(args, fakeTerminal({ env: { POSTERN_SERVER: server.address, POSTERN_TOKEN: "t", POSTERN_PROJECT: "p" } }));
  const answering =
    <Reply>(reply: Reply) =>
    (request: unknown) => {
      asked.push(request);
      return reply;
    };

  it("ask the server, and say what the execution is and what has been asked of it", async () => {
    const as = (state: ExecutionState) => ({ execution: { id, state } });
    const { EXECUTION_STATE_PAUSING, EXECUTION_STATE_RESUMING, EXECUTION_STATE_RUNNING } = ExecutionState;
    server.handlers.pauseExecution = answering(PauseExecutionResponse.fromPartial(as(EXECUTION_STATE_PAUSING)));
    server.handlers.resumeExecution = answering(ResumeExecutionResponse.fromPartial(as(EXECUTION_STATE_RESUMING)));
    server.handlers.cancelExecution = answering(CancelExecutionResponse.fromPartial(as(EXECUTION_STATE_RUNNING)));
    expect(await run("pause", id, "--reason", "busy")).to.deep.equal({
      code: 0,
      out: `execution ${id} is PAUSING and has been asked to pause\n`,
      err: "",
    });
    expect((await run("resume", id)).out).to.equal(`execution ${id} is RESUMING and has been asked to go on\n`);
    expect((await run("cancel", id)).out).to.equal(`execution ${id} is RUNNING and has been asked to stop\n`);
    await run("cancel", id, "--force");
    expect(asked).to.deep.equal([
      { executionId: id, reason: "busy" },
      { executionId: id, reason: "" },
      { executionId: id, reason: "", force: false },
      { executionId: id, reason: "", force: true },
    ]);
  });

  it("say when it has ended already", async () => {
    const execution = { id, state: ExecutionState.EXECUTION_STATE_COMPLETED, endedAt: new Date(0) };
    server.handlers.cancelExecution = answering(CancelExecutionResponse.fromPartial({ execution }));
    expect((await run("cancel", id, "--force")).out).to.equal(`execution ${id} is COMPLETED\n`);
  });

  it("print the execution as JSON with --json", async () => {
    const execution = { id, state: ExecutionState.EXECUTION_STATE_PAUSED };
    server.handlers.pauseExecution = answering(PauseExecutionResponse.fromPartial({ execution }));
    const { out } = await run("pause", id, "--json");
    expect(JSON.parse(out).execution).to.include({ id, state: "EXECUTION_STATE_PAUSED" });
  });

  it("take a workflow's id for its latest execution", async () => {
    server.handlers.getLatestExecution = ({ workflowId }) => {
      expect(workflowId).to.equal("flights-delays");
      return GetExecutionResponse.fromPartial({ execution: { id } });
    };
    server.handlers.resumeExecution = answering(ResumeExecutionResponse.fromPartial({ execution: { id, state: 3 } }));
    expect((await run("resume", "flights-delays")).code).to.equal(0);
    expect(asked).to.deep.equal([{ executionId: id, reason: "" }]);
  });

  it("exit with 1 and the server's sentence when the execution is in no state for it", async () => {
    server.handlers.pauseExecution = () => {
      throw illegalTransition("QUEUED", "PAUSING");
    };
    expect(await run("pause", id)).to.deep.equal({
      code: 1,
      out: "",
      err: "error: An execution that is QUEUED cannot become PAUSING.\n",
    });
  });

  it("explain themselves with examples", async () => {
    for (const name of ["pause", "resume", "cancel"]) {
      const { code, out } = await run(name, "--help");
      expect(code).to.equal(0);
      expect(out).to.contain(`Examples:\n  postern ${name} `).and.to.contain("--reason");
    }
    expect((await run("cancel", "--help")).out).to.contain("--force");
    expect((await run("pause", id, "--force")).code).to.equal(2);
  });
});
