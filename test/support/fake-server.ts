// A server on a real socket that speaks Attach and Serve by their rules, from memory, with faults on request. It checks
// what it is told: a test reads `violations` at the end.
import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import {
  type AttachRequest,
  type AttachResponse,
  CommandKind,
  type EventBatch,
  type ExecutionEvent,
  ExecutionServiceClient,
  ExecutionServiceService,
  type ExecutionSpec,
  ExecutionState,
  type Hello,
  type Manifest,
  type ServeHello,
  type ServeRequest,
  type ServeResponse,
} from "../../src/contract/postern/v1/execution.js";
import { AppError } from "../../src/core/app-error.js";
import { bearer, channelCredentials, openDuplex, STREAM_CHANNEL_OPTIONS } from "../../src/rpc/channel.js";
import { statusOf } from "../../src/rpc/status.js";

type AttachCall = ServerDuplexStream<AttachRequest, AttachResponse>;
type ServeCall = ServerDuplexStream<ServeRequest, ServeResponse>;

/** What to do with a batch of events. */
export type BatchFate =
  | "apply"
  /** As if it had never come: a later batch is Nacked. */
  | "drop"
  /** Stored, but the stream breaks before the Ack. */
  | "store-and-cut"
  /** Not stored, and the stream breaks. */
  | "cut"
  /** Stored, and acknowledged a while later, when other batches have been. */
  | "ack-late";

export interface FakeServerOptions {
  leaseMs?: number;
  /** Events beyond the last stored one. */
  creditWindow?: bigint;
  /** Decides about each batch; `n` counts batches from 1 over all streams. */
  fateOf?(n: number, batch: EventBatch): BatchFate;
  /** True: heartbeats are not answered, on the stream with this number (from 1). */
  isDeaf?(stream: number): boolean;
  /** Called when a stream has said hello; an AppError refuses it. */
  onHello?(stream: number, hello: Hello): AppError | undefined;
  /** True: the stream breaks instead of the answer to Complete; it is stored all the same. */
  loseCompleteAck?(stream: number): boolean;
}

export interface FakeServer {
  address: string;
  /** Events stored, in order. */
  events: ExecutionEvent[];
  hellos: Hello[];
  serveHellos: ServeHello[];
  /** Tokens presented, in order. */
  tokens: string[];
  manifests: Manifest[];
  /** Frames of the pooled executor after its hello. */
  served: NonNullable<ServeRequest["frame"]>[];
  /** What executors sent on Attach beside events and heartbeats. */
  said: NonNullable<AttachRequest["frame"]>[];
  heartbeats: number;
  /** Batches that were not simply applied. */
  faults: number;
  violations: string[];
  assign(spec: ExecutionSpec, token: string): void;
  command(kind: CommandKind): void;
  send(frame: NonNullable<AttachResponse["frame"]>): void;
  sendToPool(frame: NonNullable<ServeResponse["frame"]>): void;
  /** Breaks every open stream, as a lost connection would. */
  cut(): void;
  /** Resolves once the condition holds; looked at whenever anything arrives. */
  until(what: string, condition: () => boolean): Promise<void>;
  /** What an executor opens its streams with. */
  client(): {
    openAttach(token: string): ReturnType<typeof openDuplex<AttachRequest, AttachResponse>>;
    openServe(token: string): ReturnType<typeof openDuplex<ServeRequest, ServeResponse>>;
    close(): void;
  };
  close(): Promise<void>;
}

const LATE_MS = 40;
const BROKEN = { code: status.UNAVAILABLE, details: "the connection broke (by the test)" };

