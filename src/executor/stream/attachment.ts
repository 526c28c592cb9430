// One Attach stream from Hello to its end. The session (session.ts) decides from the end alone what comes next.
//
// A1  Nothing but Hello is sent before Welcome; what follows continues the server's last stored number.
// A2  Complete is sent once every event is acknowledged, and again on the next stream if its answer was not heard.
// A3  A server whose heartbeats go on while it acknowledges nothing is as good as gone: the stream is given up and what
//     is unacknowledged is sent on the next.
// A4  After Drain nothing new is sent; the stream is left when what was sent is acknowledged, or when the grace is over.
import type {
  AttachRequest,
  AttachResponse,
  Command,
  ExecutionState,
  Hello,
  Manifest,
} from "../../contract/postern/v1/execution.js";
import { AppError } from "../../core/app-error.js";
import type { Logger } from "../../process/log.js";
import type { ClientDuplex } from "../../rpc/channel.js";
import { isFinal, LiveStream } from "./live-stream.js";
import type { Outbox } from "./outbox.js";
import type { TokenHolder } from "./token-holder.js";

/** How one attachment to the server ended; the session decides from this alone. */
export type AttachmentEnd =
  /** The stream broke, or never came about: attach again after a pause. `upForMs` counts from Welcome. */
  | { kind: "lost"; upForMs: number; cause: unknown }
  /** The replica is stopping: attach again, to another. */
  | { kind: "drained"; upForMs: number }
  /** The end of the execution is committed. */
  | { kind: "done"; state: ExecutionState }
  /** Token or lease rejected: stop the work, asking again cannot help. */
  | { kind: "refused"; error: AppError }
  /** This executor left by itself. */
  | { kind: "left" };

export type AttachStream = ClientDuplex<AttachResponse, AttachRequest>;
type Said = NonNullable<AttachRequest["frame"]>;
type Heard = NonNullable<AttachResponse["frame"]>;

export interface AttachDeps {
  open(token: string): AttachStream;
  hello: Hello;
  outbox: Outbox;
  token: TokenHolder;
  /** The server has taken us in; called once per stream, before anything is sent. */
  onWelcome(lastSequence: bigint): void;
  /** Carries a command out; returns why not, or an empty text. */
  onCommand(command: Command): string;
  /** The manifest, once the run has ended. Whoever makes it so wakes the outbox. */
  manifest(): Manifest | undefined;
  /** Until Welcome tells. */
  leaseMs: number;
  now: () => number;
  log: Logger;
}

/** Attaches and serves the stream until it ends; `leave` aborts when this executor is to go. Never rejects. */
export async function attach(deps: AttachDeps, leave: AbortSignal): Promise<AttachmentEnd> {
  let stream: AttachStream;
  try {
    stream = deps.open(deps.token.current());
  } catch (cause) {
    return { kind: "lost", upForMs: 0, cause };
  }
  return new Attachment(deps, stream).run(leave);
}

const REFRESH_AGAIN_MS = 10_000;
/** How long the server may owe an answer, in leases. */
const OWED_LEASES = 2;

class Attachment {
  readonly #deps: AttachDeps;
  readonly #live: LiveStream<AttachResponse, AttachRequest, AttachmentEnd>;
  #credit = 0n;
  #welcomedAt: number | undefined;
  #drainTimer: NodeJS.Timeout | undefined;
  #completeSent = false;
  /** Since when the server owes an answer to what was sent. */
  #owedSince = 0;
  #leaseMs: number;
  #leaving = false;
  #refreshAskedAt = Number.NEGATIVE_INFINITY;

