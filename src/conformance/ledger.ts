// What the executor of one execution has said over all its Attach streams, held against the rules of the protocol.
//
// G1  Hello is the first frame of a stream, and each Hello of a process names the same execution, attempt and executor.
// G2  Nothing of substance follows Hello before Welcome.
// G3  Events continue each other without holes, after Welcome and Nack from the number these name.
// G4  An event that is sent again is the same event.
// G5  No event has a number beyond the credit.
// G6  Complete comes after the last event and names it; when it is repeated it is the same. Nothing follows it.
// G7  After a refusal that no new stream can change, the executor does not come back.
import {
  type AttachRequest,
  type EventBatch,
  ExecutionEvent,
  type Hello,
  Manifest,
} from "../contract/postern/v1/execution.js";
import type { AppError } from "../core/app-error.js";

export type AttachFrame = NonNullable<AttachRequest["frame"]>;

/** One Attach stream. Times are in milliseconds of a monotonic clock. */
export interface StreamRecord {
  /** From 1, in the order they were opened. */
  number: number;
  token: string;
  hello?: Hello;
  welcomedAt?: number;
  /** When a frame arrived, heartbeats among them. */
  heardAt: number[];
  endedAt?: number;
  /** Number the next event must have. */
  next: bigint;
  /** Nothing was sent since Welcome. */
  fresh: boolean;
  /** Nacks not yet obeyed, by the number they named. */
  nacked: Map<bigint, number>;
  /** Levels of credit; one that was lowered counts a while longer, for what was on its way. */
  credits: { level: bigint; validUntil: number }[];
}

/** How long events may still arrive that were sent before a lower credit was heard. */
const CREDIT_GRACE_MS = 1_000;
/** Reasons after which asking again cannot help. */
const FINAL_REASONS = ["STALE_LEASE", "ILLEGAL_TRANSITION"];

