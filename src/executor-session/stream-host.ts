// The half of the link that holds the streams: it does what the sessions' half asks (messages.ts) and tells what
// happens. It runs on a thread of its own, or beside the sessions.
//
// H1  A sessions' half that gives no sign of life for the stall limit is given up: everything is given back to the
//     server, so that another executor can go on. Only time in which this half itself ran counts.
import { Command, ExecutionSpec, Manifest, type ServeHello } from "../contract/postern/v1/execution.js";
import { AppError } from "../core/app-error.js";
import { createDialer, type Dialer } from "./dialer.js";
import { Link } from "./link.js";
import {
  type FromStreams,
  type LinkedExecution,
  type LogLevel,
  type Port,
  packEnd,
  packError,
  type SessionNumber,
  type StreamOptions,
  type ToStreams,
} from "./messages.js";
import { OUTBOX_LIMITS, type Room } from "./outbox.js";
import { serve } from "./serve.js";
import { openSpillFiles, type SpillFiles } from "./spill-files.js";

export const PROTOCOL_VERSION = 1;

/** Room is told again when it has grown by this share of the limits. */
const ROOM_STEP = 1 / 8;
const PINGS_PER_LIMIT = 8;
const LONGEST_PING_MS = 5_000;
/** How long to wait for the file of the serve token, when the sessions' half is busy. */
const TOKEN_WITHIN_MS = 500;

interface OpenLink {
  link: Link;
  /** The room last told. */
  told: Room;
  /** Set when it was given up because the sessions' half did not answer. */
  stalled?: AppError;
  /** The work of a served execution is over. */
  release(): void;
  released: Promise<void>;
}

/** Starts the half at one end of the line; throws AppError when the options cannot be used. */
export function startStreamHost(options: StreamOptions, port: Port<FromStreams, ToStreams>): void {
  const host = new StreamHost(options, port);
  port.listen((message) => host.take(message));
}

class StreamHost {
  readonly #options: StreamOptions;
  readonly #port: Port<FromStreams, ToStreams>;
  readonly #dialer: Dialer;
  readonly #spill: SpillFiles | undefined;
  readonly #links = new Map<SessionNumber, OpenLink>();
  #stopServing = new AbortController();
  #serving: Promise<void> | undefined;
  #served: SessionNumber = 1;
  #giveToken: (token: string | undefined) => void = () => {};
  #pinging: NodeJS.Timeout | undefined;
  #unanswered = 0;

  constructor(options: StreamOptions, port: Port<FromStreams, ToStreams>) {
    this.#options = options;
    this.#port = port;
    this.#dialer = createDialer(options.servers);
    this.#spill = options.spill && openSpillFiles({ ...options.spill, log: this.#log });
    if (options.stallLimitMs > 0) this.#watch(options.stallLimitMs);
  }

  take(message: ToStreams): void {
    switch (message.kind) {
      case "attach":
        this.#attach(message);
        break;
      case "events":
        this.#links.get(message.session)?.link.append(message.bytes);
        break;
      case "complete":
        this.#links.get(message.session)?.link.complete(Manifest.decode(message.manifest));
        break;
      case "commandDone":
        this.#links.get(message.session)?.link.commandDone(message.commandId, message.refused);
        break;
      case "leave":
        this.#links.get(message.session)?.link.leave(message.reason);
        break;
      case "released":
        this.#links.get(message.session)?.release();
        break;
      case "serve":
        this.#stopServing = new AbortController();
        this.#serving = this.#serve(message, this.#stopServing.signal);
        break;
      case "serveToken":
        this.#giveToken(message.token);
        break;
      case "stopServing":
        this.#stopServing.abort();
        break;
      case "pong":
        this.#unanswered = 0;
        break;
      case "close":
        void this.#close();
        break;
    }
  }

