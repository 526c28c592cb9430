// One Attach stream of the fake server: takes what the executor says into the ledger and answers it by the protocol,
// except where a fault is asked for.
//
// F1  Once a stream is over, or frozen, nothing on it is heard or said any more.
// F2  A newer stream of the same execution ends the older ones (STREAM_SUPERSEDED), as a server does.
import type { ServerDuplexStream } from "@grpc/grpc-js";
import {
  type AttachRequest,
  type AttachResponse,
  type Complete,
  type EventBatch,
  ExecutionState,
  type Hello,
} from "../contract/postern/v1/execution.js";
import { AppError, illegalTransition } from "../core/app-error.js";
import { statusOf } from "../rpc/status.js";
import type { Later } from "./later.js";
import type { AttachFrame, Ledger, StreamRecord } from "./ledger.js";

export type AttachCall = ServerDuplexStream<AttachRequest, AttachResponse>;
export type AttachReply = NonNullable<AttachResponse["frame"]>;

/** What to do with a batch of events. */
export type BatchFate =
  | "apply"
  /** As if it had never come: a later batch is Nacked. */
  | "drop"
  /** As if the one before had never come: Nacked at once. */
  | "nack"
  /** Stored, but the stream breaks before the Ack. */
  | "store-and-cut"
  /** Not stored, and the stream breaks. */
  | "cut"
  /** Stored, and acknowledged a while later, when other batches have been. */
  | "ack-late"
  /** Stored, and acknowledged twice, the second time together with an older number. */
  | "ack-twice";

/** What to do with a Complete. */
export type CompleteFate =
  | "apply"
  /** Not stored, and the stream breaks. */
  | "cut"
  /** Stored, but the stream breaks before the CompleteAck. */
  | "store-and-cut";

export interface AttachOptions {
  leaseMs: number;
  /** Events beyond the last stored one. */
  creditWindow: bigint;
  /** Wait so long with Welcome. */
  welcomeAfterMs: number;
  /** Decides about each batch; `n` counts batches from 1 over all streams. */
  fateOf(n: number, batch: EventBatch): BatchFate;
  /** Decides about each Complete; `n` counts from 1 over all streams. */
  completeFateOf(n: number): CompleteFate;
  /** True: heartbeats are not answered, on the stream with this number (from 1). */
  isDeaf(stream: number): boolean;
  /** Called when a stream has said hello; an AppError refuses it. */
  onHello(stream: number, hello: Hello): AppError | undefined;
}

/** What the streams of one server share. */
export interface AttachWorld {
  ledger: Ledger;
  options: AttachOptions;
  attached: Set<FakeAttach>;
  /** What executors sent beside events and heartbeats. */
  said: AttachFrame[];
  counts: { heartbeats: number; faults: number; batches: number; completes: number };
  /** Level that credit does not exceed for now. */
  creditLimit: bigint | undefined;
  later: Later;
  /** Something has happened. */
  look(): void;
}

const LATE_MS = 40;

export class FakeAttach {
  readonly record: StreamRecord;
  readonly #world: AttachWorld;
  readonly #call: AttachCall;
  #over = false;
  #frozen = false;

