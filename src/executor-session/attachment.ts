// One Attach stream from Hello to its end. The link (link.ts) decides from the end alone what comes next.
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
} from "../contract/postern/v1/execution.js";
import { AppError } from "../core/app-error.js";
import type { AttachFrame, AttachStream } from "./dialer.js";
import { batchFrame } from "./event-encoding.js";
import { isFinal, LiveStream } from "./live-stream.js";
import type { StreamLog } from "./messages.js";
import type { Outbox } from "./outbox.js";
import type { StreamEnd } from "./repeated-ends.js";
import type { TokenHolder } from "./token-holder.js";
import { type TokenRefresh, tokenRefresh } from "./token-refresh.js";

/** How one attachment to the server ended; the link decides from this alone. */
export type AttachmentEnd =
  /** The stream broke, or never came about: attach again after a pause, unless it ends so each time. */
  | ({ kind: "lost" } & StreamEnd)
  /** The replica is stopping, or renews the stream: attach again, to another. */
  | { kind: "drained"; upForMs: number }
  /** The end of the execution is committed. */
  | { kind: "done"; state: ExecutionState }
  /** Token or lease rejected: stop the work, asking again cannot help. */
  | { kind: "refused"; error: AppError }
  /** This executor left by itself. */
  | { kind: "left" };

type Said = NonNullable<AttachRequest["frame"]>;
type Heard = NonNullable<AttachResponse["frame"]>;

export interface AttachmentDeps {
  hello: Hello;
  outbox: Outbox;
  token: TokenHolder;
  /** The server has taken us in; called once per stream, before anything is sent. */
  onWelcome(lastSequence: bigint): void;
  onCommand(command: Command): void;
  /** The manifest, once the run has ended. Whoever makes it so wakes the outbox. */
  manifest(): Manifest | undefined;
  /** Until Welcome tells. */
  leaseMs: number;
  now: () => number;
  /** Milliseconds of a clock that only goes forward. */
  elapsed: () => number;
  log: StreamLog;
}

/** How long the server may owe an answer, in leases. */
const OWED_LEASES = 2;

export class Attachment {
  readonly #deps: AttachmentDeps;
  readonly #live: LiveStream<AttachResponse, AttachFrame, AttachmentEnd>;
  readonly #refresh: TokenRefresh;
  #credit = 0n;
  #welcomedAt: number | undefined;
  #drainTimer: NodeJS.Timeout | undefined;
  #completeSent = false;
  /** What the server had stored at Welcome. */
  #resumedAt = 0n;
  /** Since when the server owes an answer to what was sent. */
  #owedSince = 0;
  #leaseMs: number;
  #leaving = false;

