// A batch of events as it came from an executor, read as far as the server needs: numbers, times and kinds of those it
// does not have yet, and the whole of those that change something beside the log.
//
// W1  What is stored parses, in every language, and says the same in all of them. A console line, the one kind that comes
//     in masses, is walked field by field and kept as it came; any other kind is decoded and encoded anew. A known field
//     that comes twice, or in another form than its own, is refused.
// W2  Numbers are consecutive (S1), an event has one kind, and that is not one only the server writes.
// W3  What a batch costs is bounded by its size: limits are checked before anything is decoded, what the server has
//     already is not decoded, and neither is the one list an event has, the columns of a port.
import { isUtf8 } from "node:buffer";
import { ExecutionEvent } from "../../contract/postern/v1/execution.js";
import { type AppError, invalid } from "../../core/app-error.js";
import { BATCH_BYTES, BATCH_EVENTS, CONSOLE_TEXT_BYTES, EVENT_BYTES } from "../../core/event-limits.js";
import { BYTES, malformed, VARINT, WireCursor } from "./wire-cursor.js";

export type EventKindName = NonNullable<ExecutionEvent["kind"]>["$case"];

/** One event, without its number: the batch tells that of its first. */
export interface ReportedEvent {
  kind: EventKindName;
  /** Microseconds since 1970; undefined when its sender did not say. */
  occurredAtMicros: number | undefined;
  /** What it says, for the kinds that change more than the log. */
  value: Exclude<ExecutionEvent["kind"], { $case: "consoleMessage" }>;
  /** The encoded ExecutionEvent. */
  body: Uint8Array;
}

export interface ReportedBatch {
  /** Sequence number of the first event; the others follow without holes. */
  first: bigint;
  /** How many events it holds. */
  count: number;
  /** Its last events, those the server does not have yet; none when there is a gap before the first. */
  fresh: ReportedEvent[];
  bytes: number;
}

/** Name of each kind, number of its fields, and those of them that are messages in turn. */
const KINDS: Partial<Record<number, { name: EventKindName; fields: number; messages: readonly number[] }>> = {
  5: { name: "executionState", fields: 3, messages: [2] },
  6: { name: "regionState", fields: 2, messages: [] },
  7: { name: "operatorState", fields: 4, messages: [4] },
  8: { name: "operatorStatistics", fields: 12, messages: [] },
  9: { name: "consoleMessage", fields: 4, messages: [] },
  10: { name: "portResult", fields: 12, messages: [1, 8] },
  11: { name: "commandRequested", fields: 2, messages: [1] },
};
/** ExecutionEvent: number, attempt, sequence, occurred_at, and the kinds. */
const SEQUENCE = 3;
const OCCURRED_AT = 4;
const LAST_KIND = 11;

/** The outermost fields of an event. */
interface Envelope {
  sequence: number;
  /** Where its time lies; `timeEnd` is 0 when there is none. */
  timeStart: number;
  timeEnd: number;
  /** Its kind, by field number; 0 when it has none. */
  field: number;
  kindTag: number;
  kindStart: number;
  kindEnd: number;
}

/** Reads an encoded EventBatch of a stream of which everything up to number `after` has been read before. */
export function readEventBatch(bytes: Uint8Array, after: bigint): ReportedBatch {
  if (bytes.length > BATCH_BYTES)
    throw invalid(`A batch of events has ${bytes.length} bytes; send at most ${BATCH_BYTES} at once.`);
  const known = Number(after);
  const cursor = new WireCursor(bytes);
  const fresh: ReportedEvent[] = [];
  let first = 0;
  let count = 0;
  while (cursor.more) {
    const tag = cursor.tag();
    if (tag !== ((1 << 3) | BYTES)) {
      if (tag >>> 3 === 1) throw malformed();
      cursor.skip(tag & 7);
      continue;
    }
    const end = cursor.lengthEnd();
    const start = cursor.at;
    cursor.at = end;
    if (++count > BATCH_EVENTS) throw invalid(`A batch holds at most ${BATCH_EVENTS} events.`);
    const envelope = openEnvelope(bytes, start, end);
    const { sequence } = envelope;
    if (count === 1) first = sequence;
    if (sequence < 1 || sequence !== first + count - 1)
      throw invalid("Events of a batch must carry consecutive sequence numbers from 1.");
    if (end - start > EVENT_BYTES) throw tooLarge(sequence, end - start);
    if (sequence > known && first <= known + 1) fresh.push(readEvent(bytes, start, end, envelope));
  }
  return { first: BigInt(first), count, fresh, bytes: bytes.length };
}

