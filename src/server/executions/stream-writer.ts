// One attached stream as the group commit sees it: what was received and is not stored yet, in order.
//
// V1  Numbers of an attempt have no holes: a batch that was applied is dropped, an overlap applies its tail, a gap is
//     refused with the number expected (S1).
// V2  What leaves for a commit stays here until the commit is known: when its outcome is in doubt it is offered again,
//     and the stored sequence number tells how much of it was applied.

import type { AppError } from "../../core/app-error.js";
import { LIVE_STATES, mayMove, sourcesOf } from "../../core/execution-state.js";
import type { StreamFence } from "../repositories/execution-leases.js";
import type { StreamStep } from "../repositories/stream-writes.js";
import type { ReportedBatch, ReportedEvent } from "./event-batch.js";
import { type EventEffects, joinEffects } from "./event-effects.js";

/** Told when a commit that concerns the stream is done. */
export interface StreamListener {
  /** Everything up to `lastSequence` is committed (S2). */
  stored(lastSequence: bigint): void;
  /** The lease has been extended on request. */
  alive(): void;
  /** The fence, the state or the sequence forbids it: nothing more will be stored. */
  refused(error: AppError): void;
}

/** What became of a batch. */
export type Taken = { kind: "queued" } | { kind: "duplicate" } | { kind: "gap"; expected: bigint };

interface Part {
  events: ReportedEvent[];
  bytes: number;
  effects: EventEffects | undefined;
}

/** The part of a stream that goes into one transaction. */
export interface Slice {
  writer: StreamWriter;
  step: StreamStep;
  events: ReportedEvent[];
  bytes: number;
  effects: EventEffects | undefined;
  /** Requests to extend the lease that it answers. */
  beats: number;
}

/** What the streams of a replica hold in memory together. */
export interface Queued {
  events: number;
  bytes: number;
}

interface Deps {
  fence: StreamFence;
  leaseMs: number;
  /** What is stored of the attempt when the stream begins. */
  lastSequence: bigint;
  /** Log position of the last event then; undefined when it is not known. */
  lastNumber?: bigint;
  listener: StreamListener;
  queued: Queued;
  onWork(writer: StreamWriter): void;
}

/** A stream with more than this waiting is not read: it slows down itself, and nobody else. */
const STREAM_BYTES = 8 * 1024 * 1024;

export class StreamWriter {
  readonly #deps: Deps;
  readonly #parts: Part[] = [];
  #lastNumber: bigint | undefined;
  #stored: bigint;
  #received: bigint;
  readonly #mine: Queued = { events: 0, bytes: 0 };
  #beats = 0;
  #over = false;
  #settled: (() => void)[] = [];
  #roomWanted: (() => void)[] = [];

  constructor(deps: Deps) {
    this.#deps = deps;
    this.#lastNumber = deps.lastNumber;
    this.#stored = deps.lastSequence;
    this.#received = deps.lastSequence;
  }

  /** Log position of the last event as this stream knows it; others may have written since. */
  get lastNumber(): bigint | undefined {
    return this.#lastNumber;
  }

  /** Number of the last event that is committed. */
  get stored(): bigint {
    return this.#stored;
  }

  /** Number of the last event that was taken. */
  get received(): bigint {
    return this.#received;
  }

  get hasWork(): boolean {
    return !this.#over && (this.#parts.length > 0 || this.#beats > 0);
  }

