// One execution as the program that runs it sees it: what it says is numbered and encoded here, gathered for the rest of
// the turn, and handed to the outbox in one piece; what it must hear comes back by message.
//
// N1  Nothing is handed over beyond the room the outbox has told: `report` waits, in order, and `offer` says no.
// N2  A command is handled once, in the order they came, whenever the handler is set.
// N3  After the end nothing waits for ever: who reports is told why, and the signal has aborted unless all was reported.
import type { Command, ExecutionSpec, Manifest } from "../contract/postern/v1/execution.js";
import { AppError } from "../core/app-error.js";
import { type EventKind, encodeEvent, joinEvents } from "./event-encoding.js";
import { encodeManifest } from "./manifest-size.js";
import type { Port, SessionNumber, ToStreams } from "./messages.js";
import { OUTBOX_LIMITS, type OutboxLimits, type Room } from "./outbox.js";
import type { ExecutorSession, SessionEnd } from "./session-api.js";

export interface SessionDeps {
  number: SessionNumber;
  spec: ExecutionSpec;
  port: Pick<Port<ToStreams, never>, "post">;
  limits: Partial<OutboxLimits>;
  /** Number of the last event of this attempt that the server has. */
  lastSequence: number;
  room: Room;
  token: string;
}

interface Waiting {
  kind: EventKind;
  resolve(): void;
  reject(error: Error): void;
}

/** Share of the limits that events which must not be dropped keep for themselves. */
const RESERVED = 1 / 10;
/** What gathers at most before it is handed over within a turn. */
const GATHERED = { events: 256, bytes: 64 * 1024 };

export class Session implements ExecutorSession {
  readonly spec: ExecutionSpec;
  readonly signal: AbortSignal;
  readonly ended: Promise<SessionEnd>;
  readonly #deps: SessionDeps;
  readonly #limits: OutboxLimits;
  readonly #stop = new AbortController();
  #resolveEnded: (end: SessionEnd) => void = () => {};
  /** Why nothing can be said any more. */
  #over: AppError | undefined;
  #completing = false;
  #token: string;
  #lastSequence: number;
  #room: Room;
  readonly #said = { events: 0, bytes: 0 };
  #waiting: Waiting[] = [];
  #allSaid: () => void = () => {};
  #gathered: Uint8Array[] = [];
  #gatheredBytes = 0;
  #handler: ((command: Command) => string | Promise<string>) | undefined;
  #commands: Command[] = [];

  constructor(deps: SessionDeps) {
    this.#deps = deps;
    this.spec = deps.spec;
    this.signal = this.#stop.signal;
    this.#limits = { ...OUTBOX_LIMITS, ...deps.limits };
    this.#lastSequence = deps.lastSequence;
    this.#room = deps.room;
    this.#token = deps.token;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  async report(kind: EventKind): Promise<void> {
    this.#refuseAfterEnd();
    if (this.#waiting.length === 0 && this.#hasRoom(0)) return this.#say(kind);
    return new Promise<void>((resolve, reject) => this.#waiting.push({ kind, resolve, reject }));
  }

  offer(kind: EventKind): boolean {
    if (this.#over || this.#completing || this.#waiting.length > 0 || !this.#hasRoom(RESERVED)) return false;
    this.#say(kind);
    return true;
  }

  onCommand(handler: (command: Command) => string | Promise<string>): void {
    this.#handler = handler;
    for (const command of this.#commands.splice(0)) void this.#handle(command);
  }

  async complete(manifest: Manifest): Promise<SessionEnd> {
    if (this.#over || this.#completing) return this.ended;
    const { executionId, attempt } = this.spec;
    const bytes = encodeManifest({ ...manifest, executionId, attempt });
    this.#completing = true;
    if (this.#waiting.length > 0)
      await new Promise<void>((resolve) => {
        this.#allSaid = resolve;
      });
    if (this.#over) return this.ended;
    this.#handOver();
    this.#deps.port.post({ kind: "complete", session: this.#deps.number, manifest: bytes });
    return this.ended;
  }

  async leave(reason: string): Promise<void> {
    this.#handOver();
    this.#deps.port.post({ kind: "leave", session: this.#deps.number, reason });
    await this.ended;
  }

  token(): string {
    return this.#token;
  }

  /** The stream has been granted a fresh one. */
  setToken(token: string): void {
    this.#token = token;
  }

  /** The outbox has room up to an absolute level. */
  setRoom(room: Room): void {
    this.#room = room;
    while (this.#waiting.length > 0 && this.#hasRoom(0)) {
      const { kind, resolve, reject } = this.#waiting.shift()!;
      try {
        this.#say(kind);
        resolve();
      } catch (error) {
        reject(error as Error);
      }
    }
    if (this.#waiting.length === 0) this.#allSaid();
  }

  takeCommand(command: Command): void {
    if (this.#handler) void this.#handle(command);
    else this.#commands.push(command);
  }

  /** N3 */
  end(end: SessionEnd): void {
    if (this.#over) return;
    this.#over = whyOver(end);
    this.#gathered = [];
    for (const { reject } of this.#waiting.splice(0)) reject(this.#over);
    this.#allSaid();
    this.#resolveEnded(end);
    if (end.kind !== "reported") this.#stop.abort(this.#over);
  }

  #refuseAfterEnd(): void {
    if (this.#over) throw this.#over;
    if (this.#completing)
      throw new AppError("precondition", "ILLEGAL_TRANSITION", "Nothing can be said after the last report has begun.");
  }

  #hasRoom(reserved: number): boolean {
    return (
      this.#said.events < this.#room.events - this.#limits.events * reserved &&
      this.#said.bytes < this.#room.bytes - this.#limits.bytes * reserved
    );
  }

  #say(kind: EventKind): void {
    const sequence = this.#lastSequence + 1;
    const bytes = encodeEvent({ attempt: this.spec.attempt, sequence, occurredAt: new Date(), kind });
    this.#lastSequence = sequence;
    this.#said.events++;
    this.#said.bytes += bytes.length;
    if (this.#gathered.length === 0) setImmediate(() => this.#handOver());
    this.#gathered.push(bytes);
    this.#gatheredBytes += bytes.length;
    if (this.#gathered.length >= GATHERED.events || this.#gatheredBytes >= GATHERED.bytes) this.#handOver();
  }

  #handOver(): void {
    if (this.#gathered.length === 0) return;
    const bytes = joinEvents(this.#gathered);
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#deps.port.post({ kind: "events", session: this.#deps.number, bytes }, [bytes.buffer]);
  }

  async #handle(command: Command): Promise<void> {
    const { commandId } = command;
    let refused: string;
    try {
      refused = await this.#handler!(command);
    } catch (error) {
      refused = `the executor failed to do it: ${error instanceof Error ? error.message : String(error)}`;
    }
    if (!this.#over) this.#deps.port.post({ kind: "commandDone", session: this.#deps.number, commandId, refused });
  }
}

function whyOver(end: SessionEnd): AppError {
  switch (end.kind) {
    case "refused":
    case "lost":
      return end.error;
    case "left":
      return new AppError("cancelled", "CANCELLED", "This executor gave the execution up.");
    case "reported":
      return new AppError("precondition", "ILLEGAL_TRANSITION", "The execution has been reported; it is over.");
  }
}