const tooLarge = (sequence: number, bytes: number): AppError =>
  invalid(`Event ${sequence} has ${bytes} bytes; shorten it to ${EVENT_BYTES}, and write the rest to storage.`);

/** Walks over the fields of an event, not into them. */
function openEnvelope(bytes: Uint8Array, start: number, end: number): Envelope {
  const cursor = new WireCursor(bytes, start, end);
  const envelope = { sequence: 0, timeStart: 0, timeEnd: 0, field: 0, kindTag: 0, kindStart: 0, kindEnd: 0 };
  let seen = 0;
  while (cursor.more) {
    const tagAt = cursor.at;
    const tag = cursor.tag();
    const field = tag >>> 3;
    if (field > LAST_KIND) {
      cursor.skip(tag & 7);
      continue;
    }
    if (seen & (1 << field) || (tag & 7) !== (field <= SEQUENCE ? VARINT : BYTES)) throw malformed();
    seen |= 1 << field;
    if (field === SEQUENCE) envelope.sequence = cursor.varint();
    else if (field < SEQUENCE) cursor.skip(VARINT);
    else if (field === OCCURRED_AT) {
      envelope.timeEnd = cursor.lengthEnd();
      envelope.timeStart = cursor.at;
      cursor.at = envelope.timeEnd;
    } else {
      if (envelope.field !== 0) throw invalid("An event says more than one thing; send one event for each.");
      envelope.field = field;
      envelope.kindTag = tagAt;
      envelope.kindEnd = cursor.lengthEnd();
      envelope.kindStart = cursor.at;
      cursor.at = envelope.kindEnd;
    }
  }
  return envelope;
}

function readEvent(bytes: Uint8Array, start: number, end: number, envelope: Envelope): ReportedEvent {
  const { sequence, field, kindStart, kindEnd } = envelope;
  const kind = KINDS[field]?.name;
  if (kind === undefined) throw invalid(`Event ${sequence} says nothing; set one of its kinds.`);
  if (kind === "commandRequested")
    throw invalid(`Event ${sequence} is a command request; only the server writes those.`);
  const occurredAtMicros = envelope.timeEnd === 0 ? undefined : readTime(bytes, envelope.timeStart, envelope.timeEnd);
  if (kind === "consoleMessage") {
    checkConsoleMessage(bytes, kindStart, kindEnd, sequence);
    return { kind, occurredAtMicros, value: undefined, body: bytes.subarray(start, end) };
  }
  const columns = openKind(bytes, envelope);
  const event =
    columns === undefined ? bytes.subarray(start, end) : withoutColumns(bytes, start, end, envelope, columns);
  return { kind, occurredAtMicros, ...decoded(event, kind, sequence) };
}

function decoded(bytes: Uint8Array, kind: EventKindName, sequence: number): Pick<ReportedEvent, "value" | "body"> {
  let value: ExecutionEvent["kind"];
  let body: Uint8Array;
  try {
    const event = ExecutionEvent.decode(bytes);
    value = event.kind;
    body = ExecutionEvent.encode(event).finish();
  } catch (error) {
    throw malformed(error);
  }
  if (value?.$case !== kind) throw malformed();
  // What was not UTF-8 has grown.
  if (body.length > EVENT_BYTES) throw tooLarge(sequence, body.length);
  return { value: value as ReportedEvent["value"], body };
}

/** PortResult.schema. */
const COLUMNS = 6;
interface Span {
  start: number;
  end: number;
}