  constructor(world: AttachWorld, call: AttachCall, token: string) {
    this.#world = world;
    this.#call = call;
    this.record = world.ledger.open(token);
    for (const event of ["error", "cancelled"]) call.on(event, () => this.#end());
    call.on("data", ({ frame }: AttachRequest) => {
      if (frame && !this.#over && !this.#frozen) this.#take(frame);
      world.look();
    });
    call.on("end", () => {
      this.#end();
      call.end();
    });
  }

  send(frame: AttachReply): void {
    if (!this.#over && !this.#frozen) this.#call.write({ frame });
  }

  /** Says how far is stored, and how far the executor may go. */
  ack(sequence = this.#world.ledger.stored): void {
    const credit = this.#credit();
    this.#world.ledger.granted(this.record, credit);
    this.send({ $case: "ack", value: { sequence, credit } });
  }

  /** Ends the stream with an error. */
  fail(error: AppError): void {
    if (this.#over) return;
    this.#world.ledger.refused(this.record, error);
    this.#end();
    this.#call.emit(
      "error",
      statusOf(error, () => {}),
    );
  }

  /** Half-open: the connection stays, and nothing is read or answered any more. */
  freeze(): void {
    this.#frozen = true;
    this.#call.pause();
  }

  /** Reads nothing for a while. */
  pauseReading(forMs: number): void {
    this.#call.pause();
    this.#world.later.after(forMs, () => this.#call.resume());
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.record.endedAt = performance.now();
    this.#world.attached.delete(this);
    this.#world.look();
  }

  #credit(): bigint {
    const { ledger, options, creditLimit } = this.#world;
    const level = ledger.stored + options.creditWindow;
    return creditLimit !== undefined && creditLimit < level ? creditLimit : level;
  }

  #take(frame: AttachFrame): void {
    const { ledger, counts, said, options } = this.#world;
    if (!ledger.heard(this.record, frame)) return;
    switch (frame.$case) {
      case "hello":
        return void this.#takeHello(frame.value);
      case "events":
        return void this.#takeBatch(frame.value);
      case "heartbeat":
        counts.heartbeats++;
        if (!options.isDeaf(this.record.number)) this.send({ $case: "heartbeat", value: { sentAt: new Date() } });
        return;
      case "complete":
        said.push(frame);
        return void this.#takeComplete(frame.value);
      case "goodbye":
        said.push(frame);
        this.#call.end();
        return;
      default:
        said.push(frame);
    }
  }

  #takeHello(hello: Hello): void {
    const { ledger, options, later, attached } = this.#world;
    ledger.helloSaid(this.record, hello);
    const refusal = ledger.ended
      ? illegalTransition(endStateOf(ledger), "attached to")
      : options.onHello(this.record.number, hello);
    if (refusal) return void this.fail(refusal);
    for (const older of attached) if (older.record.hello?.executionId === hello.executionId) older.fail(SUPERSEDED); // F2
    attached.add(this);
    if (options.welcomeAfterMs > 0) later.after(options.welcomeAfterMs, () => this.#welcome());
    else this.#welcome();
  }

  #welcome(): void {
    if (this.#over) return;
    const { ledger, options, look } = this.#world;
    const credit = this.#credit();
    ledger.welcomed(this.record, credit);
    this.send({
      $case: "welcome",
      value: {
        lastSequence: ledger.stored,
        epoch: 1n,
        leaseMs: options.leaseMs,
        credit,
        state: ExecutionState.EXECUTION_STATE_PREPARED,
        serverId: "fake",
      },
    });
    look();
  }

  #takeBatch(batch: EventBatch): void {
    const { ledger, options, counts, later } = this.#world;
    ledger.batchSaid(this.record, batch);
    const fate = options.fateOf(++counts.batches, batch);
    if (fate !== "apply") counts.faults++;
    const before = ledger.stored;
    const isGap = (batch.events[0]?.sequence ?? 0n) > before + 1n;
    if (fate === "drop") return;
    if (fate === "cut") return void this.fail(BROKEN);
    if (isGap || fate === "nack") {
      ledger.nacked(this.record, before + 1n);
      return void this.send({ $case: "nack", value: { expected: before + 1n } });
    }
    ledger.store(batch);
    if (fate === "store-and-cut") return void this.fail(BROKEN);
    if (fate === "ack-late") return void later.after(LATE_MS, () => this.ack());
    this.ack();
    if (fate === "ack-twice") {
      this.ack(before);
      this.ack();
    }
  }

  #takeComplete({ manifest }: Complete): void {
    const { ledger, options, counts } = this.#world;
    ledger.completeSaid(manifest);
    const fate = options.completeFateOf(++counts.completes);
    if (fate === "cut") return void this.fail(BROKEN);
    ledger.ended = true;
    if (fate === "store-and-cut") return void this.fail(BROKEN);
    this.send({ $case: "completeAck", value: { state: manifest?.state ?? 0 } });
    this.#call.end();
  }
}

/** As a server names it. */
const endStateOf = ({ manifests }: Ledger) =>
  ExecutionState[manifests.at(-1)?.state ?? 0]!.replace("EXECUTION_STATE_", "");

export const BROKEN = new AppError("unavailable", "UNAVAILABLE", "The connection broke, on purpose.");
const SUPERSEDED = new AppError(
  "unavailable",
  "STREAM_SUPERSEDED",
  "This executor opened a newer stream for the attempt; go on with that one.",
);
