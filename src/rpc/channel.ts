// The client's end of the wire: credentials, channel options, a token and a deadline per call, errors as AppErrors.
import { readFileSync } from "node:fs";
import {
  type CallOptions,
  Channel,
  type ChannelCredentials,
  type ChannelOptions,
  type Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";
import { AppError, invalid } from "../core/app-error.js";
import { type Duplex, incomingMessages, sendMessage } from "./duplex.js";
import { appErrorOf } from "./status.js";

/** Where a server is, and how to be sure that it is the one. Without `tls` the connection is in the clear. */
export interface ServerAddress {
  /** `host:port`. */
  address: string;
  /** PEM files. Without `caFile` the authorities Node trusts; `certFile` and `keyFile` for mutual TLS, both or none. */
  tls?: { caFile?: string; certFile?: string; keyFile?: string };
}

export function channelCredentials({ tls }: ServerAddress): ChannelCredentials {
  if (!tls) return credentials.createInsecure();
  if (!tls.certFile !== !tls.keyFile)
    throw invalid("Mutual TLS takes a certificate file and a key file: name both, or neither.");
  return credentials.createSsl(pem(tls.caFile), pem(tls.keyFile), pem(tls.certFile));
}

function pem(file: string | undefined): Buffer | null {
  if (!file) return null;
  try {
    return readFileSync(file);
  } catch (cause) {
    throw invalid(`${file} cannot be read (${(cause as Error).message}): check its path and permissions.`, cause);
  }
}

const KEEPALIVE: ChannelOptions = {
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 5_000,
};

/** For short calls. The window holds the largest reply there is by default: with 64 KiB each piece waits for the one before. */
export const UNARY_CHANNEL_OPTIONS: ChannelOptions = { ...KEEPALIVE, "grpc-node.flow_control_window": 4 * 1024 * 1024 };

/** For long streams: the retrying call of grpc-js would keep every message ever written. */
export const STREAM_CHANNEL_OPTIONS: ChannelOptions = {
  ...KEEPALIVE,
  "grpc.enable_retries": 0,
  "grpc.keepalive_permit_without_calls": 1,
};

/** A channel for short calls and server streams; whoever opens it closes it. */
export function openChannel(server: ServerAddress): Channel {
  const options = { ...UNARY_CHANNEL_OPTIONS, "grpc.use_local_subchannel_pool": 1 };
  return new Channel(server.address, channelCredentials(server), options);
}

/** Options of a generated client that goes over a channel of its caller's; its address and credentials are the channel's. */
export const over = (channel: Channel) =>
  [channel.getTarget(), credentials.createInsecure(), { channelOverride: channel }] as const;

/** What every call carries when its caller has a token. */
export function bearer(token?: string): Metadata {
  const metadata = new Metadata();
  if (token) metadata.set("authorization", `Bearer ${token}`);
  return metadata;
}

export interface UnaryOptions {
  token?: string;
  /** From now. Default 30 s. */
  deadlineMs?: number;
  /** Cancels the call. */
  signal?: AbortSignal;
}

type UnaryCall<Request, Reply> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, reply: Reply) => void,
) => ClientUnaryCall;

type RequestOf<Method> = Method extends UnaryCall<infer Request, infer _Reply> ? Request : never;
type ReplyOf<Method> = Method extends UnaryCall<infer _Request, infer Reply> ? Reply : never;

/** The unary methods of a generated client. */
export type UnaryMethodName<C> = {
  [Name in Exclude<keyof C, keyof Client>]: C[Name] extends UnaryCall<never, unknown> ? Name : never;
}[Exclude<keyof C, keyof Client>] &
  string;

/** Calls one unary method; rejects with the AppError the server meant. */
export function callUnary<C extends Client, Name extends UnaryMethodName<C>>(
  client: C,
  method: Name,
  request: RequestOf<C[Name]>,
  { token, deadlineMs = 30_000, signal }: UnaryOptions = {},
): Promise<ReplyOf<C[Name]>> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(cancelled(signal));
    const invoke = client[method] as UnaryCall<RequestOf<C[Name]>, ReplyOf<C[Name]>>;
    const call = invoke.call(client, request, bearer(token), { deadline: Date.now() + deadlineMs }, (error, reply) => {
      signal?.removeEventListener("abort", cancel);
      if (!error) resolve(reply);
      else reject(signal?.aborted ? cancelled(signal) : appErrorOf(error, addressOf(client)));
    });
    const cancel = () => call.cancel();
    signal?.addEventListener("abort", cancel, { once: true });
  });
}

const cancelled = (signal: AbortSignal) =>
  signal.reason instanceof AppError
    ? signal.reason
    : new AppError("cancelled", "CANCELLED", "The call was cancelled.", { cause: signal.reason });

const addressOf = (client: Client) =>
  client
    .getChannel()
    .getTarget()
    .replace(/^(dns|ipv4|ipv6|unix):\/*/, "");

/** The client's end of a bidirectional call. */
export interface ClientDuplex<In, Out> extends Duplex<In, Out> {
  /** Says that nothing more will be sent; the server may still answer. */
  end(): void;
  /** Gives the call up in both directions. */
  cancel(): void;
}

/** Wraps a bidirectional call; reading starts at once. `incoming` throws an AppError when the call ends badly. */
export function openDuplex<Out, In>(call: ClientDuplexStream<Out, In>): ClientDuplex<In, Out> {
  const failure = failureOf(call);
  return {
    incoming: incomingMessages<In>(call, failure),
    send: (message) => sendMessage(call, failure, message),
    end: () => void call.end(),
    cancel: () => call.cancel(),
  };
}

/** The replies of a server-streaming call; leaving the iteration cancels it. Throws an AppError when it ends badly. */
export function serverStream<Reply>(call: ClientReadableStream<Reply>): AsyncIterable<Reply> {
  const messages = incomingMessages<Reply>(call, failureOf(call));
  return {
    async *[Symbol.asyncIterator]() {
      try {
        yield* messages;
      } finally {
        call.cancel(); // without effect on a call that has ended
      }
    },
  };
}

/** Hears the call's error, which would end the process otherwise, and keeps it for whoever asks. */
function failureOf(call: ClientReadableStream<unknown> | ClientDuplexStream<unknown, unknown>) {
  let failure: AppError | undefined;
  call.on("error", (error) => {
    failure = appErrorOf(error, call.getPeer());
  });
  return () => failure;
}