/** Walks over the fields of a kind (W1, W3); returns where the columns of a port lie, if it names them. */
function openKind(bytes: Uint8Array, { field, kindStart, kindEnd }: Envelope): Span | undefined {
  const { name, fields, messages } = KINDS[field]!;
  const cursor = new WireCursor(bytes, kindStart, kindEnd);
  let seen = 0;
  let columns: Span | undefined;
  while (cursor.more) {
    const start = cursor.at;
    const tag = cursor.tag();
    const number = tag >>> 3;
    const wire = tag & 7;
    if (wire === BYTES && messages.includes(number)) {
      const inner = new WireCursor(bytes, cursor.at, cursor.end);
      const innerEnd = inner.lengthEnd();
      walkOver(bytes, inner.at, innerEnd);
    }
    cursor.skip(wire);
    if (number > fields) continue;
    if (seen & (1 << number)) throw malformed();
    seen |= 1 << number;
    if (number === COLUMNS && name === "portResult") columns = { start, end: cursor.at };
  }
  return columns;
}

/** Of plain fields only. The decoder would go on behind a tag 0 as if the message ended there. */
function walkOver(bytes: Uint8Array, start: number, end: number): void {
  const cursor = new WireCursor(bytes, start, end);
  while (cursor.more) cursor.skip(cursor.tag() & 7);
}

/** The event, but of its port all that stands before and after the columns. */
function withoutColumns(bytes: Uint8Array, start: number, end: number, at: Envelope, columns: Span): Uint8Array {
  const kindBytes = at.kindEnd - at.kindStart - (columns.end - columns.start);
  const length: number[] = [];
  let rest = kindBytes;
  for (; rest > 0x7f; rest >>>= 7) length.push((rest & 0x7f) | 0x80);
  length.push(rest);
  return Buffer.concat([
    bytes.subarray(start, at.kindTag),
    Uint8Array.of((at.field << 3) | BYTES, ...length),
    bytes.subarray(at.kindStart, columns.start),
    bytes.subarray(columns.end, end),
  ]);
}

/** google.protobuf.Timestamp as microseconds. */
function readTime(bytes: Uint8Array, start: number, end: number): number {
  const cursor = new WireCursor(bytes, start, end);
  let seconds = 0;
  let nanos = 0;
  while (cursor.more) {
    const tag = cursor.tag();
    if (tag === ((1 << 3) | VARINT)) seconds = cursor.varint();
    else if (tag === ((2 << 3) | VARINT)) nanos = cursor.varint();
    else if (tag >>> 3 <= 2) throw malformed();
    else cursor.skip(tag & 7);
  }
  // The year 9999 is the last a Timestamp has.
  if (seconds > 253_402_300_799 || nanos > 999_999_999)
    throw invalid("The time of an event is out of range; check the clock.");
  return Math.min(seconds * 1_000_000 + Math.floor(nanos / 1_000), Number.MAX_SAFE_INTEGER);
}

/** ConsoleMessage: its texts are UTF-8 and its numbers numbers (W1). */
function checkConsoleMessage(bytes: Uint8Array, start: number, end: number, sequence: number): void {
  const cursor = new WireCursor(bytes, start, end);
  let seen = 0;
  while (cursor.more) {
    const tag = cursor.tag();
    const number = tag >>> 3;
    if (number > 4) {
      cursor.skip(tag & 7);
      continue;
    }
    const isText = number === 1 || number === 4;
    if (seen & (1 << number) || (tag & 7) !== (isText ? BYTES : VARINT)) throw malformed();
    seen |= 1 << number;
    if (!isText) {
      cursor.skip(VARINT);
      continue;
    }
    const textEnd = cursor.lengthEnd();
    const textBytes = textEnd - cursor.at;
    if (number === 4 && textBytes > CONSOLE_TEXT_BYTES)
      throw invalid(`Event ${sequence} holds ${textBytes} bytes of text; cut a line at ${CONSOLE_TEXT_BYTES}.`);
    if (!isUtf8(bytes.subarray(cursor.at, textEnd)))
      throw invalid(`Event ${sequence} holds text that is not UTF-8; replace what cannot be encoded.`);
    cursor.at = textEnd;
  }
}