  /** Takes a batch that was read for the events after `received`, and whose effects are known (V1). */
  take(
    { first, count, fresh, bytes }: ReportedBatch,
    effectsOf: (fresh: ReportedEvent[]) => EventEffects | undefined,
  ): Taken {
    const last = first + BigInt(count) - 1n;
    if (count === 0 || last <= this.#received) return { kind: "duplicate" };
    if (first > this.#received + 1n) return { kind: "gap", expected: this.#received + 1n };
    if (BigInt(fresh.length) !== last - this.#received) throw new Error("The batch was read for another position.");
    this.#parts.push(this.#counted({ events: fresh, bytes, effects: effectsOf(fresh) }));
    this.#received = last;
    this.#deps.onWork(this);
    return { kind: "queued" };
  }

  /** Asks for the lease to be extended. */
  beat(): void {
    this.#beats++;
    this.#deps.onWork(this);
  }

  /** Resolves when the stream may be read on. */
  room(): Promise<void> {
    if (this.#over || this.#mine.bytes < STREAM_BYTES) return Promise.resolve();
    return new Promise((resolve) => this.#roomWanted.push(resolve));
  }

  /** Resolves once nothing waits to be stored, or nothing more can be. */
  settled(): Promise<void> {
    if (!this.hasWork) return Promise.resolve();
    return new Promise((resolve) => this.#settled.push(resolve));
  }

  /** The next part of the stream for one transaction, of at most about so much; it stays queued (V2). */
  slice(most: Queued): Slice {
    let events: ReportedEvent[] = [];
    let bytes = 0;
    let effects: EventEffects | undefined;
    for (const part of this.#parts) {
      const isMore = events.length + part.events.length > most.events || bytes + part.bytes > most.bytes;
      if (events.length > 0 && isMore) break;
      if (!continues(effects, part.effects)) break;
      events = events.length === 0 ? part.events : events.concat(part.events);
      bytes += part.bytes;
      effects = joinEffects(effects, part.effects);
    }
    const states = effects?.states ?? [];
    const first = states[0];
    return {
      writer: this,
      events,
      bytes,
      effects,
      beats: this.#beats,
      step: {
        ...this.#deps.fence,
        first: this.#stored + 1n,
        count: events.length,
        state: states.at(-1) ?? null,
        sources: first ? [...sourcesOf(first), first].filter((state) => LIVE_STATES.includes(state)) : LIVE_STATES,
        started: states.includes("RUNNING"),
        leaseMs: this.#deps.leaseMs,
      },
    };
  }

  /** The slice is committed. */
  committed({ events, beats }: Slice, lastNumber?: bigint): void {
    if (lastNumber !== undefined) this.#lastNumber = lastNumber;
    if (beats > 0 && !this.#over) {
      this.#beats -= beats;
      this.#deps.listener.alive();
    }
    if (events.length > 0) this.advance(this.#stored + BigInt(events.length));
    else this.#tellSettled();
  }

  /** The database has everything up to `lastSequence`: by this stream, in a commit whose outcome was in doubt. */
  advance(lastSequence: bigint): void {
    if (this.#over) return;
    let surplus = Number(lastSequence - this.#stored);
    for (let part = this.#parts[0]; part && surplus > 0; part = this.#parts[0]) {
      this.#parts.shift();
      this.#count(part, -1);
      if (part.events.length > surplus)
        this.#parts.unshift(this.#counted({ ...part, events: part.events.slice(surplus) }));
      surplus -= part.events.length;
    }
    this.#stored = lastSequence;
    this.#deps.listener.stored(lastSequence);
    this.#tellSettled();
  }

  /** Nothing more is stored for this stream. */
  refuse(error: AppError): void {
    if (this.#over) return;
    this.end();
    this.#deps.listener.refused(error);
  }

  /** Drops what waits; nothing more is told. */
  end(): void {
    this.#over = true;
    for (const part of this.#parts.splice(0)) this.#count(part, -1);
    this.#tellSettled();
  }

  #counted(part: Part): Part {
    this.#count(part, 1);
    return part;
  }

  #count({ events, bytes }: Part, sign: 1 | -1): void {
    for (const queued of [this.#deps.queued, this.#mine]) {
      queued.events += sign * events.length;
      queued.bytes += sign * bytes;
    }
  }

  #tellSettled(): void {
    if (this.#over || this.#mine.bytes < STREAM_BYTES) for (const go of this.#roomWanted.splice(0)) go();
    if (this.hasWork) return;
    for (const resolve of this.#settled.splice(0)) resolve();
  }
}

/** Whether the states of two neighbouring parts make one legal chain; if not, the second one's commit is refused alone. */
function continues(earlier: EventEffects | undefined, later: EventEffects | undefined): boolean {
  const from = earlier?.states.at(-1);
  const to = later?.states[0];
  return from === undefined || to === undefined || from === to || mayMove(from, to);
}
