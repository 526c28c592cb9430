import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { expect } from "chai";
import { ExecutionState, Manifest } from "../../src/contract/postern/v1/execution.js";
import { connectExecutor, type EventKind, type ExecutorConnection } from "../../src/executor-session/connect.js";
import { callUnary } from "../../src/rpc/channel.js";
import { startTestServer, type TestServer } from "../support/test-server.js";
import { until } from "../support/until.js";

const running: EventKind = {
  $case: "executionState",
  value: { state: ExecutionState.EXECUTION_STATE_RUNNING, failure: undefined, comment: "" },
};
const failed = Manifest.fromPartial({
  state: ExecutionState.EXECUTION_STATE_FAILED,
  failure: { reason: "INTERNAL", message: "The test ends it." },
});

/** A proxy that can be closed for a while, and can keep to itself what the server answers. */
async function startProxy(target: string) {
  const [host, port] = target.split(":");
  const sockets = new Set<Socket>();
  let open = true;
  let answers: Socket[] = [];
  const server = createServer((near) => {
    if (!open) return void near.destroy();
    const far = connect(Number(port), host);
    answers.push(far);
    near.pipe(far).pipe(near);
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => other.destroy()); // cut on purpose
      socket.on("close", () => other.destroy());
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = () => {
    answers = [];
    for (const socket of sockets) socket.destroy();
  };
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    shut() {
      open = false;
      cut();
    },
    open() {
      open = true;
    },
    cut,
    keepAnswers() {
      for (const far of answers) far.unpipe().pause();
    },
    async close() {
      cut();
      server.close();
      await once(server, "close");
    },
  };
}

describe("an executor that reports the end while somebody else may have ended the execution", () => {
  let server: TestServer;
  let proxy: Awaited<ReturnType<typeof startProxy>>;
  const connections: ExecutorConnection[] = [];
  before(async () => {
    server = await startTestServer({ leaseMs: 3_000, attachWithinMs: 30_000 });
    await server.furnish();
  });
  after(() => server.stop());
  beforeEach(async () => {
    proxy = await startProxy(server.address);
  });
  afterEach(async () => {
    for (const connection of connections.splice(0)) await connection.close();
    await proxy.close();
  });

  function connectTo(address: string): ExecutorConnection {
    const connection = connectExecutor({
      servers: [{ address }],
      executorId: "executor-1",
      software: "test/1",
      thread: false,
    });
    connections.push(connection);
    return connection;
  }
  async function attach() {
    const { spec, token } = await server.prepare();
    const session = await connectTo(proxy.address).attach({ spec: spec!, token });
    await session.report(running);
    const { executionId } = spec!;
    const stateIs = async (state: ExecutionState) => (await server.execution(executionId)).state === state;
    await until(() => stateIs(ExecutionState.EXECUTION_STATE_RUNNING));
    return { session, executionId, stateIs };
  }
  const kill = (executionId: string) =>
    callUnary(
      server.client.executions,
      "cancelExecution",
      { executionId, reason: "no", force: true },
      { token: server.owner },
    );

  it("is told that it was reported when only the answer got lost", async () => {
    const { session, stateIs } = await attach();
    proxy.keepAnswers();
    const ended = session.complete(failed);
    await until(() => stateIs(ExecutionState.EXECUTION_STATE_FAILED));
    proxy.cut();
    expect(await ended).to.deep.equal({ kind: "reported", state: ExecutionState.EXECUTION_STATE_FAILED });
  });

  it("is refused when it was killed before the report could be sent", async () => {
    const { session, executionId, stateIs } = await attach();
    proxy.shut();
    await server.db.query("update execution set lease_expires_at = now() - interval '1 s' where id = :executionId", {
      executionId,
    });
    await kill(executionId);
    await until(() => stateIs(ExecutionState.EXECUTION_STATE_KILLED));
    const ended = session.complete(failed);
    proxy.open();
    const end = await ended;
    expect(end.kind).to.equal("refused");
    expect(end.kind === "refused" && end.error).to.include({ code: "precondition" });
  });

  it("is refused when it was killed while its report was on the way", async () => {
    const { session, executionId } = await attach();
    await server.db.query(
      "update execution set state = 'KILLED', ended_at = now(), executor_id = '', lease_expires_at = null where id = :executionId",
      { executionId },
    );
    const end = await session.complete(failed);
    expect(end.kind).to.equal("refused");
    expect(end.kind === "refused" && end.error.reason).to.equal("ILLEGAL_TRANSITION");
    expect(session.signal.aborted).to.equal(true);
  });

  it("gives way when another process has its id, with a sentence that says so, and the other goes on", async () => {
    const { spec, token } = await server.prepare();
    const sessions = [
      await connectTo(server.address).attach({ spec: spec!, token }),
      await connectTo(server.address).attach({ spec: spec!, token }),
    ];
    const first = await Promise.race(sessions.map((session) => session.ended.then((end) => ({ session, end }))));
    expect(first.end.kind === "refused" && first.end.error).to.include({ reason: "STREAM_SUPERSEDED" });
    expect(first.end.kind === "refused" && first.end.error.message).to.match(
      /^8 times in a row another stream of executor "executor-1" .* Give each process an id of its own\.$/,
    );
    const other = sessions.find((session) => session !== first.session)!;
    await other.report(running);
    expect((await other.complete(failed)).kind).to.equal("reported");
  }).timeout(60_000);
});
