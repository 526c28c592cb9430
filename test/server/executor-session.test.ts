// What a session says to an executor, with a database that answers when the test wants.
import { setTimeout as delay } from "node:timers/promises";
import { expect } from "chai";
import type { AttachResponse } from "../../src/contract/postern/v1/execution.js";
import { QUEUE_LIMIT } from "../../src/core/credit.js";
import { createLogger } from "../../src/process/log.js";
import type { ExecutorMessage } from "../../src/rpc/executor-frame.js";
import type { CallContext } from "../../src/server/access/caller.js";
import { createEventCommitter } from "../../src/server/executions/event-committer.js";
import { type ExecutorSessionDeps, runExecutorSession } from "../../src/server/executions/executor-session.js";
import type { Slice } from "../../src/server/executions/stream-writer.js";
import { deferred } from "../support/deferred.js";
import { until } from "../support/until.js";

const log = createLogger("test", "silent");
const EXECUTION = "00000000-0000-7000-8000-000000000001";
const fence = { executionId: EXECUTION, attempt: 1, epoch: 1n, attachment: 1n };
const row = { ...fence, id: EXECUTION, lastSequence: 0n, state: "RUNNING", planDigest: "d", projectId: "p" };
const committed = { kind: "committed", logged: undefined };

/** A session whose executor says Hello, then what `say` yields, then nothing. */
function sessionOf(say: () => Promise<ExecutorMessage | undefined>, take: () => Promise<void> = async () => {}) {
  let commit = (_groups: number) => {};
  const committer = createEventCommitter({
    connection: {
      statement: () => new Promise((resolve) => (commit = () => resolve(undefined as never))),
      transaction: () =>
        new Promise((resolve) => (commit = (slices) => resolve(Array(slices).fill(committed) as never))),
      close: async () => {},
    },
    onCommitted: () => {},
    log,
    now: Date.now,
  });
  const sent: NonNullable<AttachResponse["frame"]>[] = [];
  const gone = new AbortController();
  const hello: ExecutorMessage = {
    frame: {
      $case: "hello",
      value: {
        protocolVersion: 1,
        executionId: EXECUTION,
        attempt: 1,
        executorId: "e",
        software: "",
        planDigest: "d",
        sandboxLayers: [],
        languages: [],
      },
    },
  };
  let saidHello = false;
  const next = async (): Promise<IteratorResult<ExecutorMessage>> => {
    const value = saidHello ? await say() : hello;
    saidHello = true;
    return value ? { done: false, value } : new Promise(() => {});
  };
  const stream = {
    incoming: { [Symbol.asyncIterator]: () => ({ next }) },
    send: ({ frame }: AttachResponse) => {
      sent.push(frame!);
      return frame!.$case === "welcome" ? Promise.resolve() : take();
    },
  };
  const deps = {
    db: { query: async () => [row] },
    hints: { executorConcerned: () => {}, executionChanged: () => {} },
    planOf: async () => ({ operators: [] }),
    tokens: { mintExecutionToken: async () => ({ token: "t", expiresAt: new Date(Date.now() + 600_000) }) },
    committer,
    attention: { attend: () => () => {} },
    leaseMs: 15_000,
    rotateStreamsMs: 3_600_000,
    serverId: "s",
    draining: new AbortController().signal,
    now: () => new Date(),
    resultRoot: "file:///results",
  } as unknown as ExecutorSessionDeps;
  const context = { caller: { kind: "anonymous" }, signal: gone.signal, log } as CallContext;
  const run = () =>
    runExecutorSession(deps, stream, { kind: "execution", executionId: EXECUTION, attempt: 1, epoch: 1n }, context);
  return { committer, sent, run, leave: () => gone.abort(new Error("the test leaves")), commit: (n = 1) => commit(n) };
}

const silent = async () => undefined;

describe("A session with an executor", () => {
  it("raises a credit of 0 that Welcome told as soon as there is room", async () => {
    const { committer, sent, run, leave, commit } = sessionOf(silent);
    const listener = { stored: () => {}, alive: () => {}, refused: () => {} };
    const other = committer.open({ fence: { ...fence, executionId: "o" }, leaseMs: 1, lastSequence: 0n, listener });
    const event = {
      kind: "consoleMessage",
      occurredAtMicros: 1,
      value: undefined,
      body: new Uint8Array(),
    } as Slice["events"][0];
    other.take({ first: 1n, count: 1, fresh: [event], bytes: QUEUE_LIMIT.bytes + 1 }, () => undefined);
    const running = run();
    await until(() => sent.some(({ $case }) => $case === "welcome"));
    const welcome = sent[0];
    expect(welcome?.$case === "welcome" && welcome.value.credit).to.equal(0n);
    commit();
    await until(() => sent.some((frame) => frame.$case === "ack" && frame.value.credit > 0n));
    leave();
    await running.catch(() => {}); // the test left
  });

  it("hands the transport one heartbeat at a time, however many are asked for and none is taken", async () => {
    const heartbeat = async (): Promise<ExecutorMessage> => {
      await delay(1);
      return { frame: { $case: "heartbeat", value: { sentAt: undefined } } };
    };
    const { sent, run, leave, commit } = sessionOf(heartbeat, () => new Promise(() => {}));
    const running = run();
    for (let n = 0; n < 100; n++) {
      await delay(2);
      commit();
    }
    expect(sent.filter(({ $case }) => $case === "heartbeat")).to.have.lengthOf(1);
    leave();
    await running.catch(() => {}); // the test left
  });

  it("leaves no timer behind when it ends while the transport takes a token", async () => {
    const taken = deferred();
    const { sent, run, leave } = sessionOf(silent, () => taken.promise);
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
    await delay(0); // mocha's own timer runs from here on
    const before = timers();
    const running = run();
    await until(() => sent.some(({ $case }) => $case === "tokenGrant"));
    leave();
    await running.catch(() => {}); // the test left
    taken.resolve();
    await delay(0);
    expect(timers()).to.equal(before);
  });
});
