// Event batches as bytes, made once and then only patched: encoding must not be what a bench measures.
//
// F1  What is sent is what ts-proto would have encoded: 15 console lines to one operator statistics, about 130 bytes
//     each. Only the sequence and, in console lines, the stamp differ from frame to frame.
// F2  Sequences are from 2^21 to 2^28 - 1, where their varint has four bytes. The streams of a bench begin there.
import assert from "node:assert/strict";
import {
  AttachRequest,
  ConsoleMessage_Level,
  ExecutionEvent,
  RunState,
} from "../../../src/contract/postern/v1/execution.js";

/** The last sequence that counts as stored before a bench begins (F2). */
export const STORED_SEQUENCE = 2 ** 21;
const LAST_SEQUENCE = 2 ** 28 - 1;

/** Bytes of an encoded event, about. */
export const EVENT_BYTES = 130;
const STATISTICS_EVERY = 16;
const STAMP_DIGITS = 16;
const OCCURRED_AT = new Date("2026-09-01T12:34:56.789Z");
const STAMP = "0".repeat(STAMP_DIGITS);

export interface PlanOperator {
  operatorId: string;
  layer: string;
}

/** An event whose sequence is STORED_SEQUENCE; `index` chooses what kind of event it is. */
export function sampleEvent(index: number, operators: readonly PlanOperator[]): Buffer {
  const { operatorId, layer } = operators[Math.floor(index / STATISTICS_EVERY) % operators.length]!;
  const isStatistics = index % STATISTICS_EVERY === STATISTICS_EVERY - 1;
  const kind = (text: string): NonNullable<ExecutionEvent["kind"]> =>
    isStatistics
      ? {
          $case: "operatorStatistics",
          value: {
            operatorId,
            layer,
            state: RunState.RUN_STATE_RUNNING,
            inputRows: 12_345_678n,
            outputRows: 9_876_543n,
            outputBytes: 1_234_567_890n,
            busyMs: 60_000n,
            progress: 0.5,
            peakMemoryBytes: 268_435_456n,
            malformedRows: 0n,
          },
        }
      : {
          $case: "consoleMessage",
          value: { operatorId, worker: 0, level: ConsoleMessage_Level.LEVEL_OUTPUT, text },
        };
  const head = { number: 0n, attempt: 0, sequence: BigInt(STORED_SEQUENCE), occurredAt: OCCURRED_AT };
  const encode = (text: string) => ExecutionEvent.encode({ ...head, kind: kind(text) }).finish();
  const text = `sent at ${STAMP}; `;
  return Buffer.from(
    encode(text.padEnd(text.length + Math.max(0, EVENT_BYTES - encode(text).length), "the line goes on ")),
  );
}

interface Template {
  bytes: Buffer;
  /** Where the four bytes of each event's sequence are. */
  sequences: number[];
  /** Where the digits of each console line's stamp are. */
  stamps: number[];
}

export interface EventFrames {
  /** Events in each frame. */
  batch: number;
  /** The frame of the events `sequence` to `sequence + batch - 1`; `stampUs` goes into every console line. */
  frame(sequence: number, stampUs?: number): Buffer;
}

/** Frames of `batch` events each, as the identity serialiser of a client takes them. */
export function createEventFrames(batch: number, operators: readonly PlanOperator[]): EventFrames {
  const mix = STATISTICS_EVERY * operators.length;
  const templates = Array.from({ length: Math.max(1, Math.ceil(mix / batch)) }, (_, n) =>
    template(Array.from({ length: batch }, (_, i) => sampleEvent(n * batch + i, operators))),
  );
  return {
    batch,
    frame(sequence, stampUs) {
      if (sequence <= STORED_SEQUENCE || sequence + batch > LAST_SEQUENCE) throw new RangeError(`sequence ${sequence}`);
      const { bytes, sequences, stamps } = templates[Math.floor(sequence / batch) % templates.length]!;
      const frame = Buffer.from(bytes);
      for (let i = 0; i < sequences.length; i++) writeVarint4(frame, sequences[i]!, sequence + i);
      if (stampUs !== undefined)
        for (const at of stamps) frame.write(stampUs.toFixed(0).padStart(STAMP_DIGITS, "0"), at, "latin1");
      return frame;
    },
  };
}

/** The stamp in a console line of `createEventFrames`. */
export const stampOf = (text: string): number =>
  Number(text.slice("sent at ".length, "sent at ".length + STAMP_DIGITS));

function template(events: Buffer[]): Template {
  const parts: Buffer[] = [];
  const sequences: number[] = [];
  const stamps: number[] = [];
  let length = 0;
  const add = (bytes: Buffer) => {
    parts.push(bytes);
    length += bytes.length;
  };
  for (const event of events) {
    add(Buffer.from([0x0a, ...varint(event.length)])); // EventBatch.events
    assert.equal(event[0], 0x18); // ExecutionEvent.sequence comes first
    sequences.push(length + 1);
    const stamp = event.indexOf(STAMP, 0, "latin1");
    if (stamp >= 0) stamps.push(length + stamp);
    add(event);
  }
  const head = [0x12, ...varint(length)]; // AttachRequest.events
  const bytes = Buffer.concat([Buffer.from(head), ...parts]);
  const { frame } = AttachRequest.decode(bytes);
  assert(frame?.$case === "events" && frame.value.events.length === events.length);
  return { bytes, sequences: sequences.map((at) => at + head.length), stamps: stamps.map((at) => at + head.length) };
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}

function writeVarint4(into: Buffer, at: number, value: number): void {
  into[at] = (value & 0x7f) | 0x80;
  into[at + 1] = ((value >>> 7) & 0x7f) | 0x80;
  into[at + 2] = ((value >>> 14) & 0x7f) | 0x80;
  into[at + 3] = value >>> 21;
}
