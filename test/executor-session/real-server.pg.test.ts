import { expect } from "chai";
import { ExecutionState, Manifest, RunState } from "../../src/contract/postern/v1/execution.js";
import { connectExecutor, type EventKind, type ExecutorConnection } from "../../src/executor-session/connect.js";
import { startTestServer, type TestServer } from "../support/test-server.js";

const event = (regionId: number): EventKind => ({
  $case: "regionState",
  value: { regionId, state: RunState.RUN_STATE_RUNNING },
});
const running: EventKind = {
  $case: "executionState",
  value: { state: ExecutionState.EXECUTION_STATE_RUNNING, failure: undefined, comment: "" },
};
const failed = Manifest.fromPartial({
  state: ExecutionState.EXECUTION_STATE_FAILED,
  failure: { reason: "INTERNAL", message: "The test ends it." },
});

describe("a session with a server of this release", () => {
  let server: TestServer;
  let connection: ExecutorConnection;
  before(async () => {
    server = await startTestServer({ executionTokenSeconds: 2, leaseMs: 2_000 });
    await server.furnish();
    connection = connectExecutor({ servers: [server], executorId: "executor-1", software: "test/1" });
  });
  after(async () => {
    await connection.close();
    await server.stop();
  });

  const attach = async () => {
    const { spec, token } = await server.prepare();
    return connection.attach({ spec: spec!, token });
  };
  const sequencesOf = async (executionId: string) => {
    const rows = await server.db.query<{ sequence: string }>(
      "select sequence from execution_event where execution_id = :executionId and sequence > 0 order by number",
      { executionId },
    );
    return rows.map(({ sequence }) => Number(sequence));
  };

  it("finishes a run ten times longer than the life of its token, without an event more than was said", async () => {
    const session = await attach();
    await session.report(running);
    await session.report(event(1));
    await new Promise((resolve) => setTimeout(resolve, 20_500));
    await session.report(event(2));
    const end = await session.complete(failed);
    expect(end).to.deep.equal({ kind: "reported", state: ExecutionState.EXECUTION_STATE_FAILED });
    expect(await sequencesOf(session.spec.executionId)).to.deep.equal([1, 2, 3]);
  }).timeout(40_000);

  it("has every event stored once, in order, from many sessions at a time", async () => {
    const ends = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const session = await attach();
        await session.report(running);
        for (let n = 1; n <= 500; n++) await session.report(event(n));
        const { kind } = await session.complete(failed);
        const numbers = Array.from({ length: 501 }, (_, i) => i + 1);
        expect(await sequencesOf(session.spec.executionId)).to.deep.equal(numbers);
        return kind;
      }),
    );
    expect(new Set(ends)).to.deep.equal(new Set(["reported"]));
  }).timeout(40_000);
});
