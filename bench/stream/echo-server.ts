// The bare minimum of grpc-js, as a program of its own: what a call or a message costs when nothing is done with it.
import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
} from "@grpc/grpc-js";
import { exitWhenParentDies } from "../../src/process/parent-pipe.js";

export const ECHO_UNARY_PATH = "/bench.Echo/Unary";
export const ECHO_STREAM_PATH = "/bench.Echo/Stream";

const identity = (bytes: Buffer) => bytes;
const method = (path: string, streams: boolean) => ({
  path,
  requestStream: streams,
  responseStream: streams,
  requestSerialize: identity,
  requestDeserialize: identity,
  responseSerialize: identity,
  responseDeserialize: identity,
});

/** As long as an encoded Ack. */
const ACK = Buffer.from([0x12, 0x0a, 0x08, 0x80, 0x80, 0x80, 0x01, 0x10, 0x80, 0x80, 0x80, 0x01]);

/** Serves until SIGTERM. Unary calls return `replyBytes` bytes; each message of a stream gets a message like an Ack. */
export async function main(replyBytes: number): Promise<void> {
  exitWhenParentDies();
  const reply = Buffer.alloc(replyBytes, 1);
  const server = new Server();
  server.addService(
    { unary: method(ECHO_UNARY_PATH, false), stream: method(ECHO_STREAM_PATH, true) },
    {
      unary: (_call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => callback(null, reply),
      stream: (call: ServerDuplexStream<Buffer, Buffer>) => {
        call.on("data", () => call.write(ACK));
        call.on("end", () => call.end());
        call.on("error", () => {}); // the bench cancels its streams when it is done
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  process.once("SIGTERM", () => server.forceShutdown());
  process.stdout.write(`${JSON.stringify({ ready: true, address: `127.0.0.1:${port}` })}\n`);
}