  constructor(deps: AttachDeps, stream: AttachStream) {
    this.#deps = deps;
    this.#leaseMs = deps.leaseMs;
    this.#live = new LiveStream<AttachResponse, AttachRequest, AttachmentEnd>({
      stream,
      leaseMs: deps.leaseMs,
      now: deps.now,
      take: ({ frame }) => frame && this.#take(frame),
      tick: () => this.#tick(),
      endOf: (error) => this.#endOf(error),
    });
  }

  async run(leave: AbortSignal): Promise<AttachmentEnd> {
    const goodbye = () => {
      const reason = leave.reason instanceof Error ? leave.reason.message : "the executor stops";
      this.#leaving = true;
      this.#say({ $case: "goodbye", value: { reason } });
      this.#live.leave({ kind: "left" });
    };
    this.#say({ $case: "hello", value: this.#deps.hello });
    if (leave.aborted) goodbye();
    else leave.addEventListener("abort", goodbye, { once: true });
    const writing = this.#write();
    const end = await this.#live.ended;
    leave.removeEventListener("abort", goodbye);
    clearTimeout(this.#drainTimer);
    this.#deps.outbox.wakeup.wake();
    await writing;
    return end;
  }

  #say = (frame: Said): Promise<void> => this.#live.say({ frame });

  #upForMs = () => (this.#welcomedAt === undefined ? 0 : this.#deps.now() - this.#welcomedAt);

  #endOf(cause: unknown): AttachmentEnd {
    if (this.#leaving) return { kind: "left" };
    // Of the server it means that an older stream of ours still stored something: the next Welcome tells what. Of the
    // outbox it means that the two do not speak of the same events, which no new stream can mend.
    const isOutOfStep = cause instanceof AppError && cause.reason === "UNEXPECTED_SEQUENCE";
    if (cause instanceof AppError && (isOutOfStep ? cause.code === "internal" : isFinal(cause)))
      return { kind: "refused", error: cause };
    return { kind: "lost", upForMs: this.#upForMs(), cause };
  }

  #take(frame: Heard): void {
    const { outbox, token } = this.#deps;
    switch (frame.$case) {
      case "welcome":
        this.#deps.onWelcome(frame.value.lastSequence);
        this.#leaseMs = frame.value.leaseMs || this.#leaseMs;
        this.#live.setLease(this.#leaseMs);
        this.#credit = frame.value.credit;
        this.#welcomedAt = this.#deps.now();
        outbox.wakeup.wake();
        break;
      case "ack":
        outbox.acknowledge(frame.value.sequence);
        this.#owedSince = this.#deps.now();
        this.#credit = frame.value.credit;
        outbox.wakeup.wake();
        break;
      case "nack":
        outbox.rewind(frame.value.expected);
        break;
      case "command": {
        const refused = this.#deps.onCommand(frame.value);
        this.#say({ $case: "commandAck", value: { commandId: frame.value.commandId, refused } });
        break;
      }
      case "tokenGrant":
        token.replace(frame.value.token);
        break;
      case "drain":
        this.#drain(frame.value.graceMs);
        break;
      case "completeAck":
        this.#live.leave({ kind: "done", state: frame.value.state });
        break;
      case "heartbeat":
        break;
    }
  }

  #drain(graceMs: number): void {
    this.#deps.log.info({ graceMs }, "the server is stopping; attaching elsewhere");
    this.#drainTimer ??= setTimeout(() => this.#live.leave({ kind: "drained", upForMs: this.#upForMs() }), graceMs);
    this.#deps.outbox.wakeup.wake();
  }

  /** Sends events as soon as there are some, one batch at a time, then the manifest. */
  async #write(): Promise<void> {
    const { outbox } = this.#deps;
    while (!this.#live.closed) {
      if (this.#drainTimer) {
        if (!this.#completeSent && outbox.nothingInFlight)
          this.#live.leave({ kind: "drained", upForMs: this.#upForMs() });
      } else if (this.#welcomedAt !== undefined && !this.#leaving) {
        if (outbox.nothingInFlight) this.#owedSince = this.#deps.now();
        const events = outbox.nextBatch(this.#credit);
        if (events.length > 0) {
          await this.#say({ $case: "events", value: { events } });
          continue;
        }
        this.#completeWhenReady();
      }
      await outbox.wakeup.wait();
    }
  }

  #completeWhenReady(): void {
    const { outbox } = this.#deps;
    const manifest = this.#deps.manifest();
    if (!manifest || this.#completeSent || !outbox.allSent || !outbox.nothingInFlight) return;
    this.#completeSent = true;
    this.#owedSince = this.#deps.now();
    this.#say({ $case: "complete", value: { manifest: { ...manifest, lastSequence: outbox.lastSequence } } });
  }

  #tick(): void {
    if (this.#welcomedAt === undefined || this.#leaving) return;
    const now = this.#deps.now();
    const owed = this.#completeSent || !this.#deps.outbox.nothingInFlight;
    if (owed && now - this.#owedSince > this.#leaseMs * OWED_LEASES) {
      const cause = new AppError("deadline", "DEADLINE_EXCEEDED", "The server acknowledges nothing any more.");
      this.#live.drop({ kind: "lost", upForMs: this.#upForMs(), cause });
      return;
    }
    this.#say({ $case: "heartbeat", value: { sentAt: new Date(now) } });
    if (now < this.#deps.token.refreshAt() || now - this.#refreshAskedAt < REFRESH_AGAIN_MS) return;
    this.#refreshAskedAt = now;
    this.#say({ $case: "tokenRefresh", value: {} });
  }
}
