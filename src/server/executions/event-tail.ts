// The newest part of one execution's log, held once for everybody who watches it on this replica.
//
// T1  What it holds is contiguous and ends with `last`; nothing is ever left out in between.
// T2  It holds at most TAIL_BYTES, and all tails together what their memory allows. What fell out is in the table: a slow
//     watcher loses the buffer, never its cursor.
// T3  Each event is encoded once, whoever watches.
import type { WatchExecutionResponse } from "../../contract/postern/v1/execution.js";
import { eventFrame, type LoggedEvent } from "../../rpc/event-frame.js";
import type { Encoded } from "../../rpc/handlers.js";

/** An encoded event, shared by all watchers. */
export type EventFrame = Encoded<WatchExecutionResponse>;

const TAIL_BYTES = 1024 * 1024;
/** What a frame takes beside its bytes: the objects around them, and its share of what the allocator rounds up. */
const AROUND_FRAME_BYTES = 384;
const heldBy = (frame: EventFrame): number => frame.length + AROUND_FRAME_BYTES;

export class EventTail {
  /** Called when there may be something new for them. */
  readonly watchers = new Set<() => void>();
  /** Nothing will follow `last`: the execution has ended, or is gone. */
  ended = false;
  #last: bigint;
  #bytes = 0;
  /** Frames from `#oldest` on; those before it are given up, and cut off from time to time. */
  readonly #frames: (EventFrame | undefined)[] = [];
  #oldest = 0;

  /** Starts empty, after the event numbered `last`. */
  constructor(
    readonly executionId: string,
    last: bigint,
  ) {
    this.#last = last;
  }

  /** Number of the newest event known here. */
  get last(): bigint {
    return this.#last;
  }

  /** Number of the oldest event held; `last + 1` when none is. */
  get first(): bigint {
    return this.#last + 1n - BigInt(this.#frames.length - this.#oldest);
  }

  /** Memory that is held. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The event of this number, if it is held. */
  frame(number: bigint): EventFrame | undefined {
    if (number > this.#last) return undefined;
    const fromEnd = this.#last - number;
    const index = this.#frames.length - 1 - Number(fromEnd);
    return index < this.#oldest ? undefined : this.#frames[index];
  }

  /** Takes on what follows `last`; known events are passed over. False when one is missing in between (T1). */
  append(events: Iterable<LoggedEvent>): boolean {
    let whole = true;
    for (const event of events) {
      if (event.number <= this.#last) continue;
      whole = event.number === this.#last + 1n;
      if (!whole) break;
      const frame = eventFrame(event);
      this.#frames.push(frame);
      this.#bytes += heldBy(frame);
      this.#last = event.number;
    }
    while (this.#bytes > TAIL_BYTES) this.#giveUpOldest();
    return whole;
  }

  /** Gives up what is held; all but the end is then read from the table. */
  forget(): void {
    this.#frames.length = 0;
    this.#oldest = 0;
    this.#bytes = 0;
  }

  /** Gives up what is held and stands after `last`, so that whoever is behind reads from the table. */
  skipTo(last: bigint): void {
    this.forget();
    this.#last = last;
  }

  wakeWatchers(): void {
    for (const wake of this.watchers) wake();
  }

  #giveUpOldest(): void {
    this.#bytes -= heldBy(this.#frames[this.#oldest]!);
    this.#frames[this.#oldest++] = undefined;
    if (this.#oldest > 256 && this.#oldest * 2 > this.#frames.length) {
      this.#frames.splice(0, this.#oldest);
      this.#oldest = 0;
    }
  }
}

export interface TailMemory {
  /** To be told after a tail has grown. */
  grown(tail: EventTail): void;
  /** To be told when nobody watches a tail any more. */
  released(tail: EventTail): void;
  /** Memory that all tails hold. */
  readonly bytes: number;
}

/** Keeps all tails together within `limitBytes` (T2): the one that has been silent for longest gives up what it holds. */
export function createTailMemory(limitBytes: number): TailMemory {
  /** What each tail held when it last grew, the silent ones first. */
  const held = new Map<EventTail, number>();
  let bytes = 0;

  function released(tail: EventTail): void {
    bytes -= held.get(tail) ?? 0;
    held.delete(tail);
  }

  return {
    released,
    grown(tail) {
      released(tail);
      held.set(tail, tail.bytes);
      bytes += tail.bytes;
      for (const silent of held.keys()) {
        if (bytes <= limitBytes) return;
        silent.forget();
        released(silent);
      }
    },
    get bytes() {
      return bytes;
    },
  };
}
