import { expect } from "chai";
import fc from "fast-check";
import { ExecutionEvent, WatchExecutionResponse } from "../../src/contract/postern/v1/execution.js";
import { eventFrame } from "../../src/rpc/event-frame.js";

const MAX_INT64 = 2n ** 63n - 1n;

const int64 = fc.oneof(
  fc.bigInt({ min: 0n, max: MAX_INT64 }),
  fc.bigInt({ min: 0n, max: 300n }),
  fc.constantFrom(127n, 128n, 2n ** 21n - 1n, 2n ** 21n, 2n ** 32n, 2n ** 53n, 2n ** 53n + 1n, MAX_INT64),
);
const numbers = fc.record({
  number: int64,
  attempt: fc.oneof(fc.nat(200), fc.nat(2 ** 31 - 1)),
  sequence: int64,
});

const kind: fc.Arbitrary<NonNullable<ExecutionEvent["kind"]>> = fc.oneof(
  fc.record({
    $case: fc.constant("consoleMessage" as const),
    value: fc.record({
      operatorId: fc.string(),
      worker: fc.nat(),
      level: fc.constantFrom(1, 2, 3),
      text: fc.oneof(
        fc.string(),
        fc.nat(70_000).map((length) => "x".repeat(length)),
      ),
    }),
  }),
  fc.record({
    $case: fc.constant("operatorStatistics" as const),
    value: fc.record({
      operatorId: fc.string(),
      layer: fc.string(),
      state: fc.constantFrom(1, 2, 4),
      inputRows: fc.option(int64, { nil: undefined }),
      outputRows: fc.option(int64, { nil: undefined }),
      outputBytes: int64,
      busyMs: int64,
      progress: fc.option(fc.constantFrom(0, 0.5, 1), { nil: undefined }),
      peakMemoryBytes: int64,
      malformedRows: fc.bigInt({ min: 0n, max: 2n ** 62n }),
      estimatedInputRows: fc.option(int64, { nil: undefined }),
      estimatedOutputRows: fc.option(int64, { nil: undefined }),
    }),
  }),
);
const occurredAt = fc.option(
  fc.nat().map((ms) => new Date(ms)),
  { nil: undefined },
);
const event = fc.record({ occurredAt, kind: fc.option(kind, { nil: undefined }) });

function read(frame: Uint8Array): ExecutionEvent {
  const { item } = WatchExecutionResponse.decode(frame);
  if (item?.$case !== "event") throw new Error(`not an event: ${item?.$case}`);
  return item.value;
}

describe("eventFrame", () => {
  it("is the body's content under the numbers given", () => {
    fc.assert(
      fc.property(event, numbers, (content, where) => {
        const body = ExecutionEvent.encode({ ...content, number: 0n, attempt: 0, sequence: 0n }).finish();
        expect(read(eventFrame({ ...where, body }))).to.deep.equal({ ...content, ...where });
      }),
    );
  });

  it("overrules whatever numbers the body carries, with zeros too", () => {
    fc.assert(
      fc.property(event, numbers, numbers, (content, claimed, where) => {
        const body = ExecutionEvent.encode({ ...content, ...claimed }).finish();
        expect(read(eventFrame({ ...where, body }))).to.deep.equal({ ...content, ...where });
        const zeros = { number: 0n, attempt: 0, sequence: 0n };
        expect(read(eventFrame({ ...zeros, body }))).to.deep.equal({ ...content, ...zeros });
      }),
    );
  });

  it("passes on what the body holds beyond this release's fields", () => {
    const unknownField = Buffer.from([0xfa, 0x01, 0x02, 0x68, 0x69]); // field 31: "hi"
    const frame = eventFrame({ number: 1n, attempt: 1, sequence: 1n, body: unknownField });
    expect(frame.includes(unknownField)).to.equal(true);
    expect(read(frame)).to.include({ number: 1n, attempt: 1, sequence: 1n });
  });

  it("is no longer than the body and its envelope", () => {
    expect(eventFrame({ number: 1n, attempt: 1, sequence: 0n, body: new Uint8Array() })).to.have.lengthOf(8);
  });

  it("keeps no memory alive but its own", () => {
    for (const bytes of [0, 1, 100, 3_000, 60_000]) {
      const frame = eventFrame({ number: 1n, attempt: 1, sequence: 1n, body: new Uint8Array(bytes) });
      expect(frame.buffer.byteLength).to.equal(frame.length);
    }
  });

  it("refuses negative numbers", () => {
    const body = new Uint8Array();
    expect(() => eventFrame({ number: -1n, attempt: 1, sequence: 0n, body })).to.throw(RangeError, "never negative");
    expect(() => eventFrame({ number: 1n, attempt: 1, sequence: -1n, body })).to.throw(RangeError, "never negative");
  });
});
