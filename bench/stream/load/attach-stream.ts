// One Attach stream of a bench: says Hello by itself, then sends bytes that were encoded before.
import { Client, type ClientDuplexStream, credentials } from "@grpc/grpc-js";
import { AttachRequest, AttachResponse, ExecutionServiceService } from "../../../src/contract/postern/v1/execution.js";
import { bearer, STREAM_CHANNEL_OPTIONS } from "../../../src/rpc/channel.js";

/** An execution to attach to. */
export interface Assigned {
  executionId: string;
  token: string;
}

export interface AttachOptions extends Assigned {
  client: Client;
  planDigest: string;
  onAck?(sequence: number): void;
  onHeartbeat?(): void;
  onDrain?(): void;
  /** The stream ended although nobody closed it. */
  onBroken(error: Error): void;
}

export interface AttachStream {
  /** The transport asks to wait until `onDrain`. */
  full: boolean;
  /** Highest sequence sent, acknowledged, and allowed. */
  sent: number;
  acked: number;
  credit: number;
  leaseMs: number;
  /** Hands an encoded AttachRequest over; false when it is better to wait for `onDrain`. */
  write(frame: Buffer): boolean;
  heartbeat(): void;
  close(): void;
}

const { path } = ExecutionServiceService.attach;
const identity = (bytes: Buffer) => bytes;

/** A channel; with `own` it shares its connection with no other client of this process. */
export const streamClient = (address: string, { own }: { own: boolean }): Client =>
  new Client(address, credentials.createInsecure(), {
    ...STREAM_CHANNEL_OPTIONS,
    ...(own ? { "grpc.use_local_subchannel_pool": 1 } : {}),
  });

/** Attaches; resolves at Welcome. */
export function openAttachStream(options: AttachOptions): Promise<AttachStream> {
  const { client, token, executionId, planDigest } = options;
  const call: ClientDuplexStream<Buffer, AttachResponse> = client.makeBidiStreamRequest(
    path,
    identity,
    AttachResponse.decode,
    bearer(token),
    {},
  );
  let closed = false;
  const stream: AttachStream = {
    full: false,
    sent: 0,
    acked: 0,
    credit: 0,
    leaseMs: 0,
    write: (frame) => call.write(frame),
    heartbeat: () => void call.write(HEARTBEAT),
    close() {
      closed = true;
      call.cancel();
    },
  };
  return new Promise((resolve, reject) => {
    const broken = (error: Error) => {
      if (closed) return;
      reject(error);
      options.onBroken(error);
    };
    call.on("error", broken);
    call.on("end", () => broken(new Error("The server ended the stream.")));
    call.on("drain", () => {
      stream.full = false;
      options.onDrain?.();
    });
    call.on("data", ({ frame }: AttachResponse) => {
      if (frame?.$case === "ack") {
        stream.credit = Number(frame.value.credit);
        stream.acked = Number(frame.value.sequence);
        options.onAck?.(stream.acked);
      } else if (frame?.$case === "heartbeat") options.onHeartbeat?.();
      else if (frame?.$case === "welcome") {
        stream.sent = stream.acked = Number(frame.value.lastSequence);
        stream.credit = Number(frame.value.credit);
        stream.leaseMs = frame.value.leaseMs;
        resolve(stream);
      } else if (frame?.$case === "nack") broken(new Error(`Nack: the server expects ${frame.value.expected}.`));
    });
    call.write(hello({ executionId, planDigest }));
  });
}

const HEARTBEAT = encoded({ $case: "heartbeat", value: { sentAt: new Date() } });

const hello = ({ executionId, planDigest }: { executionId: string; planDigest: string }): Buffer =>
  encoded({
    $case: "hello",
    value: {
      protocolVersion: 1,
      executionId,
      attempt: 1,
      executorId: "bench",
      software: "bench",
      planDigest,
      sandboxLayers: [],
      languages: [],
    },
  });

function encoded(frame: NonNullable<AttachRequest["frame"]>): Buffer {
  return Buffer.from(AttachRequest.encode({ frame }).finish());
}
