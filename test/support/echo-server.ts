// A grpc-js server with one made-up service of all four kinds of calls, on loopback; messages are JSON.
import {
  type ChannelOptions,
  Client,
  credentials,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  type Metadata,
  Server,
  ServerCredentials,
} from "@grpc/grpc-js";
import { type CallSurroundings, implementation, type ServiceMethods } from "../../src/rpc/handlers.js";

export interface Note {
  text: string;
}

const serialize = (value: unknown) => Buffer.from(JSON.stringify(value));
const deserialize = (bytes: Buffer): Note => JSON.parse(bytes.toString());

const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test.Echo/${name}`,
  requestStream,
  responseStream,
  requestSerialize: serialize,
  requestDeserialize: deserialize,
  responseSerialize: serialize,
  responseDeserialize: deserialize,
});

export const ECHO = {
  unary: method("Unary", false, false),
  collect: method("Collect", true, false),
  list: method("List", false, true),
  talk: method("Talk", true, true),
};

export interface EchoHandlers {
  unary: handleUnaryCall<Note, Note>;
  collect: handleClientStreamingCall<Note, Note>;
  list: handleServerStreamingCall<Note, Note>;
  talk: handleBidiStreamingCall<Note, Note>;
}

export type EchoMethods = ServiceMethods<EchoHandlers, { signal: AbortSignal }>;

export interface EchoServer {
  address: string;
  client: Client;
  /** Errors reported as faults so far. */
  faults: unknown[];
  stop: AbortController;
  close(): Promise<void>;
}

const unused = (): never => {
  throw new Error("This test does not use the method.");
};

/** Starts a server with these methods and a client connected to it. */
export async function startEchoServer(
  methods: Partial<EchoMethods>,
  options: { client?: ChannelOptions } = {},
): Promise<EchoServer> {
  const faults: unknown[] = [];
  const stop = new AbortController();
  const surroundings: CallSurroundings<{ signal: AbortSignal }> = {
    contextOf: ({ signal }) => ({ signal }),
    onFault: (error) => faults.push(error),
    stopped: stop.signal,
  };
  const server = new Server();
  const all: EchoMethods = { unary: unused, collect: unused, list: unused, talk: unused, ...methods };
  server.addService(ECHO, implementation<EchoHandlers, { signal: AbortSignal }>(ECHO, all, surroundings));
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  const address = `127.0.0.1:${port}`;
  const client = new Client(address, credentials.createInsecure(), options.client);
  return {
    address,
    client,
    faults,
    stop,
    async close() {
      client.close();
      server.forceShutdown();
      await new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
    },
  };
}

/** One unary call; rejects with what grpc-js says. */
export function callEcho(client: Client, text: string, metadata?: Metadata): Promise<Note> {
  return new Promise((resolve, reject) => {
    const { path, requestSerialize, responseDeserialize } = ECHO.unary;
    const done = (error: Error | null, reply?: Note) => (error ? reject(error) : resolve(reply!));
    const options = { deadline: Date.now() + 10_000 };
    if (metadata)
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, { text }, metadata, options, done);
    else client.makeUnaryRequest(path, requestSerialize, responseDeserialize, { text }, options, done);
  });
}

const { requestSerialize, responseDeserialize } = ECHO.talk;

export const openTalk = (client: Client) =>
  client.makeBidiStreamRequest<Note, Note>(ECHO.talk.path, requestSerialize, responseDeserialize);

export const openList = (client: Client, text: string, options = {}) =>
  client.makeServerStreamRequest<Note, Note>(ECHO.list.path, requestSerialize, responseDeserialize, { text }, options);

export const openCollect = (client: Client, done: (error: Error | null, reply?: Note) => void) =>
  client.makeClientStreamRequest<Note, Note>(ECHO.collect.path, requestSerialize, responseDeserialize, done);
