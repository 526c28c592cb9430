// The outbox: what this executor has said and the server has not yet confirmed.
//
// O1  An event leaves only when its sequence number is acknowledged.
// O2  Sequence numbers neither repeat nor skip within one attempt.
// O3  A full outbox makes `append` wait, so operators slow down instead of losing events. Only what may be dropped by
//     contract (statistics, console lines) is offered instead, and told when there is no room.
// O4  Whatever is sent next continues what the server has: a reconnect or a Nack moves the cursor back, never past an
//     unacknowledged event.
import { ExecutionEvent } from "../../contract/postern/v1/execution.js";
import { AppError } from "../../core/app-error.js";
import { createWakeUp } from "../../process/wake-up.js";

/** What happened, before it has a number. */
export type EventKind = NonNullable<ExecutionEvent["kind"]>;

export interface OutboxLimits {
  /** Unacknowledged events at most. */
  capacity: number;
  /** Events and bytes of one batch at most. */
  batchEvents: number;
  batchBytes: number;
}
export const OUTBOX_LIMITS: OutboxLimits = { capacity: 10_000, batchEvents: 256, batchBytes: 256 * 1024 };

/** Share of the capacity that events which must not be dropped keep for themselves. */
const RESERVED = 0.1;

interface Entry {
  event: ExecutionEvent;
  bytes: number;
}

export class Outbox {
  /** Woken when there may be something to send. */
  readonly wakeup = createWakeUp();
  readonly #limits: OutboxLimits;
  readonly #now: () => Date;
  readonly #attempt: number;
  /** Unacknowledged events; the first one's number is `#acknowledged + 1`. */
  readonly #entries: Entry[] = [];
  #acknowledged = 0n;
  /** Number of the next event to send. */
  #cursor = 1n;
  #waiting: { resolve(): void; reject(error: Error): void }[] = [];
  #closed: Error | undefined;

  constructor(deps: { attempt: number; now: () => Date; limits?: OutboxLimits }) {
    this.#attempt = deps.attempt;
    this.#now = deps.now;
    this.#limits = deps.limits ?? OUTBOX_LIMITS;
  }

  /** Number of the last event appended. */
  get lastSequence(): bigint {
    return this.#acknowledged + BigInt(this.#entries.length);
  }

  /** True when every event has been handed out for sending. */
  get allSent(): boolean {
    return this.#cursor > this.lastSequence;
  }

  /** True when no event that was sent awaits its acknowledgement. */
  get nothingInFlight(): boolean {
    return this.#cursor === this.#acknowledged + 1n;
  }

  /** Adds an event; waits while the outbox is full (O3). Rejects once the outbox is closed. */
  async append(kind: EventKind): Promise<void> {
    while (!this.#closed && this.#entries.length >= this.#limits.capacity)
      await new Promise<void>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    if (this.#closed) throw this.#closed;
    this.#push(kind);
  }

  /** Adds an event that may be dropped; false when there is no room for such. */
  offer(kind: EventKind): boolean {
    if (this.#closed || this.#entries.length >= this.#limits.capacity * (1 - RESERVED)) return false;
    this.#push(kind);
    return true;
  }

  #push(kind: EventKind): void {
    const event: ExecutionEvent = {
      number: 0n,
      attempt: this.#attempt,
      sequence: this.lastSequence + 1n,
      occurredAt: this.#now(),
      kind,
    };
    this.#entries.push({ event, bytes: ExecutionEvent.encode(event).finish().length });
    this.wakeup.wake();
  }

  /** The next events to send, up to the limits of a batch and to the number `credit`; moves the cursor past them. */
  nextBatch(credit: bigint): ExecutionEvent[] {
    const batch: ExecutionEvent[] = [];
    let bytes = 0;
    while (!this.allSent && this.#cursor <= credit && batch.length < this.#limits.batchEvents) {
      const entry = this.#entries[Number(this.#cursor - this.#acknowledged - 1n)]!;
      if (batch.length > 0 && bytes + entry.bytes > this.#limits.batchBytes) break;
      batch.push(entry.event);
      bytes += entry.bytes;
      this.#cursor += 1n;
    }
    return batch;
  }

  /** The server has stored everything up to `sequence`. An older acknowledgement is nothing new. */
  acknowledge(sequence: bigint): void {
    if (sequence >= this.#cursor)
      throw contradiction(`The server acknowledged event ${sequence}, but only ${this.#cursor - 1n} were sent.`);
    this.#release(sequence);
  }

  /** The server waits for event `expected`: sending goes on from there. */
  rewind(expected: bigint): void {
    if (expected <= this.#acknowledged || expected > this.#cursor)
      throw contradiction(
        `The server asked for event ${expected}, but ${this.#acknowledged} are acknowledged and ${this.#cursor - 1n} sent.`,
      );
    this.#cursor = expected;
    this.wakeup.wake();
  }

  /** A new stream: the server has everything up to `lastStored`, the rest is to be sent again (O4). */
  resume(lastStored: bigint): void {
    if (lastStored < this.#acknowledged || lastStored > this.lastSequence)
      throw contradiction(
        `The server has stored ${lastStored} events, but ${this.#acknowledged} are acknowledged and ${this.lastSequence} said.`,
      );
    this.#release(lastStored);
    this.#cursor = lastStored + 1n;
    this.wakeup.wake();
  }

  /** First stream of this process, before the first event: numbers go on after what an earlier process had stored. */
  begin(lastStored: bigint): void {
    if (this.lastSequence !== 0n) throw new Error("An outbox begins before its first event.");
    this.#acknowledged = lastStored;
    this.#cursor = lastStored + 1n;
  }

  /** Nothing will be sent any more: whoever waits for room is told. */
  close(reason: Error): void {
    this.#closed ??= reason;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#closed);
    this.wakeup.wake();
  }

  #release(upTo: bigint): void {
    const count = Number(upTo - this.#acknowledged);
    if (count <= 0) return;
    this.#entries.splice(0, count);
    this.#acknowledged = upTo;
    if (this.#cursor <= upTo) this.#cursor = upTo + 1n;
    for (const { resolve } of this.#waiting.splice(0)) resolve();
    this.wakeup.wake();
  }
}

const contradiction = (message: string) => new AppError("internal", "UNEXPECTED_SEQUENCE", message);
