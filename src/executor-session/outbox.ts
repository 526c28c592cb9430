// The outbox: what this executor has said and the server has not yet confirmed. It holds encoded events and says how much
// room there is; those who append keep to it (session.ts), on whatever thread they are.
//
//   acknowledged | front (memory) | files | back (memory) | what comes next
//                  ^ cursor: next to send
//
// O1  An event leaves only when its sequence number is acknowledged.
// O2  Sequence numbers neither repeat nor skip within one attempt.
// O3  Room is an absolute level, and never taken back once given: who appends waits while it is used up, so operators slow
//     down instead of losing events. Events in files take no room.
// O4  Whatever is sent next continues what the server has: a reconnect or a Nack moves the cursor back, never past an
//     unacknowledged event.
// O5  What was sent stays in memory until it is acknowledged; only what has never been sent goes to files, and back
//     before it is sent. One file is written or read at a time.
import { AppError } from "../core/app-error.js";
import { BATCH_BYTES, BATCH_EVENTS } from "../core/event-limits.js";
import { createWakeUp } from "../process/wake-up.js";
import { EventQueue, type QueuedEvent } from "./event-queue.js";
import type { SpilledEvents, SpillFiles } from "./spill-files.js";

export interface OutboxLimits {
  /** Unacknowledged events in memory at most. Default 10,000. */
  events: number;
  /** Their bytes at most; one event more may begin below it. Default 16 MiB. */
  bytes: number;
  /** Events and bytes of one batch at most. Default 256 and 256 KiB; servers take 1,024 and 1 MiB. */
  batchEvents: number;
  batchBytes: number;
}
export const OUTBOX_LIMITS: OutboxLimits = {
  events: 10_000,
  bytes: 16 * 1024 * 1024,
  batchEvents: 256,
  batchBytes: 256 * 1024,
};

/** How many events and bytes may have been appended in all before somebody has to wait. */
export interface Room {
  events: number;
  bytes: number;
}

export interface OutboxDeps {
  limits?: Partial<OutboxLimits>;
  /** Undefined: memory only. */
  spill?: SpillFiles;
  /** Called when the level has risen. */
  onRoom?(room: Room): void;
  /** A file cannot be read back: nothing can be sent any more. */
  onFault?(error: unknown): void;
}

/** From this share of the limits on, what was not sent goes to files. */
const SPILL_FROM = 1 / 2;
/** Share of the limits that stays at the front, and that one file holds at least. */
const KEPT = 1 / 4;
const WORTH_A_FILE = 1 / 8;
const FILE_BYTES = 1024 * 1024;
/** Before a disk without room is asked again. */
const AGAIN_MS = 1_000;