  #log = (level: LogLevel, fields: Record<string, unknown>, message: string): void => {
    const { err, ...others } = fields;
    this.#port.post({
      kind: "log",
      level,
      fields: err === undefined ? fields : { ...others, err: plain(err) },
      message,
    });
  };

  #attach({ session, spec, token }: Extract<ToStreams, { kind: "attach" }>): void {
    const open = this.#open(session, spec, token, (lastSequence, room) =>
      this.#port.post({ kind: "welcome", session, lastSequence, room }),
    );
    void open.link.ended.then(() => this.#links.delete(session));
  }

  #open(
    session: SessionNumber,
    spec: LinkedExecution,
    token: string,
    onWelcome: (lastSequence: number, room: Room) => void,
  ): OpenLink {
    const { executionId, attempt } = spec;
    const { executorId, software, sandboxLayers, languages, outbox } = this.#options;
    const link = new Link(
      {
        dialer: this.#dialer,
        hello: { protocolVersion: PROTOCOL_VERSION, executorId, software, sandboxLayers, languages },
        outbox,
        spill: this.#spill,
        onWelcome: (lastSequence, room) => {
          open.told = room;
          onWelcome(lastSequence, room);
        },
        onCommand: (command) =>
          this.#port.post({ kind: "command", session, command: Command.encode(command).finish() }),
        onRoom: (room) => this.#tellRoom(session, room),
        onToken: (fresh) => this.#port.post({ kind: "token", session, token: fresh }),
        now: Date.now,
        elapsed: () => performance.now(),
        log: (level, fields, message) => this.#log(level, { executionId, attempt, ...fields }, message),
      },
      spec,
      token,
    );
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const open: OpenLink = { link, told: { events: 0, bytes: 0 }, release, released };
    this.#links.set(session, open);
    void link.ended.then((end) => {
      const told = end.kind === "left" && open.stalled ? ({ kind: "lost", error: open.stalled } as const) : end;
      this.#port.post({ kind: "ended", session, end: packEnd(told) });
    });
    return open;
  }

  #tellRoom(session: SessionNumber, room: Room): void {
    const open = this.#links.get(session);
    if (!open) return;
    const { events, bytes } = { ...OUTBOX_LIMITS, ...this.#options.outbox };
    if (room.events - open.told.events < events * ROOM_STEP && room.bytes - open.told.bytes < bytes * ROOM_STEP) return;
    open.told = room;
    this.#port.post({ kind: "room", session, room });
  }

  async #serve({ token, slots, graceMs }: Extract<ToStreams, { kind: "serve" }>, stop: AbortSignal): Promise<void> {
    const { executorId, software, sandboxLayers, languages, labels } = this.#options;
    const hello: ServeHello = {
      protocolVersion: PROTOCOL_VERSION,
      executorId,
      software,
      slots,
      labels,
      sandboxLayers,
      languages,
    };
    const end = await serve(
      {
        dialer: this.#dialer,
        hello,
        token,
        readToken: () => this.#readToken(),
        graceMs,
        onWelcome: (computingUnitId) => this.#port.post({ kind: "serveWelcome", computingUnitId }),
        start: (spec, executionToken) => this.#startServed(spec, executionToken),
        leaveAll: (reason) => this.#leaveAll(reason),
        now: Date.now,
        elapsed: () => performance.now(),
        log: this.#log,
      },
      stop,
    );
    if (stop.reason instanceof AppError) this.#port.post({ kind: "stalled", error: packError(stop.reason) });
    else this.#port.post({ kind: "served", end: packEnd(end) });
  }

  async #startServed(spec: ExecutionSpec, token: string): Promise<void> {
    const session = this.#served;
    this.#served += 2;
    let isAssigned = false;
    const open = this.#open(session, spec, token, (lastSequence, room) => {
      isAssigned = true;
      const bytes = ExecutionSpec.encode(spec).finish();
      this.#port.post({ kind: "assigned", session, spec: bytes, token, lastSequence, room });
    });
    await open.link.ended;
    // The slot is free when the work has ended too: it may hold memory and processes until then.
    if (isAssigned) await open.released;
    this.#links.delete(session);
  }

  #readToken(): Promise<string | undefined> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(undefined), TOKEN_WITHIN_MS);
      this.#giveToken = (token) => {
        clearTimeout(timer);
        resolve(token);
      };
      this.#port.post({ kind: "serveTokenWanted" });
    });
  }

  #leaveAll(reason: string): void {
    for (const { link } of this.#links.values()) link.leave(reason);
  }

  /** H1 */
  #watch(stallLimitMs: number): void {
    const everyMs = Math.min(LONGEST_PING_MS, stallLimitMs / PINGS_PER_LIMIT);
    this.#pinging = setInterval(() => {
      if (this.#unanswered * everyMs >= stallLimitMs) return this.#giveUp(stallLimitMs);
      this.#unanswered++;
      this.#port.post({ kind: "ping" });
    }, everyMs).unref();
  }

  #giveUp(stallLimitMs: number): void {
    this.#unanswered = 0;
    const message = `The executor's main thread has not answered for ${Math.round(stallLimitMs / 1000)} s.`;
    const error = new AppError("deadline", "DEADLINE_EXCEEDED", message);
    this.#log("error", { executions: this.#links.size }, `${message} Its executions are given back.`);
    this.#stopServing.abort(error);
    for (const open of this.#links.values()) {
      open.stalled = error;
      open.link.leave(message);
      open.release();
    }
  }

  async #close(): Promise<void> {
    clearInterval(this.#pinging);
    this.#stopServing.abort();
    this.#leaveAll("the executor stops");
    for (const { release } of this.#links.values()) release();
    await Promise.all([this.#serving, ...[...this.#links.values()].map(({ link }) => link.ended)]);
    this.#dialer.close();
    await this.#spill?.close();
    this.#port.post({ kind: "closed" });
  }
}

/** What can cross to another thread, and says the same. */
function plain(error: unknown): unknown {
  if (error instanceof AppError) return packError(error);
  return error instanceof Error ? { message: error.message, stack: error.stack } : String(error);
}
