import { expect } from "chai";
import fc from "fast-check";
import type { ReportedBatch, ReportedEvent } from "../../src/server/executions/event-batch.js";
import { type Queued, StreamWriter } from "../../src/server/executions/stream-writer.js";

const fence = { executionId: "e", attempt: 1, epoch: 1n, attachment: 1n };

/** Events that tell their own number, read by a stream that has received some of them. */
function batch(first: number, count: number, received = BigInt(first - 1)): ReportedBatch {
  const events: ReportedEvent[] = Array.from({ length: count }, (_, i) => ({
    kind: "consoleMessage",
    occurredAtMicros: first + i,
    value: undefined,
    body: new Uint8Array(),
  }));
  const fresh = first > received + 1n ? [] : events.slice(Number(received) + 1 - first);
  return { first: BigInt(first), bytes: count, count, fresh };
}

function writerOf(queued: Queued = { events: 0, bytes: 0 }) {
  const stored: bigint[] = [];
  let alive = 0;
  const writer = new StreamWriter({
    fence,
    leaseMs: 1_000,
    lastSequence: 0n,
    queued,
    onWork: () => {},
    listener: { stored: (last) => stored.push(last), alive: () => alive++, refused: () => {} },
  });
  return { writer, stored, queued, alive: () => alive };
}

const nothing = () => undefined;
const ALL = { events: 1_000_000, bytes: 1_000_000 };

describe("StreamWriter", () => {
  it("drops what was received, takes the tail of an overlap, and refuses a gap with the number it waits for", () => {
    const { writer } = writerOf();
    expect(writer.take(batch(1, 4), nothing)).to.deep.equal({ kind: "queued" });
    expect(writer.take(batch(2, 3, 4n), nothing)).to.deep.equal({ kind: "duplicate" });
    expect(writer.take(batch(6, 2, 4n), nothing)).to.deep.equal({ kind: "gap", expected: 5n });
    expect(writer.take(batch(3, 4, 4n), nothing)).to.deep.equal({ kind: "queued" });
    expect(writer.slice(ALL).events.map((e) => e.occurredAtMicros)).to.deep.equal([1, 2, 3, 4, 5, 6]);
  });

  it("stores every event once, in order, whatever arrives and however commits end", () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant("take" as const), back: fc.nat({ max: 5 }), count: fc.integer({ min: 1, max: 8 }) }),
      fc.record({ do: fc.constant("commit" as const), most: fc.integer({ min: 1, max: 20 }) }),
      // The connection was lost: the database has it, or not, and more may have arrived meanwhile.
      fc.record({ do: fc.constant("doubt" as const), most: fc.integer({ min: 1, max: 20 }), applied: fc.boolean() }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { writer, stored, queued } = writerOf();
        const database: number[] = [];
        let sent = 0;
        const commit = (most: number): void => {
          if (!writer.hasWork) return;
          const slice = writer.slice({ events: most, bytes: most * 10 });
          if (BigInt(database.length) === slice.step.first - 1n) {
            database.push(...slice.events.map((e: ReportedEvent) => e.occurredAtMicros!));
            writer.committed(slice);
          } else writer.advance(BigInt(database.length));
        };
        for (const one of steps)
          if (one.do === "take") {
            const first = Math.max(1, sent + 1 - one.back);
            writer.take(batch(first, one.count, writer.received), nothing);
            sent = Math.max(sent, first + one.count - 1);
          } else if (one.do === "commit") commit(one.most);
          else if (writer.hasWork) {
            const slice = writer.slice({ events: one.most, bytes: one.most * 10 });
            if (one.applied && BigInt(database.length) === slice.step.first - 1n)
              database.push(...slice.events.map((e) => e.occurredAtMicros!));
          }
        while (writer.hasWork) commit(1_000);
        expect(database).to.deep.equal(Array.from({ length: sent }, (_, i) => i + 1));
        expect(stored).to.deep.equal(stored.toSorted((a, b) => Number(a - b)));
        if (sent > 0) expect(stored.at(-1)).to.equal(BigInt(sent));
        expect(queued).to.deep.equal({ events: 0, bytes: 0 });
      }),
      { numRuns: 500 },
    );
  });

  it("answers heartbeats that came while others were being answered", () => {
    const { writer, alive } = writerOf();
    writer.beat();
    const slice = writer.slice(ALL);
    writer.beat();
    writer.committed(slice);
    expect(writer.hasWork).to.equal(true);
    writer.committed(writer.slice(ALL));
    expect([writer.hasWork, alive()]).to.deep.equal([false, 2]);
  });

  it("lets whoever waits go once nothing is queued, or nothing can be stored any more", async () => {
    const { writer } = writerOf();
    await writer.settled();
    writer.take(batch(1, 2), nothing);
    const settled = writer.settled();
    writer.committed(writer.slice(ALL));
    await settled;
    writer.take(batch(3, 2), nothing);
    const over = writer.settled();
    writer.end();
    await over;
  });
});
