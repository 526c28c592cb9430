import { expect } from "chai";
import fc from "fast-check";
import { type CommitLoad, creditWindow, QUEUE_LIMIT } from "../../src/core/credit.js";

const load: fc.Arbitrary<CommitLoad> = fc.record({
  streams: fc.integer({ min: 0, max: 10_000 }),
  queuedEvents: fc.integer({ min: 0, max: 2 * QUEUE_LIMIT.events }),
  queuedBytes: fc.integer({ min: 0, max: 2 * QUEUE_LIMIT.bytes }),
  eventsPerMs: fc.double({ min: 0, max: 1_000, noNaN: true }),
});

describe("creditWindow", () => {
  it("pauses every stream while the queue is full, and none before", () => {
    fc.assert(
      fc.property(load, (at) => {
        const full = at.queuedEvents >= QUEUE_LIMIT.events || at.queuedBytes >= QUEUE_LIMIT.bytes;
        expect(creditWindow(at) === 0).to.equal(full);
      }),
    );
  });

  it("never grows when the queue does", () => {
    fc.assert(
      fc.property(load, fc.integer({ min: 0, max: QUEUE_LIMIT.events }), (at, more) => {
        const later = { ...at, queuedEvents: at.queuedEvents + more };
        expect(creditWindow(later)).to.be.at.most(creditWindow(at));
      }),
    );
  });

  it("keeps what a thousand idle streams may send together within the queue's limit", () => {
    const window = creditWindow({ streams: 1_000, queuedEvents: 0, queuedBytes: 0, eventsPerMs: 300 });
    expect(window * 1_000).to.be.at.most(QUEUE_LIMIT.events);
  });

  it("lets a lone stream run ahead by a quarter of a second of committing", () => {
    expect(creditWindow({ streams: 1, queuedEvents: 0, queuedBytes: 0, eventsPerMs: 40 })).to.equal(10_000);
  });

  it("always leaves room for a whole batch while there is any", () => {
    expect(creditWindow({ streams: 10_000, queuedEvents: 0, queuedBytes: 0, eventsPerMs: 1 })).to.equal(256);
  });
});
