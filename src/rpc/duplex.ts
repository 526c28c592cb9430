// A grpc-js stream as an async iterable in and awaited writes out, the same on both sides of the wire.
//
// X1  Reading starts at once and stops at the stream's own mark (16 messages): an unread stream holds no more.
// X2  Messages that arrived before the end are delivered before it, whether it is good or bad.
// X3  Leaving the iteration early, or input that ends, never destroys the stream: the other direction may have more to
//     say (grpc-js would lose the last reply and the status).
//
// What cannot be told apart: a client on Node that cancels says "end" first and "cancelled" a moment later. Where half
// an input would do harm, the protocol itself must say how much is to come.
import type { Readable, Writable } from "node:stream";

/** Both directions of one stream: `incoming` ends when the other side is done; `send` waits while it is slow. */
export interface Duplex<In, Out> {
  /** One consumer; a second iteration goes on where the first stopped. Throws when the call ends badly. */
  incoming: AsyncIterable<In>;
  /** Resolves when the transport has taken the message; rejects once the stream is gone. */
  send(message: Out): Promise<void>;
}

/** Why a stream is gone, as its user shall see it; undefined while it is not. Set before the stream's own event. */
export type Failure = () => Error | undefined;

const CHANGES = ["error", "close", "cancelled"];

/** The messages of a stream, read as the consumer asks for them. */
export function incomingMessages<In>(stream: Readable, failure: Failure): AsyncIterable<In> {
  let ended = false;
  let wake = () => {};
  const look = () => wake();
  stream.on("readable", look); // this starts the reading (X1)
  for (const event of CHANGES) stream.on(event, look);
  stream.on("end", () => {
    ended = true;
    wake();
  });
  const next = async (): Promise<IteratorResult<In, undefined>> => {
    for (;;) {
      const message: In | null = stream.read();
      if (message !== null) return { done: false, value: message };
      const error = failure();
      if (error) throw error;
      if (ended || stream.destroyed) return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return { [Symbol.asyncIterator]: () => ({ next, return: async () => ({ done: true, value: undefined }) }) };
}

/** Hands one message to the transport, and waits while the other side is slow. */
export async function sendMessage(stream: Writable, failure: Failure, message: unknown): Promise<void> {
  refuseIfGone(stream, failure);
  if (stream.write(message)) return;
  await roomOrEnd(stream);
  refuseIfGone(stream, failure);
}

/** However many wait on a stream, it has one set of listeners. */
const waiting = new WeakMap<Writable, Promise<void>>();

function roomOrEnd(stream: Writable): Promise<void> {
  const known = waiting.get(stream);
  if (known) return known;
  const events = ["drain", ...CHANGES];
  const changed = new Promise<void>((resolve) => {
    const settle = () => {
      for (const event of events) stream.off(event, settle);
      waiting.delete(stream);
      resolve();
    };
    for (const event of events) stream.on(event, settle);
  });
  waiting.set(stream, changed);
  return changed;
}

function refuseIfGone(stream: Writable, failure: Failure): void {
  const error = failure();
  if (error) throw error;
  if (stream.destroyed || stream.writableEnded)
    throw new Error("The stream has ended; nothing more can be sent on it.");
}
