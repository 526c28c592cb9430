// What an executor says on Attach, decoded no further than the server needs: a batch of events stays bytes until its
// session reads it (event-batch.ts), because whole events are stored and handed on as they came.
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import type { handleBidiStreamingCall, ServiceDefinition } from "@grpc/grpc-js";
import {
  AttachRequest,
  type AttachResponse,
  type ExecutionServiceServer,
  ExecutionServiceService,
} from "../contract/postern/v1/execution.js";

type Said = NonNullable<AttachRequest["frame"]>;

/** One message of an executor; of `events` the encoded EventBatch. */
export interface ExecutorMessage {
  /** Undefined: one this release does not know. */
  frame: Exclude<Said, { $case: "events" }> | { $case: "events"; value: Uint8Array } | undefined;
}

/** AttachRequest.events, and its tag: length-delimited. */
const EVENTS = 2;
const EVENTS_TAG = (EVENTS << 3) | WireType.LengthDelimited;
/** The last field of AttachRequest's one choice. */
const LAST_FRAME = 7;

/** Reads one AttachRequest. Throws when the bytes are none. */
export function decodeExecutorMessage(bytes: Buffer): ExecutorMessage {
  const events = soleEvents(bytes);
  return events ? { frame: { $case: "events", value: events } } : decodeMixed(bytes);
}

/** The last frame counts; events beside others stay bytes too, or a message could cost many times its size. */
function decodeMixed(bytes: Buffer): ExecutorMessage {
  const reader = new BinaryReader(bytes);
  const others: Uint8Array[] = [];
  let events: Uint8Array | undefined;
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const [field, wire] = reader.tag();
    if (field === EVENTS && wire === WireType.LengthDelimited) {
      events = reader.bytes();
      continue;
    }
    reader.skip(wire, field);
    if (field > LAST_FRAME || field === EVENTS) continue;
    others.push(bytes.subarray(start, reader.pos));
    events = undefined;
  }
  if (events) return { frame: { $case: "events", value: events } };
  const { frame } = AttachRequest.decode(Buffer.concat(others));
  if (frame?.$case === "events") throw new Error("There are no events among the other frames.");
  return { frame };
}

/** The events field, when it is all there is in the message, as every encoder writes it. */
function soleEvents(bytes: Buffer): Uint8Array | undefined {
  if (bytes[0] !== EVENTS_TAG) return undefined;
  let length = 0;
  for (let at = 1, shift = 0; at < Math.min(bytes.length, 6); at++, shift += 7) {
    const byte = bytes[at]!;
    length += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) return at + 1 + length === bytes.length ? bytes.subarray(at + 1) : undefined;
  }
  return undefined;
}

/** Generated interfaces also allow any other name, and `Omit` would leave nothing but that. */
type Named<T> = { [Name in keyof T as string extends Name ? never : number extends Name ? never : Name]: T[Name] };

/** ExecutionService as the server implements it. */
export type ExecutionServer = Omit<Named<ExecutionServiceServer>, "attach"> & {
  attach: handleBidiStreamingCall<ExecutorMessage, AttachResponse>;
};

/** Its definition, with the decoding above. */
export const executionDefinition: ServiceDefinition = {
  ...ExecutionServiceService,
  attach: { ...ExecutionServiceService.attach, requestDeserialize: decodeExecutorMessage },
};
