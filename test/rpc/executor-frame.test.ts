import { expect } from "chai";
import fc from "fast-check";
import { AttachRequest, EventBatch, ExecutionEvent } from "../../src/contract/postern/v1/execution.js";
import { decodeExecutorMessage } from "../../src/rpc/executor-frame.js";

const encoded = (request: AttachRequest) => Buffer.from(AttachRequest.encode(request).finish());
const batch = (texts: string[]): EventBatch => ({
  events: texts.map((text, i) =>
    ExecutionEvent.fromPartial({
      sequence: BigInt(i + 1),
      kind: { $case: "consoleMessage", value: { operatorId: "o", worker: 0, level: 1, text } },
    }),
  ),
});

describe("decodeExecutorMessage", () => {
  it("leaves a batch of events as the bytes it is", () => {
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 300 }), { maxLength: 80 }), (texts) => {
        const value = batch(texts);
        const { frame } = decodeExecutorMessage(encoded({ frame: { $case: "events", value } }));
        expect(frame?.$case).to.equal("events");
        expect(EventBatch.decode(frame?.value as Uint8Array)).to.deep.equal(value);
      }),
    );
  });

  it("decodes every other frame whole", () => {
    const request: AttachRequest = { frame: { $case: "goodbye", value: { reason: "enough" } } };
    expect(decodeExecutorMessage(encoded(request))).to.deep.equal(request);
    expect(decodeExecutorMessage(Buffer.alloc(0)).frame).to.equal(undefined);
  });

  it("reads a batch that shares its message with fields of a later release", () => {
    const value = batch(["a"]);
    const bytes = Buffer.concat([encoded({ frame: { $case: "events", value } }), Buffer.from([0xf8, 0x01, 0x05])]);
    const { frame } = decodeExecutorMessage(bytes);
    expect(EventBatch.decode(frame?.value as Uint8Array)).to.deep.equal(value);
  });

  it("takes the last of two frames in one message, as protobuf demands", () => {
    const bytes = Buffer.concat([
      encoded({ frame: { $case: "events", value: batch(["a"]) } }),
      encoded({ frame: { $case: "tokenRefresh", value: {} } }),
    ]);
    expect(decodeExecutorMessage(bytes).frame?.$case).to.equal("tokenRefresh");
  });

  it("leaves events as bytes beside other frames too: decoded, they could take many times their size", () => {
    const events = Buffer.from([0x0a, 4, 0xff, 0xff, 0xff, 0xff]); // an event no decoder gets through
    const mixed = Buffer.concat([
      encoded({ frame: { $case: "tokenRefresh", value: {} } }),
      Buffer.from([0x12, 6]),
      events,
    ]);
    const { frame } = decodeExecutorMessage(mixed);
    expect(frame?.$case).to.equal("events");
    expect(Buffer.from(frame?.value as Uint8Array).equals(events)).to.equal(true);
    const overruled = Buffer.concat([mixed, encoded({ frame: { $case: "goodbye", value: { reason: "x" } } })]);
    expect(decodeExecutorMessage(overruled).frame).to.deep.equal({ $case: "goodbye", value: { reason: "x" } });
  });

  it("refuses bytes that are no message", () => {
    expect(() => decodeExecutorMessage(Buffer.from([0x12, 0xff]))).to.throw();
  });
});
