// A client-streaming call: messages written as fast as the server takes them, then its one reply.
import type { ClientWritableStream, Metadata, ServiceError } from "@grpc/grpc-js";
import { bearer } from "../rpc/channel.js";
import { sendMessage } from "../rpc/duplex.js";
import { appErrorOf } from "../rpc/status.js";
import type { Connection } from "./connection.js";

/** Sends every message and resolves to the reply; a source that fails cancels the call. */
export async function clientStream<Request, Reply>(
  open: (metadata: Metadata, done: (error: ServiceError | null, reply: Reply) => void) => ClientWritableStream<Request>,
  messages: AsyncIterable<Request>,
  { address, token }: Pick<Connection, "address" | "token">,
): Promise<Reply> {
  const metadata = bearer(await token());
  const { promise: reply, resolve, reject } = withResolvers<Reply>();
  const call = open(metadata, (error, value) => {
    if (error) reject(appErrorOf(error, address.address));
    else resolve(value);
  });
  reply.catch(() => {}); // it is awaited below; it may fail while we still write
  // When the stream is gone, the reply says why.
  const send = (message: Request) => sendMessage(call, () => undefined, message).catch(() => reply);
  try {
    for await (const message of messages) await Promise.race([send(message), reply]);
  } catch (error) {
    call.cancel();
    throw error;
  }
  call.end();
  return reply;
}

function withResolvers<T>() {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}
