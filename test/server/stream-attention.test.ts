import { expect } from "chai";
import { createLogger } from "../../src/process/log.js";
import type { Queryable } from "../../src/server/database/database.js";
import { createStreamAttention } from "../../src/server/executions/stream-attention.js";
import type { LeaseStanding } from "../../src/server/repositories/stream-writes.js";
import { until } from "../support/until.js";

const RUNNING: LeaseStanding = { executionId: "x", attempt: 1, epoch: 1n, attachment: 1n, state: "RUNNING" };

/** The attention of a replica with one execution, and a database that answers when and what the test says. */
function attentionOf() {
  const asked: ((rows: LeaseStanding[]) => void)[] = [];
  const db = {
    query: (sql: string) =>
      sql.includes("execution_command") ? Promise.resolve([]) : new Promise((answer) => asked.push(answer as never)),
  } as Queryable;
  const stop = new AbortController();
  const log = createLogger("test", "silent");
  const attention = createStreamAttention({ db, hints: { onExecutorConcern: () => () => {} }, log });
  const running = attention.run(stop.signal);
  const attend = (epoch: bigint, attachment: bigint) => {
    const told: string[] = [];
    const fence = { executionId: "x", attempt: 1, epoch, attachment };
    attention.attend({ fence, command: () => {}, over: (why) => void told.push(why.reason) });
    return told;
  };
  return {
    attend,
    answer: async (row: Partial<LeaseStanding>) => {
      await until(() => asked.length > 0);
      asked.shift()!([{ ...RUNNING, ...row }]);
      await until(() => asked.length > 0); // it has looked through the answer and asks again
    },
    stop: async () => {
      stop.abort();
      for (const answer of asked) answer([]);
      await running;
    },
  };
}

describe("The attention streams get", () => {
  it("ends a stream whose executor was taken over, or has come back by a newer one", async () => {
    const { attend, answer, stop } = attentionOf();
    const told = attend(1n, 1n);
    await answer({ epoch: 2n, attachment: 2n });
    expect(told[0]).to.equal("STALE_LEASE");
    await stop();
    const again = attentionOf();
    const older = again.attend(1n, 1n);
    await again.answer({ attachment: 2n });
    expect(older[0]).to.equal("STREAM_SUPERSEDED");
    await again.stop();
  });

  it("does not end the newer stream by an answer that is older than it", async () => {
    const { attend, answer, stop } = attentionOf();
    attend(1n, 1n);
    const successor = attend(2n, 2n);
    const returned = attend(1n, 2n);
    await answer({ epoch: 1n, attachment: 1n });
    expect([successor, returned]).to.deep.equal([[], []]);
    await stop();
  });
});
