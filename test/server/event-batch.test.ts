import { expect } from "chai";
import fc from "fast-check";
import {
  EventBatch,
  ExecutionEvent,
  ExecutionState,
  RunState,
  WatchExecutionResponse,
} from "../../src/contract/postern/v1/execution.js";
import { PortResult } from "../../src/contract/postern/v1/port_registry.js";
import { AppError } from "../../src/core/app-error.js";
import { eventFrame } from "../../src/rpc/event-frame.js";
import { type ReportedEvent, readEventBatch } from "../../src/server/executions/event-batch.js";
import { event, line, running } from "../support/attached-executor.js";
import { EVENT, requireShape, strictFields } from "../support/strict-wire.js";

const bytesOf = (...events: ExecutionEvent[]) => EventBatch.encode({ events }).finish();
const encoded = (one: ExecutionEvent) => Buffer.from(ExecutionEvent.encode(one).finish());

/** A varint, on so many bytes at least. */
function varint(value: bigint, atLeast = 1): Buffer {
  const bytes: number[] = [];
  for (let rest = value; bytes.length < atLeast || rest > 0n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(bytes.pop()! & 0x7f);
  return Buffer.from(bytes);
}
const sized = (bytes: Uint8Array) => Buffer.concat([varint(BigInt(bytes.length)), bytes]);
/** A batch of events whose bytes are given. */
const batchOf = (...events: Uint8Array[]) => Buffer.concat(events.flatMap((one) => [Buffer.from([0x0a]), sized(one)]));

/** Reads what must be refused. */
function refusal(bytes: Uint8Array, after = 0n): AppError {
  try {
    readEventBatch(bytes, after);
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error("The batch was taken.");
}

const kind: fc.Arbitrary<NonNullable<ExecutionEvent["kind"]>> = fc.oneof(
  fc
    .record({ operatorId: fc.string(), text: fc.string({ unit: "grapheme" }), worker: fc.integer() })
    .map((value) => ({ $case: "consoleMessage" as const, value: { level: 1, ...value } })),
  fc.record({ operatorId: fc.string(), outputRows: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }) }).map((value) => ({
    $case: "operatorStatistics" as const,
    value: ExecutionEvent.fromPartial({ kind: { $case: "operatorStatistics", value } }).kind!.value as never,
  })),
  fc.constant({
    $case: "executionState" as const,
    value: { state: ExecutionState.EXECUTION_STATE_RUNNING, failure: undefined, comment: "" },
  }),
  fc.record({ regionId: fc.nat() }).map((value) => ({
    $case: "regionState" as const,
    value: { ...value, state: RunState.RUN_STATE_RUNNING },
  })),
);

/** Fields as nobody should write them among such as everybody does: odd numbers, wire types, lengths and values. */
const oddField = fc.letrec<{ fields: Buffer; field: Buffer }>((tie) => {
  const padding = fc.oneof({ weight: 8, arbitrary: fc.constant(1) }, fc.integer({ min: 2, max: 12 }));
  const number = fc.oneof(
    { weight: 12, arbitrary: fc.bigInt({ min: 1n, max: 12n }) },
    fc.constantFrom(0n, 15n, 31n, 32n, 33n, 2n ** 29n - 1n, 2n ** 29n, 2n ** 29n + 31n, 2n ** 32n + 9n, 2n ** 60n + 4n),
  );
  const wire = fc.oneof({ weight: 8, arbitrary: fc.constantFrom(0, 2) }, fc.integer({ min: 0, max: 7 }));
  const text = fc.oneof(
    fc.string().map((one) => Buffer.from(one)),
    fc.constant(Buffer.from([0x61, 0xc0, 0x80])),
  );
  const content = fc.oneof({ maxDepth: 2 }, text, tie("fields"));
  const value = fc.oneof(
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    fc.constantFrom(0n, 1n, 2n ** 31n, 2n ** 53n, 2n ** 63n, 2n ** 64n, 2n ** 70n - 1n),
  );
  return {
    fields: fc.array(tie("field"), { maxLength: 4 }).map((all) => Buffer.concat(all)),
    field: fc.tuple(number, wire, padding, padding, content, value).map(([no, type, wide, wider, inner, int]) => {
      const body =
        type === 0
          ? varint(int, wider)
          : type === 1
            ? Buffer.alloc(8, 1)
            : type === 2
              ? Buffer.concat([varint(BigInt(inner.length), wider), inner])
              : type === 5
                ? Buffer.alloc(4, 1)
                : Buffer.alloc(0);
      return Buffer.concat([varint((no << 3n) | BigInt(type), wide), body]);
    }),
  };
});
/** An event with odd fields between, and within, its own. */
const oddEvent = fc
  .tuple(fc.array(oddField.field, { maxLength: 3 }), fc.option(oddField.fields), kind, fc.nat(2))
  .map(([odd, within, said, at]) => {
    const { number, value } = strictFields(encoded(ExecutionEvent.fromPartial({ kind: said })))[0]!;
    const inner = Buffer.concat([value as Buffer, within ?? Buffer.alloc(0)]);
    const own = [Buffer.from([0x18, 1]), Buffer.from([(number << 3) | 2]), sized(inner)];
    return Buffer.concat([...own.slice(0, at === 1 ? 1 : at * 2), ...odd, ...own.slice(at === 1 ? 1 : at * 2)]);
  });

