import { expect } from "chai";
import { createEventFrames, EVENT_BYTES, STORED_SEQUENCE, stampOf } from "../../bench/stream/load/event-frames.js";
import { AttachRequest, ExecutionEvent } from "../../src/contract/postern/v1/execution.js";

const OPERATORS = [
  { operatorId: "fruit", layer: "main" },
  { operatorId: "heavy", layer: "main" },
];

function eventsOf(frame: Buffer): ExecutionEvent[] {
  const { frame: said } = AttachRequest.decode(frame);
  if (said?.$case !== "events") throw new Error("This is no frame of events.");
  return said.value.events;
}

describe("Event frames of the bench", () => {
  it("carry consecutive sequences, whatever the batch", () => {
    for (const batch of [1, 64, 256]) {
      const frames = createEventFrames(batch, OPERATORS);
      for (const first of [STORED_SEQUENCE + 1, STORED_SEQUENCE + 1 + 7 * batch, 2 ** 27 + 5]) {
        const sequences = eventsOf(frames.frame(first)).map(({ sequence }) => Number(sequence));
        expect(sequences).to.deep.equal(Array.from({ length: batch }, (_, i) => first + i));
      }
    }
  });

  it("carry 15 console lines of about 130 bytes to one operator statistics", () => {
    const events = eventsOf(createEventFrames(64, OPERATORS).frame(STORED_SEQUENCE + 1));
    const kinds = events.map(({ kind }) => kind?.$case);
    expect(kinds.filter((kind) => kind === "operatorStatistics")).to.have.length(4);
    expect(kinds.filter((kind) => kind === "consoleMessage")).to.have.length(60);
    const lines = events.filter(({ kind }) => kind?.$case === "consoleMessage");
    for (const line of lines) expect(ExecutionEvent.encode(line).finish().length).to.be.closeTo(EVENT_BYTES, 2);
  });

  it("carry the stamp in every console line", () => {
    const events = eventsOf(createEventFrames(16, OPERATORS).frame(STORED_SEQUENCE + 1, 1_234_567_890_123));
    const stamps = events.flatMap(({ kind }) => (kind?.$case === "consoleMessage" ? [stampOf(kind.value.text)] : []));
    expect(new Set(stamps)).to.deep.equal(new Set([1_234_567_890_123]));
  });
});
