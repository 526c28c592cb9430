// Encoded events in order: taken from the front and added at the back in constant time, read by position.

export interface QueuedEvent {
  bytes: Uint8Array;
  /** True when it was read back from a file: it takes no room of those who append. */
  reread: boolean;
}

/** Below it, the free places at the front are not worth moving for. */
const FEW = 64;

export class EventQueue {
  #events: QueuedEvent[] = [];
  /** Places before it are free. */
  #start = 0;
  #bytes = 0;

  get length(): number {
    return this.#events.length - this.#start;
  }

  get bytes(): number {
    return this.#bytes;
  }

  at(position: number): QueuedEvent | undefined {
    return this.#events[this.#start + position];
  }

  push(event: QueuedEvent): void {
    this.#events.push(event);
    this.#bytes += event.bytes.length;
  }

  shift(): QueuedEvent | undefined {
    const event = this.#events[this.#start];
    if (!event) return undefined;
    // The place is let go of at once, so that the bytes are.
    this.#events[this.#start++] = undefined as never;
    this.#bytes -= event.bytes.length;
    if (this.#start > FEW && this.#start * 2 > this.#events.length) {
      this.#events = this.#events.slice(this.#start);
      this.#start = 0;
    }
    return event;
  }

  /** Takes everything from a position on off the back. */
  cut(position: number): QueuedEvent[] {
    const events = this.#events.splice(this.#start + position);
    for (const { bytes } of events) this.#bytes -= bytes.length;
    return events;
  }

  slice(from: number, to: number): QueuedEvent[] {
    return this.#events.slice(this.#start + from, Math.min(this.#start + to, this.#events.length));
  }
}
