import { expect } from "chai";
import { ExecutionState, type WatchExecutionResponse } from "../../src/contract/postern/v1/execution.js";
import { bearer, serverStream } from "../../src/rpc/channel.js";
import { attachExecutor, line, running } from "../support/attached-executor.js";
import { rejection } from "../support/rejection.js";
import { startTestServer, type TestServer } from "../support/test-server.js";

describe("WatchExecution", () => {
  let server: TestServer;
  before(async () => {
    server = await startTestServer();
    await server.furnish();
  });
  after(() => server.stop());

  const watch = (executionId: string, after?: bigint, token = server.owner) =>
    serverStream<WatchExecutionResponse>(
      server.client.executions.watchExecution({ executionId, after }, bearer(token)),
    );
  async function collect(items: AsyncIterable<WatchExecutionResponse>) {
    const all: NonNullable<WatchExecutionResponse["item"]>[] = [];
    for await (const { item } of items) all.push(item!);
    return all;
  }
  async function endedExecution() {
    const { spec, token } = await server.prepare();
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    await executor.events(running(1n), line(2n, "a"), line(3n, "b"));
    await executor.complete(spec!, { lastSequence: 3n });
    await executor.next("completeAck");
    return spec!.executionId;
  }

  it("sends a snapshot with every operator, one sentinel, and ends when the execution has ended", async () => {
    const [snapshot, caughtUp, ...rest] = await collect(watch(await endedExecution()));
    expect(rest).to.deep.equal([]);
    expect(snapshot!.$case).to.equal("snapshot");
    if (snapshot?.$case === "snapshot") {
      expect(snapshot.value.execution!.state).to.equal(ExecutionState.EXECUTION_STATE_COMPLETED);
      expect(snapshot.value.operators.map((o) => o.operatorId)).to.deep.equal(["fruit", "heavy", "order"]);
    }
    expect(caughtUp).to.deep.equal({ $case: "caughtUp", value: { number: 5n } });
  });

  it("replays every event after any number, once each and in order", async () => {
    const id = await endedExecution();
    for (const after of [0n, 1n, 3n, 5n]) {
      const items = await collect(watch(id, after));
      const numbers = items.flatMap((item) => (item.$case === "event" ? [item.value.number] : []));
      const expected = [1n, 2n, 3n, 4n, 5n].filter((n) => n > after);
      expect(numbers, `after ${after}`).to.deep.equal(expected);
      expect(items.filter((item) => item.$case === "caughtUp")).to.have.lengthOf(1);
    }
  });

  it("follows live from snapshot to end without a gap", async () => {
    const { spec, token } = await server.prepare();
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    await executor.next("welcome");
    const watching = collect(watch(spec!.executionId));
    for (let n = 1n; n <= 40n; n++) await executor.events(n === 1n ? running(n) : line(n, `line ${n}`));
    await executor.complete(spec!, { lastSequence: 40n });
    await executor.next("completeAck");
    const items = await watching;
    const snapshot = items.find((item) => item.$case === "snapshot");
    const from = snapshot?.$case === "snapshot" ? snapshot.value.execution!.lastEventNumber : -1n;
    const numbers = items.flatMap((item) => (item.$case === "event" ? [item.value.number] : []));
    expect(numbers).to.deep.equal(Array.from({ length: 42 - Number(from) }, (_, i) => from + 1n + BigInt(i)));
  });

  it("sees changes made where no hint reaches it", async () => {
    const { spec } = await server.prepare();
    const watching = collect(watch(spec!.executionId, 1n));
    await server.db.query(
      `with e as (update execution set state = 'FAILED', ended_at = now(), last_event_number = 2 where id = :id returning id)
       insert into execution_event (execution_id, number, attempt, sequence, occurred_at, kind, body)
       select id, 2, 1, 0, now(), 'executionState', '\\x' from e`,
      { id: spec!.executionId },
    );
    expect((await watching).filter((item) => item.$case === "event")).to.have.lengthOf(1);
  });

  it("refuses a position the log does not have, and an execution the caller may not see", async () => {
    const id = await endedExecution();
    expect(await rejection(collect(watch(id, 99n)))).to.include({ code: "invalid" });
    const stranger = await server.userToken("stranger");
    expect(await rejection(collect(watch(id, 0n, stranger)))).to.include({ code: "not-found" });
  });
});
