import { expect } from "chai";
import { ExecutionState } from "../../src/contract/postern/v1/execution.js";
import { callUnary } from "../../src/rpc/channel.js";
import { attachExecutor, running } from "../support/attached-executor.js";
import { rejection } from "../support/rejection.js";
import { startTestServer, type TestServer } from "../support/test-server.js";

describe("Execution tokens", () => {
  let server: TestServer;
  before(async () => {
    server = await startTestServer({ leaseMs: 2_000, attachWithinMs: 2_000, executionTokenSeconds: 60 });
    await server.furnish();
  });
  after(() => server.stop());

  it("are good for as long as a prepared execution waits for its executor, however short a lease is", async () => {
    const { execution, spec, token, tokenExpiresAt } = await server.prepare();
    const [row] = await server.db.query<{ leaseExpiresAt: Date }>(
      "select lease_expires_at from execution where id = :id",
      { id: execution!.id },
    );
    expect(Math.abs(row!.leaseExpiresAt.getTime() - tokenExpiresAt!.getTime())).to.be.lessThan(2_000);
    await new Promise((resolve) => setTimeout(resolve, 2_200)); // more than a lease, and nothing was heard
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    await executor.next("welcome");
    executor.cut();
  });

  it("start their clock at Hello: what is left of the first one does not matter any more", async () => {
    const { spec, token, tokenExpiresAt } = await server.prepare();
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    const grant = await executor.next("tokenGrant");
    expect(grant.expiresAt!.getTime()).to.be.greaterThan(tokenExpiresAt!.getTime());
    executor.cut();
    const again = attachExecutor(server.client.executions, grant.token);
    await again.hello(spec!);
    expect((await again.next("welcome")).epoch).to.equal(spec!.epoch);
    again.cut();
  });

  it("are dead for every call at once when somebody else ends the execution, and the stream ends with them", async () => {
    const { spec, token } = await server.prepare();
    const { executionId } = spec!;
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    await executor.next("welcome");
    await executor.events(running(1n));
    await executor.next("ack");
    const state = ExecutionState.EXECUTION_STATE_KILLED;
    const report = { requestId: "", executionId, state, failure: undefined };
    await callUnary(
      server.client.executions,
      "updateExecution",
      { ...report, logUri: "", statisticsUri: "", statistics: [] },
      { token: server.owner },
    );
    const late = callUnary(server.client.executions, "getExecution", { executionId }, { token });
    expect(await rejection(late)).to.include({ reason: "TOKEN_INVALID" });
    expect(await rejection(executor.ended())).to.include({ reason: "ILLEGAL_TRANSITION" });
  });
});