export class Ledger {
  /** Stored events, in order. */
  readonly events: ExecutionEvent[] = [];
  readonly hellos: Hello[] = [];
  readonly manifests: Manifest[] = [];
  readonly streams: StreamRecord[] = [];
  /** Sentences: what the executor did and what it must do instead. */
  readonly violations: string[] = [];
  /** Set once the end of the execution is stored. */
  ended = false;
  #refusal: { reason: string; token: string } | undefined;
  readonly #contents = new Map<bigint, Buffer>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  get stored(): bigint {
    return BigInt(this.events.length);
  }

  open(token: string): StreamRecord {
    const stream: StreamRecord = {
      number: this.streams.length + 1,
      token,
      heardAt: [],
      next: 1n,
      fresh: true,
      nacked: new Map(),
      credits: [],
    };
    this.streams.push(stream);
    return stream;
  }

  /** Looks at a frame before anything is done about it; false when it cannot be taken at all (G1, G2, G6). */
  heard(stream: StreamRecord, frame: AttachFrame): boolean {
    stream.heardAt.push(this.#now());
    const what = NAMES[frame.$case];
    if (frame.$case === "hello") {
      if (stream.hello) this.#violation(`Hello was said twice on stream ${stream.number}: it is the first frame only.`);
      return !stream.hello;
    }
    if (!stream.hello)
      this.#violation(`${what} came before Hello on stream ${stream.number}: Hello is the first frame.`);
    else if (stream.welcomedAt === undefined && frame.$case !== "heartbeat" && frame.$case !== "goodbye")
      this.#violation(`${what} came before Welcome on stream ${stream.number}: wait for it after Hello.`);
    else if (this.ended && frame.$case !== "heartbeat")
      this.#violation(`${what} came after the end was stored: Complete is the last word.`);
    return stream.hello !== undefined;
  }

  /** G1, G7. */
  helloSaid(stream: StreamRecord, hello: Hello): void {
    const [first] = this.hellos;
    stream.hello = hello;
    this.hellos.push(hello);
    if (first)
      for (const field of ["executionId", "attempt", "executorId"] as const)
        if (hello[field] !== first[field])
          this.#violation(
            `Hello ${this.hellos.length} has ${FIELDS[field]} ${hello[field]}, the first had ${first[field]}: it stays the same in every reconnect.`,
          );
    const refusal = this.#refusal;
    if (refusal && (FINAL_REASONS.includes(refusal.reason) || refusal.token === stream.token))
      this.#violation(
        `The executor attached again after it was refused with ${refusal.reason}: stop the work instead.`,
      );
  }

  refused(stream: StreamRecord, { reason, code }: AppError): void {
    if (FINAL_REASONS.includes(reason) || code === "unauthenticated") this.#refusal = { reason, token: stream.token };
  }

  welcomed(stream: StreamRecord, credit: bigint): void {
    stream.welcomedAt = this.#now();
    stream.next = this.stored + 1n;
    this.granted(stream, credit);
  }

  granted(stream: StreamRecord, level: bigint): void {
    const now = this.#now();
    const earlier = stream.credits.filter((credit) => credit.level > level && credit.validUntil > now);
    for (const credit of earlier) credit.validUntil = Math.min(credit.validUntil, now + CREDIT_GRACE_MS);
    stream.credits = [...earlier, { level, validUntil: Number.POSITIVE_INFINITY }];
  }

  nacked(stream: StreamRecord, expected: bigint): void {
    stream.nacked.set(expected, (stream.nacked.get(expected) ?? 0) + 1);
  }

  /** G3, G4, G5. */
  batchSaid(stream: StreamRecord, { events }: EventBatch): void {
    const first = events[0]?.sequence;
    if (first === undefined) return;
    const { next } = stream;
    const nacks = stream.nacked.get(first) ?? 0;
    if (first !== next && nacks > 0) stream.nacked.set(first, nacks - 1);
    // Gone back for a Nack, it may leave out what was acknowledged meanwhile.
    else if (first !== next && !(first > next && first <= this.stored + 1n)) this.#violation(unexpected(stream, first));
    const hole = events.findIndex((event, i) => event.sequence !== first + BigInt(i));
    if (hole > 0)
      this.#violation(
        `A batch holds event ${events[hole]!.sequence} right after ${events[hole - 1]!.sequence}: send them in order, without holes.`,
      );
    stream.next = first + BigInt(events.length);
    stream.fresh = false;
    this.#checkCredit(stream, stream.next - 1n);
    for (const event of events) this.#checkContent(event);
  }

  /** Stores what continues the stored events; what is stored already is left out. */
  store({ events }: EventBatch): void {
    for (const event of events) if (event.sequence === this.stored + 1n) this.events.push(event);
  }

  /** G6. */
  completeSaid(manifest: Manifest | undefined): void {
    if (!manifest) return void this.#violation("Complete came without a manifest.");
    if (manifest.lastSequence !== this.stored)
      this.#violation(
        `The manifest names ${manifest.lastSequence} as last_sequence, but ${this.stored} events are stored: send Complete once every event is acknowledged, with the last one's number.`,
      );
    const earlier = this.manifests.at(-1);
    if (earlier && !Buffer.from(Manifest.encode(earlier).finish()).equals(Manifest.encode(manifest).finish()))
      this.#violation("Complete was repeated with another manifest: repeat the same one, byte for byte.");
    this.manifests.push(manifest);
  }

  #checkCredit({ credits, number }: StreamRecord, last: bigint): void {
    const now = this.#now();
    const levels = credits.filter(({ validUntil }) => validUntil > now).map(({ level }) => level);
    const highest = levels.reduce((a, b) => (a > b ? a : b), 0n);
    if (last > highest)
      this.#violation(
        `Event ${last} was sent on stream ${number} with a credit of ${highest}: wait until the credit reaches its number.`,
      );
  }

  #checkContent(event: ExecutionEvent): void {
    const bare = { ...event, number: 0n, attempt: 0, occurredAt: undefined };
    const content = Buffer.from(ExecutionEvent.encode(bare).finish());
    const known = this.#contents.get(event.sequence);
    if (known && !known.equals(content))
      this.#violation(
        `Event ${event.sequence} was sent again with another content: keep what is not acknowledged, and send it again as it was.`,
      );
    this.#contents.set(event.sequence, known ?? content);
  }

  #violation(sentence: string): void {
    this.violations.push(sentence);
  }
}

function unexpected({ fresh, next, number }: StreamRecord, first: bigint): string {
  if (fresh)
    return `Stream ${number} began with event ${first}, but its Welcome told that ${next - 1n} are stored: go on with event ${next}.`;
  if (first > next) return `Event ${first} came where ${next} was due: events have no holes.`;
  return `Event ${first} was sent again on stream ${number}, where nobody had asked for it: send again after Nack, or on the next stream.`;
}

const FIELDS = { executionId: "execution_id", attempt: "attempt", executorId: "executor_id" } as const;

const NAMES: Record<AttachFrame["$case"], string> = {
  hello: "Hello",
  events: "EventBatch",
  heartbeat: "Heartbeat",
  commandAck: "CommandAck",
  tokenRefresh: "TokenRefresh",
  complete: "Complete",
  goodbye: "Goodbye",
};
