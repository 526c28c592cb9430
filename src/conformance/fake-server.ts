// A server on a real socket that speaks Attach and Serve by their rules, from memory, with faults on request. It serves
// one execution, checks what it is told (ledger.ts), and keeps what was said for whoever asks.
import { Server, ServerCredentials, type UntypedServiceImplementation } from "@grpc/grpc-js";
import {
  type CommandKind,
  type ExecutionEvent,
  ExecutionServiceService,
  type ExecutionSpec,
  type Hello,
  type Manifest,
  type ServeHello,
} from "../contract/postern/v1/execution.js";
import type { AppError } from "../core/app-error.js";
import {
  type AttachCall,
  type AttachOptions,
  type AttachReply,
  type AttachWorld,
  BROKEN,
  FakeAttach,
} from "./fake-attach.js";
import { FakeServe, type ServeCall, type ServeFrame, type ServeReply, type ServeWorld } from "./fake-serve.js";
import { createLater } from "./later.js";
import { type AttachFrame, Ledger, type StreamRecord } from "./ledger.js";

export interface FakeServerOptions extends Partial<AttachOptions> {
  /** Level that credit does not exceed until `limitCredit`. */
  creditLimit?: bigint;
  /** Adds services of its caller's to the server, before it listens. */
  alsoServe?(server: Server): void;
  /** Looks at the token of each new stream; an AppError refuses it. */
  checkToken?(token: string, of: "attach" | "serve"): AppError | undefined;
}

export interface FakeServer {
  /** `host:port`; the same after a restart. */
  address: string;
  /** Events stored, in order. */
  events: ExecutionEvent[];
  hellos: Hello[];
  serveHellos: ServeHello[];
  /** Tokens of streams that said hello, in order. */
  tokens: string[];
  manifests: Manifest[];
  /** Frames of the pooled executor after its hello, without heartbeats. */
  served: ServeFrame[];
  /** When it sent heartbeats on Serve, in milliseconds of a monotonic clock. */
  serveHeartbeats: number[];
  /** What the executor sent on Attach beside hello, events and heartbeats. */
  said: AttachFrame[];
  /** Every Attach stream that was opened. */
  streams: StreamRecord[];
  heartbeats: number;
  /** Batches that were not simply applied. */
  faults: number;
  /** What the executor did against the rules, as sentences. */
  violations: string[];
  assign(spec: ExecutionSpec, token: string): void;
  command(kind: CommandKind, commandId: string): void;
  send(frame: AttachReply): void;
  sendToPool(frame: ServeReply): void;
  /** Changes the level that credit does not exceed, and tells it; undefined lifts it. */
  limitCredit(level: bigint | undefined): void;
  /** Breaks every open stream, as a lost connection would. */
  cut(): void;
  /** Breaks every open Serve stream. */
  cutPool(): void;
  /** Ends every open Attach stream with an error. */
  refuse(error: AppError): void;
  /** Leaves the open Attach streams half-open: nothing is read or answered on them any more. */
  freeze(): void;
  /** Reads nothing from the open Attach streams for a while. */
  pauseReading(forMs: number): void;
  /** Stops listening for a while, with every connection reset; what is stored stays. */
  restart(downMs: number): Promise<void>;
  /** Calls back whenever anything has happened, until the returned function is called. */
  onChange(look: () => void): () => void;
  close(): Promise<void>;
}

const DEFAULTS: AttachOptions = {
  leaseMs: 5_000,
  creditWindow: 10_000n,
  welcomeAfterMs: 0,
  fateOf: () => "apply",
  completeFateOf: () => "apply",
  isDeaf: () => false,
  onHello: () => undefined,
};

