// Service methods as plain async functions. A method never sees grpc-js: unary calls return a promise, server streams
// are async iterables, client streams take one, and bidirectional ones get a Duplex.
//
// H1  Whatever a method throws or rejects with is answered, exactly once, with the status of rpc/status.ts; grpc-js
//     alone would answer a rejection with silence.
// H2  A stream that fails ends by `emit("error", status)`: `destroy` would send no status.
// H3  Once a call is cancelled nothing is answered and nothing is reported: the other side is gone.
import type {
  handleBidiStreamingCall,
  handleClientStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  Metadata,
  MethodDefinition,
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  sendUnaryData,
  UntypedHandleCall,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { type BeginLife, createCallLives, type ServerCall } from "./call-life.js";
import { type Duplex, type Failure, incomingMessages, sendMessage } from "./duplex.js";
import { statusOf } from "./status.js";
import { allReadable, readable } from "./unreadable.js";

/** The methods of one generated `…Server` interface, as a service implements them; Context is what the server adds. */
export type ServiceMethods<Server, Context> = {
  [Name in keyof Server as string extends Name ? never : number extends Name ? never : Name]: Method<
    Server[Name],
    Context
  >;
};

type Method<Handler, Context> =
  Handler extends handleUnaryCall<infer Q, infer R>
    ? (request: Q, context: Context) => Promise<R>
    : Handler extends handleClientStreamingCall<infer Q, infer R>
      ? (requests: AsyncIterable<Q>, context: Context) => Promise<R>
      : Handler extends handleServerStreamingCall<infer Q, infer R>
        ? (request: Q, context: Context) => AsyncIterable<R | Encoded<R>>
        : Handler extends handleBidiStreamingCall<infer Q, infer R>
          ? (stream: Duplex<Q, R>, context: Context) => Promise<void>
          : never;

/** A message that is bytes already: it goes out as it is, so that many streams can share one encoding. */
export type Encoded<Message> = Buffer & { readonly encodes?: Message };

/** One call, as far as a context may depend on it. */
export interface CallInfo {
  /** `/package.Service/Method`. */
  path: string;
  metadata: Metadata;
  /**
   * Aborts, with an AppError as its reason, when the client goes away, its deadline passes or the server stops. Costs
   * something to ask for; a context passes it on as a getter.
   */
  readonly signal: AbortSignal;
}

export interface CallSurroundings<Context> {
  contextOf(call: CallInfo): Context;
  /** Hears of every error that is a fault of ours, whole; callers only read "internal error". */
  onFault(error: unknown, call: CallInfo): void;
  /** Ends what is still running when the server stops waiting; its reason, an AppError, is what callers read. */
  stopped?: AbortSignal;
}

/** The methods as grpc-js wants them. Refuses a method of the definition that has no implementation. */
export function implementation<Server, Context>(
  definition: ServiceDefinition,
  methods: ServiceMethods<Server, Context>,
  surroundings: CallSurroundings<Context>,
): UntypedServiceImplementation {
  const handlers: UntypedServiceImplementation = {};
  const beginLife = createCallLives(surroundings.stopped);
  for (const [name, method] of Object.entries(definition)) {
    const run: unknown = (methods as Record<string, unknown>)[name];
    if (typeof run !== "function") throw new Error(`${method.path} has no implementation: add the method "${name}".`);
    handlers[name] = handler(method, run.bind(methods), beginLife, surroundings);
  }
  return handlers;
}

type Run<Context> = (input: unknown, context: Context) => unknown;
type Fail = (status: ReturnType<typeof statusOf>) => void;

function handler<Context>(
  { requestStream, responseStream, path }: MethodDefinition<unknown, unknown>,
  run: Run<Context>,
  beginLife: BeginLife,
  surroundings: CallSurroundings<Context>,
): UntypedHandleCall {
  /** Runs one call from its first moment to its status. */
  async function serve(
    call: ServerCall,
    answer: (context: Context, failure: Failure) => Promise<void>,
    fail: Fail,
  ): Promise<void> {
    const life = beginLife(call);
    const info: CallInfo = {
      path,
      metadata: call.metadata,
      get signal() {
        return life.signal;
      },
    };
    try {
      await answer(surroundings.contextOf(info), () => life.failure());
    } catch (error) {
      if (life.failure()) return; // H3
      fail(statusOf(life.explain(error), (fault) => surroundings.onFault(fault, info)));
    } finally {
      life.end();
    }
  }

  if (requestStream && responseStream)
    return (call: ServerDuplexStream<unknown, unknown>) =>
      serve(
        call,
        async (context, failure) => {
          const incoming = allReadable(incomingMessages<unknown>(call, failure));
          await run({ incoming, send: (message: unknown) => sendMessage(call, failure, message) }, context);
          call.end();
        },
        (status) => void call.emit("error", status), // H2
      );
  if (responseStream)
    return (call: ServerWritableStream<unknown, unknown>) =>
      serve(
        call,
        async (context, failure) => {
          for await (const reply of run(readable(call.request), context) as AsyncIterable<unknown>)
            await sendMessage(call, failure, reply);
          call.end();
        },
        (status) => void call.emit("error", status), // H2
      );
  if (requestStream)
    return (call: ServerReadableStream<unknown, unknown>, callback: sendUnaryData<unknown>) =>
      serve(
        call,
        async (context, failure) =>
          callback(null, await run(allReadable(incomingMessages<unknown>(call, failure)), context)),
        (status) => callback(status),
      );
  return (call: ServerUnaryCall<unknown, unknown>, callback: sendUnaryData<unknown>) =>
    serve(
      call,
      async (context) => callback(null, await run(readable(call.request), context)),
      (status) => callback(status),
    );
}