export class Outbox {
  /** Woken when there may be something to send. */
  readonly wakeup = createWakeUp();
  readonly #limits: OutboxLimits;
  readonly #deps: OutboxDeps;
  readonly #front = new EventQueue();
  readonly #files: SpilledEvents[] = [];
  readonly #back = new EventQueue();
  /** Files that were read back, with the number of their last event. */
  readonly #reread: { file: SpilledEvents; last: number }[] = [];
  #acknowledged = 0;
  /** Number of the next event to send. */
  #cursor = 1;
  /** Number of the last event sent on the present stream, and of the last one ever sent. */
  #sentHere = 0;
  #sentThrough = 0;
  #lastSequence = 0;
  readonly #appended = { events: 0, bytes: 0 };
  /** What takes room: in memory, and not because it was read back. */
  readonly #held = { events: 0, bytes: 0 };
  #moving: Promise<void> | undefined;
  #again: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(deps: OutboxDeps = {}) {
    this.#deps = deps;
    const limits = { ...OUTBOX_LIMITS, ...deps.limits };
    this.#limits = {
      ...limits,
      batchEvents: Math.min(limits.batchEvents, BATCH_EVENTS),
      batchBytes: Math.min(limits.batchBytes, BATCH_BYTES),
    };
  }

  /** Number of the last event appended. */
  get lastSequence(): number {
    return this.#lastSequence;
  }

  /** True when every event has been handed out for sending. */
  get allSent(): boolean {
    return this.#cursor > this.#lastSequence;
  }

  /** True when no event that was sent awaits its acknowledgement. */
  get nothingInFlight(): boolean {
    return this.#cursor === this.#acknowledged + 1;
  }

  get room(): Room {
    return {
      events: this.#appended.events - this.#held.events + this.#limits.events,
      bytes: this.#appended.bytes - this.#held.bytes + this.#limits.bytes,
    };
  }

  /** First stream of this process, before the first event: numbers go on after what an earlier process had stored. */
  begin(lastStored: number): void {
    if (this.#lastSequence !== 0) throw new Error("An outbox begins before its first event.");
    this.#acknowledged = this.#sentHere = this.#sentThrough = this.#lastSequence = lastStored;
    this.#cursor = lastStored + 1;
  }

  /** Adds encoded events, numbered on from `lastSequence`. */
  append(events: readonly Uint8Array[]): void {
    const queue = this.#files.length > 0 ? this.#back : this.#front;
    for (const bytes of events) {
      queue.push({ bytes, reread: false });
      count(this.#appended, bytes, 1);
      count(this.#held, bytes, 1);
    }
    this.#lastSequence += events.length;
    this.wakeup.wake();
    this.#move();
  }

  /** The next events to send, up to the limits of a batch and to the number `credit`; moves the cursor past them. */
  nextBatch(credit: bigint): Uint8Array[] {
    const batch: Uint8Array[] = [];
    let bytes = 0;
    while (this.#cursor <= credit && batch.length < this.#limits.batchEvents) {
      const event = this.#front.at(this.#cursor - this.#acknowledged - 1);
      if (!event || (batch.length > 0 && bytes + event.bytes.length > this.#limits.batchBytes)) break;
      batch.push(event.bytes);
      bytes += event.bytes.length;
      this.#cursor++;
    }
    this.#sentHere = Math.max(this.#sentHere, this.#cursor - 1);
    this.#sentThrough = Math.max(this.#sentThrough, this.#sentHere);
    this.#move();
    return batch;
  }

  /** The server has stored everything up to `sequence`. An older acknowledgement is nothing new. */
  acknowledge(sequence: bigint): void {
    // Not the cursor: a Nack may have moved it back since what is acknowledged was sent.
    if (sequence > this.#sentHere)
      throw contradiction(`The server acknowledged event ${sequence}, but only ${this.#sentHere} were sent.`);
    this.#release(Number(sequence));
  }

  /** The server waits for event `expected`: sending goes on from there. */
  rewind(expected: bigint): void {
    if (expected <= this.#acknowledged || expected > this.#sentHere + 1)
      throw contradiction(
        `The server asked for event ${expected}, but ${this.#acknowledged} are acknowledged and ${this.#sentHere} sent.`,
      );
    this.#cursor = Number(expected);
    this.wakeup.wake();
  }

  /** A new stream: the server has everything up to `lastStored`, the rest is to be sent again (O4). */
  resume(lastStored: bigint): void {
    if (lastStored < this.#acknowledged || lastStored > this.#sentThrough)
      throw contradiction(
        `The server has stored ${lastStored} events, but ${this.#acknowledged} are acknowledged and ${this.#sentThrough} were sent.`,
      );
    this.#release(Number(lastStored));
    this.#cursor = Number(lastStored) + 1;
    this.#sentHere = Number(lastStored);
    this.wakeup.wake();
  }

  /** Resolves when no file is being written or read. */
  async settled(): Promise<void> {
    while (this.#moving) await this.#moving;
  }

  /** Nothing will be sent any more; resolves when the files are gone. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#again);
    this.wakeup.wake();
    await this.settled();
    for (const file of [...this.#files.splice(0), ...this.#reread.splice(0).map(({ file }) => file)])
      await file.remove();
  }

  #release(upTo: number): void {
    if (upTo <= this.#acknowledged) return;
    while (this.#acknowledged < upTo) {
      const event = this.#front.shift()!;
      if (!event.reread) count(this.#held, event.bytes, -1);
      this.#acknowledged++;
    }
    if (this.#cursor <= upTo) this.#cursor = upTo + 1;
    while (this.#reread[0] && this.#reread[0].last <= upTo) void this.#reread.shift()!.file.remove();
    this.#deps.onRoom?.(this.room);
    this.wakeup.wake();
    this.#move();
  }

  /** Starts to write or to read a file where that is due (O5). */
  #move(): void {
    if (this.#moving || this.#closed || !this.#deps.spill) return;
    const work = this.#readingDue() ?? this.#writingDue(this.#deps.spill);
    if (!work) return;
    this.#moving = work.then(
      () => {
        this.#moving = undefined;
        this.#move();
      },
      (error: unknown) => {
        this.#moving = undefined;
        if (!this.#closed) this.#deps.onFault?.(error);
      },
    );
  }

  #readingDue(): Promise<void> | undefined {
    const [file] = this.#files;
    const unsent = this.#acknowledged + this.#front.length - this.#sentThrough;
    if (!file || this.#front.bytes > this.#limits.bytes * SPILL_FROM) return undefined;
    if (unsent >= this.#limits.batchEvents) return undefined;
    return this.#read(file);
  }

  async #read(file: SpilledEvents): Promise<void> {
    const events = await file.read();
    if (this.#closed) return;
    this.#files.shift();
    for (const bytes of events) this.#front.push({ bytes, reread: true });
    this.#reread.push({ file, last: this.#acknowledged + this.#front.length });
    if (this.#files.length === 0) for (const event of this.#back.cut(0)) this.#front.push(event);
    this.wakeup.wake();
  }

  #writingDue(spill: SpillFiles): Promise<void> | undefined {
    if (this.#again) return undefined;
    const { events, bytes } = this.#limits;
    if (this.#held.events < events * SPILL_FROM && this.#held.bytes < bytes * SPILL_FROM) return undefined;
    const queue = this.#files.length > 0 ? this.#back : this.#front;
    const from = queue === this.#back ? 0 : this.#keptAtFront();
    const picked = pick(queue, from);
    const size = picked.reduce((sum, event) => sum + event.bytes.length, 0);
    if (picked.length < events * WORTH_A_FILE && size < bytes * WORTH_A_FILE) return undefined;
    return this.#write(spill, queue, from, picked);
  }

  /** Events at the front that stay there: those that were sent, and some to send next. */
  #keptAtFront(): number {
    const { events, bytes } = this.#limits;
    let position = 0;
    let size = 0;
    for (; position < events * KEPT && size < bytes * KEPT; position++)
      size += this.#front.at(position)?.bytes.length ?? 0;
    return Math.max(position, this.#sentThrough - this.#acknowledged);
  }

  async #write(spill: SpillFiles, queue: EventQueue, from: number, picked: QueuedEvent[]): Promise<void> {
    const first = queue === this.#front ? this.#acknowledged + from + 1 : undefined;
    const file = await spill.write(picked.map(({ bytes }) => bytes));
    if (!file) {
      if (!this.#closed) this.#again = setTimeout(() => this.#tryAgain(), AGAIN_MS).unref();
      return;
    }
    // While it was written, events of the front may have been sent: they stay in memory (O5).
    if (this.#closed || (first !== undefined && this.#sentThrough >= first)) return file.remove();
    if (first === undefined) for (const _ of picked) this.#back.shift();
    else
      for (const event of this.#front.cut(first - this.#acknowledged - 1).slice(picked.length)) this.#back.push(event);
    this.#files.push(file);
    for (const { bytes, reread } of picked) if (!reread) count(this.#held, bytes, -1);
    this.#deps.onRoom?.(this.room);
  }

  #tryAgain(): void {
    this.#again = undefined;
    this.#move();
  }
}

/** As many as go into one file. */
function pick(queue: EventQueue, from: number): QueuedEvent[] {
  let to = from;
  let size = 0;
  for (let event = queue.at(to); event && size < FILE_BYTES; event = queue.at(to)) {
    size += event.bytes.length;
    to++;
  }
  return queue.slice(from, to);
}

function count(sum: Room, { length }: Uint8Array, sign: 1 | -1): void {
  sum.events += sign;
  sum.bytes += sign * length;
}

const contradiction = (message: string) => new AppError("internal", "UNEXPECTED_SEQUENCE", message);