export async function startFakeServer(options: FakeServerOptions = {}): Promise<FakeServer> {
  const ledger = new Ledger(() => performance.now());
  const later = createLater();
  const lookers = new Set<() => void>();
  const tokens: string[] = [];
  const look = () => {
    for (const one of lookers) one();
  };
  const settings = { ...DEFAULTS, ...options };
  const refusalOf = (token: string, of: "attach" | "serve") => {
    tokens.push(token);
    return options.checkToken?.(token, of);
  };
  const world: AttachWorld = {
    ledger,
    options: {
      ...settings,
      onHello: (stream, hello) =>
        refusalOf(ledger.streams[stream - 1]!.token, "attach") ?? settings.onHello(stream, hello),
    },
    attached: new Set(),
    said: [],
    counts: { heartbeats: 0, faults: 0, batches: 0, completes: 0 },
    creditLimit: options.creditLimit,
    later,
    look,
  };
  const pool = servePool(settings.leaseMs, ledger.violations, look);

  async function listen(port: number): Promise<{ server: Server; port: number }> {
    const server = new Server();
    const attach = (call: AttachCall) => void new FakeAttach(world, call, tokenOf(call));
    const serve = (call: ServeCall) =>
      void new FakeServe({ ...pool, onServeHello: () => refusalOf(tokenOf(call), "serve") }, call);
    server.addService(ExecutionServiceService, { attach, serve } as unknown as UntypedServiceImplementation);
    options.alsoServe?.(server);
    const bound = await new Promise<number>((resolve, reject) =>
      server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, actual) =>
        error ? reject(error) : resolve(actual),
      ),
    );
    return { server, port: bound };
  }

  let listening = await listen(0);
  const eachAttach = (work: (stream: FakeAttach) => void) => {
    for (const stream of [...world.attached]) work(stream);
  };
  const sendToPool: FakeServer["sendToPool"] = (frame) => {
    for (const stream of pool.pooled) stream.send(frame);
  };
  const cutPool = () => {
    for (const stream of [...pool.pooled]) stream.fail(BROKEN);
  };
  const send: FakeServer["send"] = (frame) => eachAttach((stream) => stream.send(frame));
  return {
    address: `127.0.0.1:${listening.port}`,
    events: ledger.events,
    hellos: ledger.hellos,
    serveHellos: pool.serveHellos,
    tokens,
    manifests: ledger.manifests,
    served: pool.served,
    serveHeartbeats: pool.serveHeartbeats,
    said: world.said,
    streams: ledger.streams,
    violations: ledger.violations,
    get heartbeats() {
      return world.counts.heartbeats;
    },
    get faults() {
      return world.counts.faults;
    },
    send,
    sendToPool,
    assign: (spec, token) => sendToPool({ $case: "assignment", value: { spec, token, attachWithinMs: 5_000 } }),
    command: (kind, commandId) =>
      send({ $case: "command", value: { commandId, kind, reason: "the fake server asks" } }),
    limitCredit(level) {
      world.creditLimit = level;
      eachAttach((stream) => stream.ack());
    },
    cut() {
      eachAttach((stream) => stream.fail(BROKEN));
      cutPool();
    },
    cutPool,
    refuse: (error) => eachAttach((stream) => stream.fail(error)),
    freeze: () => eachAttach((stream) => stream.freeze()),
    pauseReading: (forMs) => eachAttach((stream) => stream.pauseReading(forMs)),
    async restart(downMs) {
      listening.server.forceShutdown();
      await new Promise<void>((resolve) => later.after(downMs, resolve));
      listening = await listen(listening.port);
    },
    onChange(one) {
      lookers.add(one);
      return () => lookers.delete(one);
    },
    async close() {
      later.clear();
      listening.server.forceShutdown();
    },
  };
}

const servePool = (leaseMs: number, violations: string[], look: () => void): Omit<ServeWorld, "onServeHello"> => ({
  leaseMs,
  serveHellos: [],
  served: [],
  serveHeartbeats: [],
  pooled: new Set(),
  violations,
  look,
});

const tokenOf = (call: AttachCall | ServeCall) =>
  String(call.metadata.get("authorization")[0] ?? "").slice("Bearer ".length);