export async function startFakeServer(options: FakeServerOptions = {}): Promise<FakeServer> {
  const { leaseMs = 5_000, creditWindow = 10_000n } = options;
  const events: ExecutionEvent[] = [];
  const hellos: Hello[] = [];
  const serveHellos: ServeHello[] = [];
  const tokens: string[] = [];
  const manifests: Manifest[] = [];
  const served: FakeServer["served"] = [];
  const said: FakeServer["said"] = [];
  const violations: string[] = [];
  const attached = new Set<AttachCall>();
  const pooled = new Set<ServeCall>();
  const waiting = new Set<() => void>();
  let heartbeats = 0;
  let faults = 0;
  let batches = 0;
  let streams = 0;
  let ended = false;

  const look = () => {
    for (const check of waiting) check();
  };
  const tokenOf = (call: AttachCall | ServeCall) =>
    String(call.metadata.get("authorization")[0] ?? "").slice("Bearer ".length);
  const breakOff = (call: AttachCall | ServeCall) => call.emit("error", BROKEN);

  function attach(call: AttachCall): void {
    const stream = ++streams;
    let helloSaid = false;
    const send = (frame: NonNullable<AttachResponse["frame"]>) => call.write({ frame });
    const stored = () => BigInt(events.length);
    const ack = () => send({ $case: "ack", value: { sequence: stored(), credit: stored() + creditWindow } });
    call.on("error", () => attached.delete(call));
    call.on("cancelled", () => attached.delete(call));

    function take(frame: NonNullable<AttachRequest["frame"]>): void {
      if (frame.$case !== "hello" && !helloSaid) violations.push(`${frame.$case} before hello`);
      if (ended && frame.$case !== "heartbeat" && frame.$case !== "hello")
        violations.push(`${frame.$case} after the end`);
      switch (frame.$case) {
        case "hello": {
          helloSaid = true;
          hellos.push(frame.value);
          tokens.push(tokenOf(call));
          const refusal = ended
            ? new AppError("precondition", "ILLEGAL_TRANSITION", "An execution that has ended cannot be attached to.")
            : options.onHello?.(stream, frame.value);
          if (refusal)
            return void call.emit(
              "error",
              statusOf(refusal, () => {}),
            );
          attached.add(call);
          send({
            $case: "welcome",
            value: {
              lastSequence: stored(),
              epoch: 1n,
              leaseMs,
              credit: stored() + creditWindow,
              state: ExecutionState.EXECUTION_STATE_PREPARED,
              serverId: "fake",
            },
          });
          return;
        }
        case "events":
          takeBatch(frame.value);
          return;
        case "heartbeat":
          heartbeats++;
          if (!options.isDeaf?.(stream)) send({ $case: "heartbeat", value: { sentAt: new Date() } });
          return;
        case "complete": {
          said.push(frame);
          const { manifest } = frame.value;
          if (!manifest || manifest.lastSequence !== stored())
            violations.push(`the manifest ends at ${manifest?.lastSequence}, stored are ${stored()}`);
          manifests.push(manifest!);
          ended = true;
          if (options.loseCompleteAck?.(stream)) return void breakOff(call);
          send({ $case: "completeAck", value: { state: manifest!.state } });
          call.end();
          return;
        }
        case "goodbye":
          said.push(frame);
          call.end();
          return;
        default:
          said.push(frame);
      }
    }

    function takeBatch(batch: EventBatch): void {
      const fate = options.fateOf?.(++batches, batch) ?? "apply";
      if (fate !== "apply") faults++;
      const first = batch.events[0]?.sequence ?? 0n;
      if (batch.events.some((e, i) => e.sequence !== first + BigInt(i))) violations.push("a batch with a hole");
      if (fate === "drop") return;
      if (fate === "cut") return void breakOff(call);
      if (first > stored() + 1n) return void send({ $case: "nack", value: { expected: stored() + 1n } });
      for (const event of batch.events) if (event.sequence === stored() + 1n) events.push(event);
      if (fate === "store-and-cut") breakOff(call);
      else if (fate === "apply") ack();
      else setTimeout(() => attached.has(call) && ack(), LATE_MS);
    }

    call.on("data", ({ frame }: AttachRequest) => {
      if (frame) take(frame);
      look();
    });
    call.on("end", () => {
      attached.delete(call);
      call.end();
    });
  }

  function serve(call: ServeCall): void {
    call.on("error", () => pooled.delete(call));
    call.on("cancelled", () => pooled.delete(call));
    call.on("data", ({ frame }: ServeRequest) => {
      if (frame?.$case === "hello") {
        serveHellos.push(frame.value);
        tokens.push(tokenOf(call));
        pooled.add(call);
        call.write({ frame: { $case: "welcome", value: { computingUnitId: "unit", leaseMs, serverId: "fake" } } });
      } else if (frame?.$case === "heartbeat")
        call.write({ frame: { $case: "heartbeat", value: { sentAt: new Date() } } });
      else if (frame) served.push(frame);
      look();
    });
    call.on("end", () => {
      pooled.delete(call);
      call.end();
      look();
    });
  }

  const server = new Server();
  server.addService(ExecutionServiceService, { attach, serve } as unknown as UntypedServiceImplementation);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  const address = `127.0.0.1:${port}`;
  const clients: ExecutionServiceClient[] = [];

  const send: FakeServer["send"] = (frame) => {
    for (const call of attached) call.write({ frame });
  };
  const sendToPool: FakeServer["sendToPool"] = (frame) => {
    for (const call of pooled) call.write({ frame });
  };
  return {
    address,
    events,
    hellos,
    serveHellos,
    tokens,
    manifests,
    served,
    said,
    violations,
    get heartbeats() {
      return heartbeats;
    },
    get faults() {
      return faults;
    },
    send,
    sendToPool,
    assign: (spec, token) => sendToPool({ $case: "assignment", value: { spec, token, attachWithinMs: 5_000 } }),
    command: (kind) =>
      send({ $case: "command", value: { commandId: `command-${CommandKind[kind]}`, kind, reason: "the test asks" } }),
    cut() {
      for (const call of [...attached, ...pooled]) breakOff(call);
    },
    until: (what, condition) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(check);
          reject(new Error(`waited in vain for ${what}`));
        }, 15_000);
        const check = () => {
          if (!condition()) return;
          clearTimeout(timer);
          waiting.delete(check);
          resolve();
        };
        waiting.add(check);
        check();
      }),
    client() {
      const client = new ExecutionServiceClient(address, channelCredentials({ address }), STREAM_CHANNEL_OPTIONS);
      clients.push(client);
      return {
        openAttach: (token) => openDuplex<AttachRequest, AttachResponse>(client.attach(bearer(token))),
        openServe: (token) => openDuplex<ServeRequest, ServeResponse>(client.serve(bearer(token))),
        close: () => client.close(),
      };
    },
    async close() {
      for (const client of clients) client.close();
      server.forceShutdown();
    },
  };
}