/** What was taken is read by the strictest, and says the same to all. */
function requireSound({ kind, value, body }: ReportedEvent): void {
  requireShape(body, EVENT);
  expect(value?.$case ?? "consoleMessage").to.equal(kind);
  const where = { number: 77n, attempt: 5, sequence: 66n };
  const framed = strictFields(eventFrame({ ...where, body }))[0]!.value as Buffer;
  const last = new Map(strictFields(framed).map((field) => [field.number, field.value]));
  expect([last.get(1), last.get(2), last.get(3)]).to.deep.equal([77n, 5n, 66n]);
  const { item } = WatchExecutionResponse.decode(eventFrame({ ...where, body }));
  expect(item?.$case === "event" && item.value).to.include(where);
  expect(item?.$case === "event" && item.value.kind?.$case).to.equal(kind);
}

describe("readEventBatch", () => {
  it("reads numbers, times and kinds as a full decoder does, and keeps the event whole", () => {
    fc.assert(
      fc.property(fc.array(kind, { minLength: 1, maxLength: 40 }), fc.nat({ max: 1_000_000 }), (kinds, before) => {
        const events = kinds.map((one, i) => event(BigInt(before + i + 1), one));
        const batch = readEventBatch(bytesOf(...events), BigInt(before));
        expect(batch).to.include({ first: BigInt(before + 1), count: kinds.length });
        expect(batch.fresh.map((e) => ExecutionEvent.decode(e.body))).to.deep.equal(events);
        expect(batch.fresh.map((e) => e.kind)).to.deep.equal(kinds.map(({ $case }) => $case));
        for (const [i, { occurredAtMicros }] of batch.fresh.entries())
          expect(Math.floor(occurredAtMicros! / 1_000)).to.equal(events[i]!.occurredAt!.getTime());
      }),
    );
  });

  it("reads of a batch what comes after the events it has, and nothing behind a gap", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 8 }),
        fc.nat(20),
        (first, count, after) => {
          const events = Array.from({ length: count }, (_, i) => line(BigInt(first + i), `line ${first + i}`));
          const batch = readEventBatch(bytesOf(...events), BigInt(after));
          expect(batch).to.include({ first: BigInt(first), count });
          const expected = first > after + 1 ? [] : events.filter(({ sequence }) => sequence > after);
          expect(batch.fresh.map(({ body }) => ExecutionEvent.decode(body))).to.deep.equal(expected);
        },
      ),
    );
  });

  it("answers any bytes with a batch or with a refusal, never with a fault", () => {
    const valid = Buffer.from(bytesOf(running(1n), line(2n, "grüße"), line(3n, "x")));
    const broken = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.tuple(fc.nat({ max: valid.length - 1 }), fc.nat({ max: 255 })).map(([at, byte]) => {
        const bytes = Buffer.from(valid);
        bytes[at] = byte;
        return bytes;
      }),
      fc.nat({ max: valid.length }).map((length) => valid.subarray(0, length)),
    );
    fc.assert(
      fc.property(broken, (bytes) => {
        try {
          for (const one of readEventBatch(bytes, 0n).fresh) requireSound(one);
        } catch (error) {
          expect(error).to.be.instanceOf(AppError);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it("takes nothing that a strict reader of any language would refuse, or read otherwise", () => {
    let taken = 0;
    fc.assert(
      fc.property(oddEvent, (bytes) => {
        let fresh: ReportedEvent[];
        try {
          ({ fresh } = readEventBatch(batchOf(bytes), 0n));
        } catch (error) {
          expect(error).to.be.instanceOf(AppError);
          return;
        }
        taken++;
        for (const one of fresh) requireSound(one);
      }),
      { numRuns: 6_000 },
    );
    expect(taken, "the odd events are not all refused").to.be.greaterThan(300);
  });

  const text = encoded(line(1n, "hi"));
  const poison: Record<string, Buffer> = {
    "a tag 0": Buffer.concat([text, Buffer.from([0, 0])]),
    "a field number 0": Buffer.concat([text, Buffer.from([2, 1, 65])]),
    "a varint beyond 64 bits": Buffer.concat([text, Buffer.from([0x78, ...Array(9).fill(0xff), 0x7f])]),
    "a tag beyond 32 bits": Buffer.concat([text, Buffer.from([0xf8, 0x80, 0x80, 0x80, 0x80, 1, 1])]),
    "a tag of five bytes beyond 32 bits": Buffer.concat([text, Buffer.from([0xf8, 0x80, 0x80, 0x80, 0x10, 1])]),
    "a text that is a number": Buffer.from([0x18, 1, 0x4a, 3, 0x20, 1, 0]),
    "a number that is a text": Buffer.from([0x18, 1, 0x4a, 2, 0x12, 0]),
    "a time whose seconds are a text": Buffer.from([0x18, 1, 0x22, 2, 0x0a, 0, 0x4a, 0]),
    "a length of thirteen bytes": Buffer.concat([text, Buffer.from([0x7a, ...Array(12).fill(0x80), 0])]),
    "a length without end": Buffer.concat([text, Buffer.from([0x7a, ...Array(160).fill(0x80), 0, 255, 255, 255])]),
    "a group": Buffer.concat([text, Buffer.from([0x7b, 0x7c])]),
    "a tag 0 before its kind": Buffer.concat([Buffer.from([0x18, 1, 0, 0]), encoded(running(0n))]),
    "a tag 0 in its text's message": Buffer.from([0x18, 1, 0x4a, 4, 0x22, 0, 0, 0]),
    "a time with a field number 0": Buffer.concat([
      Buffer.from([0x22, 2, 0, 0]),
      text.subarray(0, 2),
      Buffer.from([0x4a, 0]),
    ]),
  };
  for (const [name, bytes] of Object.entries(poison))
    it(`refuses an event with ${name}`, () => {
      expect(() => requireShape(bytes, EVENT)).to.throw(RangeError);
      expect(refusal(batchOf(bytes))).to.include({ code: "invalid" });
    });

  it("refuses a field that comes twice: decoders differ in what they make of it", () => {
    const twice = (...bytes: number[]) => batchOf(Buffer.from([0x18, 1, ...bytes]));
    expect(refusal(twice(0x18, 1, 0x4a, 0))).to.include({ code: "invalid" });
    expect(refusal(twice(0x22, 2, 8, 1, 0x22, 2, 8, 2, 0x4a, 0))).to.include({ code: "invalid" });
    expect(refusal(twice(0x4a, 4, 0x10, 1, 0x10, 2))).to.include({ code: "invalid" });
    expect(refusal(twice(0x2a, 6, 8, 3, 0x12, 0, 0x12, 0))).to.include({ code: "invalid" });
  });

  it("refuses a console line whose text is not UTF-8: no watcher could read it", () => {
    const bytes = Buffer.from(bytesOf(line(1n, "abc")));
    bytes[bytes.indexOf("abc")] = 0xff;
    expect(refusal(bytes)).to.include({ code: "invalid" });
  });

  it("refuses a console line beyond 8,192 bytes", () => {
    expect(refusal(bytesOf(line(1n, "ü".repeat(4_097)))).message).to.contain("8194 bytes of text");
    expect(readEventBatch(bytesOf(line(1n, "ü".repeat(4_096))), 0n).fresh).to.have.lengthOf(1);
  });

  it("refuses numbers with a hole, and numbers below 1", () => {
    expect(refusal(bytesOf(line(1n, "a"), line(3n, "b"))).message).to.contain("consecutive");
    expect(refusal(bytesOf(line(0n, "a"))).message).to.contain("consecutive");
    expect(refusal(bytesOf(line(-1n, "a")))).to.include({ code: "invalid" });
  });

  it("refuses an event without a kind, one of the server's kind, and one that says two things", () => {
    expect(refusal(bytesOf(ExecutionEvent.fromPartial({ sequence: 1n }))).message).to.contain("says nothing");
    const command = event(1n, { $case: "commandRequested", value: { command: undefined, requestedBy: "" } });
    expect(refusal(bytesOf(command)).message).to.contain("only the server");
    const two = Buffer.concat([text, Buffer.from([0x2a, 2, 8, 3])]);
    expect(refusal(batchOf(two)).message).to.contain("more than one thing");
  });

  it("refuses an event beyond 64 KiB, and a batch beyond 1,024 events or 1 MiB", () => {
    expect(refusal(bytesOf(line(1n, "x".repeat(70_000)))).message).to.contain("shorten it to 65536");
    const many = Array.from({ length: 1_025 }, (_, i) => line(BigInt(i + 1), "x"));
    expect(refusal(bytesOf(...many)).message).to.contain("at most 1024");
    expect(readEventBatch(bytesOf(...many.slice(1)), 1n).fresh).to.have.lengthOf(1_024);
    const long = Array.from({ length: 140 }, (_, i) => line(BigInt(i + 1), "x".repeat(8_000)));
    expect(refusal(bytesOf(...long)).message).to.contain("send at most 1048576");
  });

  it("refuses an event that grows beyond 64 KiB because its text is not UTF-8", () => {
    const comment = Buffer.alloc(40_000, 0xff);
    const state = Buffer.concat([Buffer.from([8, 3, 0x1a]), sized(comment)]);
    const bytes = batchOf(Buffer.concat([Buffer.from([0x18, 1, 0x2a]), sized(state)]));
    expect(refusal(bytes).message).to.contain("shorten it to 65536");
  });

  it("passes over the columns of a port, however many, and keeps all else of it", () => {
    const value = PortResult.fromPartial({
      key: { operatorId: "heavy", layer: "main", portId: 1 },
      uri: "file:///x",
      rowCount: 3n,
      byteCount: 4n,
      schema: { attributes: Array.from({ length: 3_000 }, (_, i) => ({ name: `column_${i}`, type: 1 })) },
      viewed: true,
    });
    const [read] = readEventBatch(bytesOf(event(1n, { $case: "portResult", value })), 0n).fresh;
    const expected = { $case: "portResult", value: { ...value, schema: undefined } };
    expect(read!.value).to.deep.equal(expected);
    expect(ExecutionEvent.decode(read!.body).kind).to.deep.equal(expected);
    // Nor are they read where they hide: behind a tag 0, where the decoder takes its message to end.
    const hidden = Buffer.from([0x0a, 6, 0, 0x32, 3, 0x0a, 1, 0]);
    const bytes = Buffer.concat([Buffer.from([0x18, 1, 0x52]), sized(hidden)]);
    expect(refusal(batchOf(bytes))).to.include({ code: "invalid" });
  });

  it("keeps fields of a later release where they are", () => {
    const later = Buffer.concat([text, Buffer.from([0xa2, 0x06, 1, 7]), Buffer.from([0xad, 0x06, 1, 2, 3, 4])]);
    const [read] = readEventBatch(batchOf(later), 0n).fresh;
    expect(Buffer.from(read!.body).equals(later)).to.equal(true);
  });

  it("refuses a time no clock shows", () => {
    const bytes = batchOf(Buffer.from([0x18, 1, 0x22, 6, 0x10, 0xff, 0xff, 0xff, 0xff, 0x03, 0x4a, 0]));
    expect(refusal(bytes)).to.include({ code: "invalid" }); // a second of a billion nanoseconds and more
  });
});
