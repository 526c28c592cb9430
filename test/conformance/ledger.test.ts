import { expect } from "chai";
import { Ledger, type StreamRecord } from "../../src/conformance/ledger.js";
import { ExecutionEvent, ExecutionState, Hello, Manifest } from "../../src/contract/postern/v1/execution.js";
import { AppError, staleLease } from "../../src/core/app-error.js";

const hello = (more: Partial<Hello> = {}) =>
  Hello.fromPartial({ executionId: "e", attempt: 1, executorId: "x", ...more });
const events = (first: number, last: number, text = "line") => ({
  events: Array.from({ length: last - first + 1 }, (_, i) =>
    ExecutionEvent.fromPartial({
      sequence: BigInt(first + i),
      kind: { $case: "consoleMessage", value: { text: `${text} ${first + i}` } },
    }),
  ),
});
const manifestAfter = (lastSequence: bigint, logUri = "") =>
  Manifest.fromPartial({ state: ExecutionState.EXECUTION_STATE_COMPLETED, lastSequence, logUri });

describe("what an executor has said", () => {
  let nowMs: number;
  let ledger: Ledger;
  beforeEach(() => {
    nowMs = 0;
    ledger = new Ledger(() => nowMs);
  });

  function attached(credit = 100n, token = "t"): StreamRecord {
    const stream = ledger.open(token);
    ledger.heard(stream, { $case: "hello", value: hello() });
    ledger.helloSaid(stream, hello());
    ledger.welcomed(stream, credit);
    return stream;
  }
  function said(stream: StreamRecord, first: number, last: number, text?: string): void {
    const batch = events(first, last, text);
    ledger.heard(stream, { $case: "events", value: batch });
    ledger.batchSaid(stream, batch);
  }
  const stored = (stream: StreamRecord, first: number, last: number) => {
    said(stream, first, last);
    ledger.store(events(first, last));
  };

  it("is in order when events continue, a Nack is obeyed, and a new stream goes on after what is stored", () => {
    const first = attached();
    stored(first, 1, 10);
    said(first, 11, 20);
    said(first, 21, 30);
    ledger.nacked(first, 11n);
    ledger.nacked(first, 11n);
    said(first, 11, 20);
    stored(first, 11, 30);
    const second = attached();
    stored(second, 31, 40);
    ledger.completeSaid(manifestAfter(40n));
    ledger.completeSaid(manifestAfter(40n));
    expect(ledger.violations).to.deep.equal([]);
    expect(ledger.stored).to.equal(40n);
  });

  const wrong: [what: string, play: () => void, sentence: RegExp][] = [
    [
      "something before Hello",
      () => ledger.heard(ledger.open("t"), { $case: "heartbeat", value: { sentAt: undefined } }),
      /^Heartbeat came before Hello on stream 1/,
    ],
    ["Hello twice", () => ledger.heard(attached(), { $case: "hello", value: hello() }), /^Hello was said twice/],
    [
      "another executor id in a reconnect",
      () => {
        attached();
        ledger.helloSaid(ledger.open("t"), hello({ executorId: "y" }));
      },
      /^Hello 2 has executor_id y, the first had x/,
    ],
    [
      "a hole between batches",
      () => {
        const s = attached();
        said(s, 1, 3);
        said(s, 5, 6);
      },
      /^Event 5 came where 4 was due/,
    ],
    [
      "a hole in a batch",
      () => {
        const s = attached();
        ledger.batchSaid(s, { events: [...events(1, 2).events, ...events(4, 4).events] });
      },
      /^A batch holds event 4 right after 2/,
    ],
    [
      "events again that nobody asked for",
      () => {
        const s = attached();
        said(s, 1, 3);
        said(s, 1, 3);
      },
      /^Event 1 was sent again on stream 1, where nobody had asked/,
    ],
    [
      "a number that was another event before",
      () => {
        said(attached(), 1, 3);
        said(attached(), 1, 3, "other");
      },
      /^Event 1 was sent again with another content/,
    ],
    ["more than the credit", () => said(attached(5n), 1, 6), /^Event 6 was sent on stream 1 with a credit of 5/],
    [
      "more than a lowered credit, long after",
      () => {
        const s = attached(50n);
        said(s, 1, 3);
        ledger.granted(s, 3n);
        nowMs = 5_000;
        said(s, 4, 4);
      },
      /with a credit of 3/,
    ],
    [
      "a manifest that names another last event",
      () => {
        stored(attached(), 1, 3);
        ledger.completeSaid(manifestAfter(2n));
      },
      /^The manifest names 2 as last_sequence, but 3 events are stored/,
    ],
    [
      "another manifest in a repeated Complete",
      () => {
        attached();
        ledger.completeSaid(manifestAfter(0n));
        ledger.completeSaid(manifestAfter(0n, "file:///x"));
      },
      /^Complete was repeated with another manifest/,
    ],
    [
      "events after the end",
      () => {
        const s = attached();
        ledger.ended = true;
        said(s, 1, 1);
      },
      /^EventBatch came after the end was stored/,
    ],
    [
      "a return after the fence",
      () => {
        ledger.refused(attached(), staleLease(1n, 2n));
        attached();
      },
      /^The executor attached again after it was refused with STALE_LEASE/,
    ],
    [
      "a return with a refused token",
      () => {
        ledger.refused(attached(), new AppError("unauthenticated", "TOKEN_EXPIRED", ""));
        attached();
      },
      /refused with TOKEN_EXPIRED/,
    ],
  ];
  for (const [what, play, sentence] of wrong)
    it(`is told as a sentence when it is ${what}`, () => {
      play();
      expect(ledger.violations[0]).to.match(sentence);
    });

  it("forgives what was on its way when the credit was lowered, and another token after a refused one", () => {
    const stream = attached(50n);
    ledger.granted(stream, 0n);
    said(stream, 1, 10);
    ledger.refused(stream, new AppError("unauthenticated", "TOKEN_EXPIRED", ""));
    attached(50n, "another");
    expect(ledger.violations).to.deep.equal([]);
  });
});
