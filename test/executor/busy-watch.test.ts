import { expect } from "chai";
import { PortLookup, PortLookup_Outcome, type WatchKeysRequest } from "../../src/contract/postern/v1/cache.js";
import { AppError } from "../../src/core/app-error.js";
import { BusyWatch } from "../../src/executor/cache/busy-watch.js";
import type { PortAnswer } from "../../src/executor/cache/port-answer.js";
import { until } from "../support/until.js";

const reserved = (globalPortId: string) =>
  PortLookup.create({ globalPortId, outcome: PortLookup_Outcome.OUTCOME_RESERVED, reservation: 1n });

/** A watch over a server of the test's making, and what it has said. */
function watching(
  answer: (ids: string[], signal: AbortSignal) => AsyncIterable<PortLookup>,
  more: { elapsed?: () => number; onTake?: (id: string) => void } = {},
) {
  const taken = new Map<string, PortAnswer>();
  const refused: AppError[] = [];
  const watch = new BusyWatch({
    calls: { watch: ({ globalPortIds }: WatchKeysRequest, signal) => answer(globalPortIds, signal) },
    executionId: "e",
    take(id, port) {
      taken.set(id, port);
      more.onTake?.(id);
    },
    onRefused: (error) => refused.push(error),
    elapsed: more.elapsed ?? (() => performance.now()),
  });
  return { watch, taken, refused };
}

describe("waiting for ports that others compute", () => {
  it("watches a port that is added at whatever moment the last answer arrives", async () => {
    for (let turns = 0; turns < 12; turns++) {
      const { watch, taken } = watching(
        async function* (ids) {
          for (const id of ids) yield reserved(id);
        },
        {
          onTake(id) {
            if (id === "a") void later(turns).then(() => watch.add(["b"]));
          },
        },
      );
      watch.add(["a"]);
      await until(() => taken.has("b"), 2_000);
      await watch.stop();
    }
  });

  it("ends when nothing is heard for a minute though it asks again and again", async () => {
    let clock = 0;
    let calls = 0;
    let lastCalls = 0;
    const tick = (ms: number) => {
      lastCalls = calls;
      clock += ms;
      return clock;
    };
    const failure = new AppError("internal", "INTERNAL", "internal error");
    const { watch, taken, refused } = watching(
      // biome-ignore lint/correctness/useYield: it fails before it could
      async function* () {
        calls++;
        throw failure;
      },
      // A call fails at once, and the next one is made 20 seconds later.
      { elapsed: () => (calls === lastCalls ? tick(20_000) : tick(1)) },
    );
    watch.add(["a", "b"]);
    await until(() => taken.size === 2);
    expect([...taken.values()].map(({ kind }) => kind)).to.deep.equal(["compute", "compute"]);
    expect(refused).to.deep.equal([failure]);
    expect(calls).to.be.within(2, 5);
  });
});

async function later(turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await undefined;
}