  constructor(deps: AttachmentDeps, stream: AttachStream) {
    this.#deps = deps;
    this.#leaseMs = deps.leaseMs;
    this.#refresh = tokenRefresh({ ...deps, ask: () => this.#say({ $case: "tokenRefresh", value: {} }) });
    this.#live = new LiveStream<AttachResponse, AttachFrame, AttachmentEnd>({
      stream,
      leaseMs: deps.leaseMs,
      elapsed: deps.elapsed,
      take: ({ frame }) => frame && this.#take(frame),
      beat: () => this.#beat(),
      endOf: (error) => this.#endOf(error),
    });
  }

  /** Serves the stream until it ends; `leave` aborts, with an Error as its reason, when this executor is to go. */
  async run(leave: AbortSignal): Promise<AttachmentEnd> {
    const goodbye = () => {
      this.#leaving = true;
      this.#say({ $case: "goodbye", value: { reason: (leave.reason as Error).message } });
      this.#live.leave({ kind: "left" });
    };
    this.#say({ $case: "hello", value: this.#deps.hello });
    if (leave.aborted) goodbye();
    else leave.addEventListener("abort", goodbye, { once: true });
    const writing = this.#write();
    const end = await this.#live.ended;
    leave.removeEventListener("abort", goodbye);
    clearTimeout(this.#drainTimer);
    this.#refresh.stop();
    this.#deps.outbox.wakeup.wake();
    await writing;
    return end;
  }

  /** A command has been carried out, or cannot be. */
  acknowledgeCommand(commandId: string, refused: string): void {
    if (this.#welcomedAt !== undefined) this.#say({ $case: "commandAck", value: { commandId, refused } });
  }

  #say = (frame: Said): Promise<void> => this.#live.say({ frame });

  /** True once Complete was said on this stream; whether the server has heard it is another matter. */
  get completeSent(): boolean {
    return this.#completeSent;
  }

  #lost = (cause: unknown): AttachmentEnd => {
    const owed = this.#completeSent
      ? "Complete"
      : this.#deps.outbox.nothingInFlight
        ? ""
        : `events from ${this.#resumedAt}`;
    return { kind: "lost", upForMs: this.#upForMs(), cause, owed };
  };

  #upForMs = () => (this.#welcomedAt === undefined ? 0 : this.#deps.elapsed() - this.#welcomedAt);

  #endOf(cause: unknown): AttachmentEnd {
    if (this.#leaving) return { kind: "left" };
    // Of the server it means that an older stream of ours still stored something: the next Welcome tells what. Of the
    // outbox it means that the two do not speak of the same events, which no new stream can mend.
    const isOutOfStep = cause instanceof AppError && cause.reason === "UNEXPECTED_SEQUENCE";
    if (cause instanceof AppError && (isOutOfStep ? cause.code === "internal" : isFinal(cause)))
      return { kind: "refused", error: cause };
    return this.#lost(cause);
  }

  #take(frame: Heard): void {
    const { outbox, token, elapsed } = this.#deps;
    switch (frame.$case) {
      case "welcome":
        this.#deps.onWelcome(frame.value.lastSequence);
        this.#resumedAt = frame.value.lastSequence;
        this.#leaseMs = frame.value.leaseMs || this.#leaseMs;
        this.#live.setLease(this.#leaseMs);
        this.#credit = frame.value.credit;
        this.#welcomedAt = elapsed();
        this.#refresh.start();
        outbox.wakeup.wake();
        break;
      case "ack":
        outbox.acknowledge(frame.value.sequence);
        this.#owedSince = elapsed();
        this.#credit = frame.value.credit;
        outbox.wakeup.wake();
        break;
      case "nack":
        outbox.rewind(frame.value.expected);
        break;
      case "command":
        this.#deps.onCommand(frame.value);
        break;
      case "tokenGrant":
        token.replace(frame.value.token);
        this.#refresh.start();
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
    this.#deps.log("info", { graceMs }, "the server ends this stream; attaching elsewhere");
    this.#drainTimer ??= setTimeout(() => this.#live.leave({ kind: "drained", upForMs: this.#upForMs() }), graceMs);
    this.#deps.outbox.wakeup.wake();
  }

  /** Sends events as soon as there are some, one batch at a time, then the manifest. */
  async #write(): Promise<void> {
    const { outbox, elapsed } = this.#deps;
    while (!this.#live.closed) {
      if (this.#drainTimer) {
        if (!this.#completeSent && outbox.nothingInFlight)
          this.#live.leave({ kind: "drained", upForMs: this.#upForMs() });
      } else if (this.#welcomedAt !== undefined && !this.#leaving) {
        if (outbox.nothingInFlight) this.#owedSince = elapsed();
        const events = outbox.nextBatch(this.#credit);
        if (events.length > 0) {
          await this.#live.say(batchFrame(events));
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
    this.#owedSince = this.#deps.elapsed();
    const lastSequence = BigInt(outbox.lastSequence);
    this.#say({ $case: "complete", value: { manifest: { ...manifest, lastSequence } } });
  }

  #beat(): void {
    if (this.#welcomedAt === undefined || this.#leaving) return;
    const owed = this.#completeSent || !this.#deps.outbox.nothingInFlight;
    if (owed && this.#deps.elapsed() - this.#owedSince > this.#leaseMs * OWED_LEASES) {
      const cause = new AppError("deadline", "DEADLINE_EXCEEDED", "The server acknowledges nothing any more.");
      this.#live.drop(this.#lost(cause));
      return;
    }
    this.#say({ $case: "heartbeat", value: { sentAt: new Date(this.#deps.now()) } });
  }
}
