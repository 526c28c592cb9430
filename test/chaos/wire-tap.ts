// Reads along on a connection between an executor and a server, without touching a byte: which Attach streams there are,
// and what the server says on them. What it has seen the server send is what the server has promised.
//
// HTTP/2 frames are taken apart only as far as needed: headers are compressed and passed over; what a stream is, its
// first message tells.
import { AttachRequest, AttachResponse, type Hello } from "../../src/contract/postern/v1/execution.js";

/** What the tap tells; `stream` is the same object for one stream. */
export interface TapListener {
  said(stream: TappedStream, frame: NonNullable<AttachResponse["frame"]>): void;
  /** The executor has sent something after its Hello. */
  spoke(stream: TappedStream): void;
  /** The stream is over, in whichever way. */
  ended(stream: TappedStream): void;
}

export interface TappedStream {
  executionId: string;
  attempt: number;
  executorId: string;
}

const PREFACE_BYTES = 24;
const FRAME_HEADER_BYTES = 9;
const DATA = 0;
const HEADERS = 1;
const RST_STREAM = 3;
const END_STREAM = 1;

export interface WireTap {
  /** Bytes the executor has sent. */
  up(bytes: Buffer): void;
  /** Bytes the server has sent. */
  down(bytes: Buffer): void;
  /** The connection is gone. */
  close(): void;
}

export function createWireTap(listener: TapListener): WireTap {
  const hellos = new Map<number, (bytes: Buffer) => void>();
  const attached = new Map<number, { stream: TappedStream; read: (bytes: Buffer) => void }>();

  function hear(id: number, message: Buffer): void {
    const hello = helloIn(message);
    if (!hello) return;
    const { executionId, attempt, executorId } = hello;
    const stream: TappedStream = { executionId, attempt, executorId };
    const read = messagesOf((reply) => {
      const { frame } = AttachResponse.decode(reply);
      if (frame) listener.said(stream, frame);
    });
    attached.set(id, { stream, read });
  }

  function end(id: number): void {
    const known = attached.get(id);
    attached.delete(id);
    if (known) listener.ended(known.stream);
  }

  const up = framesOf(PREFACE_BYTES, ({ type, id }, payload) => {
    if (type === RST_STREAM) end(id);
    if (type !== DATA) return;
    let read = hellos.get(id);
    if (!read) {
      let first = true;
      read = messagesOf((message) => {
        if (first) hear(id, message);
        first = false;
      });
      hellos.set(id, read);
    }
    // Only the first message says what a stream is.
    const known = attached.get(id);
    if (known) listener.spoke(known.stream);
    else read(payload);
  });
  const down = framesOf(0, ({ type, flags, id }, payload) => {
    if (type === DATA) attached.get(id)?.read(payload);
    if (type === RST_STREAM || ((type === HEADERS || type === DATA) && (flags & END_STREAM) !== 0)) {
      end(id);
      hellos.delete(id);
    }
  });
  return {
    up,
    down,
    close: () => {
      for (const id of [...attached.keys()]) end(id);
      hellos.clear();
    },
  };
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The Hello of an Attach stream; a Serve stream's looks alike, but names no execution. */
function helloIn(message: Buffer): Hello | undefined {
  try {
    const { frame } = AttachRequest.decode(message);
    return frame?.$case === "hello" && UUID.test(frame.value.executionId) ? frame.value : undefined;
  } catch {
    return undefined; // a message of another call
  }
}

interface FrameHeader {
  type: number;
  flags: number;
  id: number;
}

/** Cuts bytes into HTTP/2 frames after `skip` bytes. */
function framesOf(skip: number, take: (header: FrameHeader, payload: Buffer) => void): (bytes: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  let toSkip = skip;
  return (bytes) => {
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    if (toSkip > 0) {
      const skipped = Math.min(toSkip, rest.length);
      rest = rest.subarray(skipped);
      toSkip -= skipped;
    }
    while (rest.length >= FRAME_HEADER_BYTES) {
      const length = rest.readUIntBE(0, 3);
      if (rest.length < FRAME_HEADER_BYTES + length) return;
      const header = { type: rest[3]!, flags: rest[4]!, id: rest.readUInt32BE(5) & 0x7fffffff };
      const payload = rest.subarray(FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + length);
      rest = rest.subarray(FRAME_HEADER_BYTES + length);
      take(header, payload);
    }
  };
}

/** Cuts the data of a stream into gRPC messages: a flag, four bytes of length, the message. */
function messagesOf(take: (message: Buffer) => void): (bytes: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (bytes) => {
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    while (rest.length >= 5) {
      const length = rest.readUInt32BE(1);
      if (rest.length < 5 + length) return;
      const message = rest.subarray(5, 5 + length);
      rest = rest.subarray(5 + length);
      take(message);
    }
  };
}
