// An event is encoded once, in the form it has inside a batch (field tag, length, body), so that a batch is made by
// laying events end to end, a file of them needs no index, and nothing is encoded again when it is sent again.
import { EventBatch, type ExecutionEvent } from "../contract/postern/v1/execution.js";
import { invalid } from "../core/app-error.js";
import { CONSOLE_TEXT_BYTES, EVENT_BYTES } from "../core/event-limits.js";

/** What happened, before it has a number. */
export type EventKind = NonNullable<ExecutionEvent["kind"]>;

/** What a batch puts before an event near the limit: its tag, and a length of three bytes. */
const BEFORE_EVENT = 4;

export interface NumberedEvent {
  attempt: number;
  sequence: number;
  occurredAt: Date;
  kind: EventKind;
}

/** Throws AppError for an event no server takes. */
export function encodeEvent({ attempt, sequence, occurredAt, kind }: NumberedEvent): Uint8Array {
  if (kind.$case === "consoleMessage") {
    const { text } = kind.value;
    const textBytes = text.length * 3 <= CONSOLE_TEXT_BYTES ? 0 : Buffer.byteLength(text);
    if (textBytes > CONSOLE_TEXT_BYTES)
      throw invalid(
        `A consoleMessage of ${textBytes} bytes is too large: ${CONSOLE_TEXT_BYTES} at most. Cut the line, or make several.`,
      );
  }
  const event: ExecutionEvent = { number: 0n, attempt, sequence: BigInt(sequence), occurredAt, kind };
  const bytes = EventBatch.encode({ events: [event] }).finish();
  if (bytes.length <= EVENT_BYTES + BEFORE_EVENT) return bytes;
  throw invalid(
    `An event (${kind.$case}) of ${bytes.length} bytes is too large: ${EVENT_BYTES} at most. Say less at once, and write the rest to storage.`,
  );
}

/** Field 1 of EventBatch. */
const EVENT_TAG = 0x0a;
/** Field 2 of AttachRequest. */
const BATCH_TAG = 0x12;

/** An AttachRequest with these events, encoded. */
export function batchFrame(events: readonly Uint8Array[]): Buffer {
  const length = events.reduce((sum, event) => sum + event.length, 0);
  const frame = Buffer.allocUnsafe(11 + length);
  frame[0] = BATCH_TAG;
  let at = 1;
  for (let rest = length; ; rest >>>= 7) {
    frame[at++] = rest > 0x7f ? (rest & 0x7f) | 0x80 : rest;
    if (rest <= 0x7f) break;
  }
  for (const event of events) {
    frame.set(event, at);
    at += event.length;
  }
  return frame.subarray(0, at);
}

/** Lays encoded events end to end, in memory of their own. */
export function joinEvents(events: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(events.reduce((sum, event) => sum + event.length, 0));
  let at = 0;
  for (const event of events) {
    joined.set(event, at);
    at += event.length;
  }
  return joined;
}

/** Takes them apart again, without copying. Throws when the bytes are no whole events. */
export function splitEvents(bytes: Uint8Array): Uint8Array[] {
  const events: Uint8Array[] = [];
  for (let start = 0; start < bytes.length; ) {
    let at = start + 1;
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      if (byte === undefined || shift > 28) throw new Error("These bytes are no events.");
      length += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    const end = at + length;
    if (bytes[start] !== EVENT_TAG || end > bytes.length) throw new Error("These bytes are no whole events.");
    events.push(bytes.subarray(start, end));
    start = end;
  }
  return events;
}
