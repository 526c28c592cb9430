// What a watcher gets for one event, in bytes: a WatchExecutionResponse around the stored body.
//
// The body is the event as its sender encoded it. Where it stands in the log is known to the columns alone, so the three
// numbers are appended as fields: of a field that occurs twice a protobuf reader takes the last. Nothing is decoded.
import type { WatchExecutionResponse } from "../contract/postern/v1/execution.js";
import type { Encoded } from "./handlers.js";

/** An event as the log holds it. */
export interface LoggedEvent {
  /** Position in the log, from 1. */
  number: bigint;
  attempt: number;
  /** Number within the attempt; 0 for events of the server. */
  sequence: bigint;
  /** An encoded ExecutionEvent; whatever it says of the three numbers does not count. */
  body: Uint8Array;
}

/** Field number and wire type, as protobuf writes them before a value. */
const RESPONSE_EVENT = (3 << 3) | 2;
const EVENT_NUMBER = 1 << 3;
const EVENT_ATTEMPT = 2 << 3;
const EVENT_SEQUENCE = 3 << 3;

/** Longest varint, in bytes. */
const VARINT = 10;
const scratch = new Uint8Array(3 * (1 + VARINT));

/** The encoded WatchExecutionResponse that tells of one event. */
export function eventFrame({ number, attempt, sequence, body }: LoggedEvent): Encoded<WatchExecutionResponse> {
  scratch[0] = EVENT_NUMBER;
  let end = putVarint(scratch, 1, number);
  scratch[end++] = EVENT_ATTEMPT;
  end = putVarint(scratch, end, BigInt(attempt));
  scratch[end++] = EVENT_SEQUENCE;
  end = putVarint(scratch, end, sequence);
  const eventBytes = body.length + end;
  // Not of a pool: frames are kept for a while, and each would keep alive what it shares its memory with.
  const frame = Buffer.allocUnsafeSlow(1 + varintBytes(eventBytes) + eventBytes);
  frame[0] = RESPONSE_EVENT;
  const bodyAt = putSmallVarint(frame, 1, eventBytes);
  frame.set(body, bodyAt);
  frame.set(scratch.subarray(0, end), bodyAt + body.length);
  return frame;
}

/** Writes a non-negative int64 and returns the position after it. */
function putVarint(into: Uint8Array, at: number, value: bigint): number {
  if (value < 0n) throw new RangeError(`An event's numbers are never negative: ${value}.`);
  let rest = value;
  let position = at;
  while (rest > 0x1f_ffffn) {
    into[position++] = Number(rest & 0x7fn) | 0x80;
    rest >>= 7n;
  }
  return putSmallVarint(into, position, Number(rest));
}

function putSmallVarint(into: Uint8Array, at: number, value: number): number {
  let rest = value;
  let position = at;
  for (; rest > 0x7f; rest >>>= 7) into[position++] = (rest & 0x7f) | 0x80;
  into[position++] = rest;
  return position;
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) bytes++;
  return bytes;
}
