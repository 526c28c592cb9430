import { expect } from "chai";
import {
  CommandKind,
  commandKindToJSON,
  type Execution,
  type ExecutionEvent,
  ExecutionState,
} from "../../src/contract/postern/v1/execution.js";
import { bearer, callUnary } from "../../src/rpc/channel.js";
import { executionStateFromWire } from "../../src/rpc/state-codec.js";
import { pendingCommandsOf } from "../../src/server/repositories/execution-commands.js";
import { attachExecutor, event, running } from "../support/attached-executor.js";
import { rejection } from "../support/rejection.js";
import { startReplica, startTestServer, type TestServer } from "../support/test-server.js";

const { COMMAND_KIND_CANCEL, COMMAND_KIND_KILL, COMMAND_KIND_PAUSE, COMMAND_KIND_RESUME } = CommandKind;
const GRACE_MS = 700;

describe("Pause, resume, cancel", () => {
  let server: TestServer;
  let elsewhere: TestServer;
  before(async () => {
    server = await startTestServer({ cancelGraceMs: GRACE_MS });
    elsewhere = await startReplica(server, { cancelGraceMs: GRACE_MS });
    await server.furnish();
  });
  after(async () => {
    await elsewhere.stop();
    await server.stop();
  });

  /** A running execution and the executor that holds it. */
  async function runningExecution() {
    const { spec, token } = await server.prepare();
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    await executor.next("welcome");
    await executor.events(running(1n));
    await executor.next("ack");
    return { executor, spec: spec!, token, executionId: spec!.executionId };
  }

  type Verb = "pauseExecution" | "resumeExecution";
  const ask = async (verb: Verb, executionId: string, at = server) =>
    stateOf(
      (await callUnary(at.client.executions, verb, { executionId, reason: "because" }, { token: at.owner })).execution,
    );
  const cancel = (executionId: string, force = false, at = server) =>
    callUnary(at.client.executions, "cancelExecution", { executionId, reason: "", force }, { token: at.owner });
  const stateOf = (execution: Execution | undefined) => executionStateFromWire(execution!.state);
  const state = async (executionId: string) => stateOf(await server.execution(executionId));
  const reports = (sequence: bigint, to: ExecutionState): ExecutionEvent =>
    event(sequence, { $case: "executionState", value: { state: to, failure: undefined, comment: "" } });

  async function untilState(executionId: string, wanted: string): Promise<void> {
    while ((await state(executionId)) !== wanted) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  /** The log as words: states with their comments, and commands. */
  async function log(executionId: string): Promise<string[]> {
    const call = server.client.executions.watchExecution({ executionId, after: 0n }, bearer(server.owner));
    const words: string[] = [];
    for await (const { item } of call) {
      if (item?.$case === "caughtUp") break;
      const kind = item?.$case === "event" ? item.value.kind : undefined;
      if (kind?.$case === "executionState") {
        const { comment, state: to } = kind.value;
        words.push(`${executionStateFromWire(to)}${comment && `: ${comment}`}`);
      }
      if (kind?.$case === "commandRequested") {
        const { command, requestedBy } = kind.value;
        words.push(
          `${commandKindToJSON(command!.kind).replace("COMMAND_KIND_", "")} by ${requestedBy || "the server"}`,
        );
      }
    }
    call.cancel();
    return words;
  }

  it("pauses and resumes: asked on one replica, carried out on another, each once in the log", async () => {
    const { executor, executionId } = await runningExecution();
    expect(await ask("pauseExecution", executionId, elsewhere)).to.equal("PAUSING");
    const pause = await executor.next("command");
    expect(pause).to.include({ kind: COMMAND_KIND_PAUSE, reason: "because" });
    await executor.events(reports(2n, ExecutionState.EXECUTION_STATE_PAUSED));
    await executor.say({ $case: "commandAck", value: { commandId: pause.commandId, refused: "" } });
    await untilState(executionId, "PAUSED");
    expect(await ask("resumeExecution", executionId, elsewhere)).to.equal("RESUMING");
    const resume = await executor.next("command");
    expect(resume.kind).to.equal(COMMAND_KIND_RESUME);
    await executor.events(running(3n));
    await untilState(executionId, "RUNNING");
    expect((await log(executionId)).slice(2)).to.deep.equal([
      "PAUSE by owner",
      "PAUSING",
      "PAUSED",
      "RESUME by owner",
      "RESUMING",
      "RUNNING",
    ]);
    executor.cut();
  });

  it("changes nothing when what is asked for has been asked for, or is so already", async () => {
    const { executor, executionId } = await runningExecution();
    expect(await ask("resumeExecution", executionId)).to.equal("RUNNING");
    await ask("pauseExecution", executionId);
    const { lastEventNumber } = await server.execution(executionId);
    expect(await ask("pauseExecution", executionId, elsewhere)).to.equal("PAUSING");
    await executor.events(reports(2n, ExecutionState.EXECUTION_STATE_PAUSED));
    await untilState(executionId, "PAUSED");
    expect(await ask("pauseExecution", executionId)).to.equal("PAUSED");
    expect((await server.execution(executionId)).lastEventNumber).to.equal(lastEventNumber + 1n);
    executor.cut();
  });

  it("refuses to pause what does not run, and to resume what does not pause", async () => {
    const { execution } = await server.prepare({ queue: true });
    for (const verb of ["pauseExecution", "resumeExecution"] as const)
      expect(await rejection(ask(verb, execution!.id))).to.include({ reason: "ILLEGAL_TRANSITION" });
    const { executor, executionId } = await runningExecution();
    await ask("pauseExecution", executionId);
    expect(await rejection(ask("resumeExecution", executionId))).to.include({ reason: "ILLEGAL_TRANSITION" });
    executor.cut();
    await cancel(execution!.id);
  });

  it("goes back to RUNNING, or PAUSED, when the executor refuses, and says why", async () => {
    const { executor, executionId } = await runningExecution();
    await ask("pauseExecution", executionId);
    const pause = await executor.next("command");
    await executor.say({ $case: "commandAck", value: { commandId: pause.commandId, refused: "I never rest" } });
    await untilState(executionId, "RUNNING");
    // An answer counts once: a second one to the old order does not touch a new one's state.
    await ask("pauseExecution", executionId);
    await executor.say({ $case: "commandAck", value: { commandId: pause.commandId, refused: "still not" } });
    await executor.events(reports(2n, ExecutionState.EXECUTION_STATE_PAUSED));
    await untilState(executionId, "PAUSED");
    await ask("resumeExecution", executionId);
    let resume = await executor.next("command");
    while (resume.kind !== COMMAND_KIND_RESUME) resume = await executor.next("command");
    await executor.say({ $case: "commandAck", value: { commandId: resume.commandId, refused: "I rest" } });
    await untilState(executionId, "PAUSED");
    expect(await log(executionId)).to.include.members([
      "RUNNING: the executor refused to pause: I never rest",
      "PAUSED: the executor refused to go on: I rest",
    ]);
    executor.cut();
  });

  it("refuses an answer that names no command, and overlooks one to a command of somebody else", async () => {
    const { executor, executionId } = await runningExecution();
    const other = await runningExecution();
    await ask("pauseExecution", other.executionId);
    const { commandId } = await other.executor.next("command");
    await executor.say({ $case: "commandAck", value: { commandId, refused: "not mine" } });
    await executor.events(event(2n, { $case: "regionState", value: { regionId: 0, state: 2 } }));
    await executor.next("ack");
    expect(await state(other.executionId)).to.equal("PAUSING");
    await executor.say({ $case: "commandAck", value: { commandId: "it", refused: "" } });
    expect(await rejection(executor.ended())).to.include({ reason: "INVALID_REQUEST" });
    expect(await state(executionId)).to.equal("RUNNING");
    other.executor.cut();
  });

  it("does not hand an attempt's commands to the next attempt", async () => {
    const { executor, executionId } = await runningExecution();
    await ask("pauseExecution", executionId);
    await executor.next("command");
    executor.cut();
    await server.db.query("update execution set attempt = 2 where id = :executionId", { executionId });
    expect(await pendingCommandsOf(server.db, [executionId])).to.deep.equal([]);
    await server.db.query("update execution set attempt = 1 where id = :executionId", { executionId });
    expect(await pendingCommandsOf(server.db, [executionId])).to.have.length(1);
  });

  it("kills at once what no executor holds", async () => {
    const [queued, prepared] = [await server.prepare({ queue: true }), await server.prepare()];
    for (const { execution } of [queued, prepared])
      expect(stateOf((await cancel(execution!.id)).execution)).to.equal("KILLED");
    const executor = attachExecutor(server.client.executions, prepared.token);
    await executor.hello(prepared.spec!);
    expect(await rejection(executor.next("welcome"))).to.include({ reason: "ILLEGAL_TRANSITION" });
  });

  it("goes from CANCEL to KILL to an end by the server when an executor does not obey, each once", async () => {
    const { executor, executionId, spec, token } = await runningExecution();
    for (const at of [server, elsewhere, server]) await cancel(executionId, false, at);
    expect((await executor.next("command")).kind).to.equal(COMMAND_KIND_CANCEL);
    expect((await executor.next("command")).kind).to.equal(COMMAND_KIND_KILL);
    await untilState(executionId, "KILLED");
    expect((await log(executionId)).slice(2)).to.deep.equal([
      "CANCEL by owner",
      "KILL by the server",
      `KILLED: ended by the server: its executor did not obey within ${GRACE_MS / 1_000} s of being told to stop at once`,
    ]);
    const endedAt = Date.now();
    // Its stream is told, and its token is dead.
    expect(await rejection(executor.ended())).to.include({ reason: "ILLEGAL_TRANSITION" });
    const last = await rejection(callUnary(server.client.executions, "getExecution", { executionId }, { token }));
    expect(last.reason).to.be.oneOf(["STALE_LEASE", "TOKEN_INVALID"]);
    expect(Date.now() - endedAt).to.be.lessThan(5_000);
    const late = attachExecutor(server.client.executions, token);
    await late.hello(spec);
    expect(await rejection(late.next("welcome"))).to.include({ reason: "ILLEGAL_TRANSITION" });
    expect(stateOf((await cancel(executionId, true)).execution)).to.equal("KILLED");
  });

  it("leaves an executor in peace that ends within the grace", async () => {
    const { executor, executionId, spec } = await runningExecution();
    await cancel(executionId);
    await executor.next("command");
    await executor.complete(spec, { state: ExecutionState.EXECUTION_STATE_KILLED, lastSequence: 1n });
    await executor.next("completeAck");
    await new Promise((resolve) => setTimeout(resolve, 2 * GRACE_MS));
    expect((await log(executionId)).slice(2)).to.deep.equal(["CANCEL by owner", "KILLED"]);
  });

  it("with force begins at KILL, and makes a KILL of an earlier CANCEL", async () => {
    const forced = await runningExecution();
    await cancel(forced.executionId, true);
    expect((await forced.executor.next("command")).kind).to.equal(COMMAND_KIND_KILL);
    const earlier = await runningExecution();
    await cancel(earlier.executionId);
    expect((await earlier.executor.next("command")).kind).to.equal(COMMAND_KIND_CANCEL);
    await cancel(earlier.executionId, true);
    await cancel(earlier.executionId, true, elsewhere);
    expect((await earlier.executor.next("command")).kind).to.equal(COMMAND_KIND_KILL);
    await untilState(forced.executionId, "KILLED");
    await untilState(earlier.executionId, "KILLED");
    const words = (await log(earlier.executionId)).slice(2);
    expect(words.slice(0, 2)).to.deep.equal(["CANCEL by owner", "KILL by owner"]);
    expect(words).to.have.length(3);
    forced.executor.cut();
    earlier.executor.cut();
  });

  it("escalates what another replica was told, while that one is gone", async () => {
    const third = await startReplica(server, { cancelGraceMs: 3_600_000 });
    const { executor, executionId } = await runningExecution();
    await cancel(executionId, false, third);
    await third.stop();
    await executor.next("command");
    expect((await executor.next("command")).kind).to.equal(COMMAND_KIND_KILL);
    await executor.ended().catch(() => {}); // the server ended the execution
    await untilState(executionId, "KILLED");
  });
});
