// A stream with a pulse, as Attach and Serve both are: frames go out in the order they were said, heartbeats go by a
// timer of their own, and a server that is silent for a whole lease is gone.
//
// L1  `ended` resolves once, with the first end that was found, after reading and timers have stopped.
// L2  A frame that cannot be sent is dropped here: the reader learns why the stream broke, and tells that.

import { AppError } from "../../core/app-error.js";
import type { ClientDuplex } from "../../rpc/channel.js";

export interface LiveStreamOptions<In, Out, End> {
  stream: ClientDuplex<In, Out>;
  /** Until `setLease`. */
  leaseMs: number;
  now: () => number;
  /** Takes one frame; what it throws ends the stream. */
  take(frame: In): void;
  /** Called every third of the lease. */
  tick(): void;
  /** The end an error means; the server ending the stream is an error here. */
  endOf(error: unknown): End;
}

const LEAVE_WITHIN_MS = 1_000;

/** Refusals that a new stream cannot change. */
const FINAL_CODES = new Set(["precondition", "unauthenticated", "forbidden", "not-found", "invalid", "conflict"]);
export const isFinal = (error: unknown): error is AppError => error instanceof AppError && FINAL_CODES.has(error.code);

export class LiveStream<In, Out, End> {
  readonly ended: Promise<End>;
  readonly #options: LiveStreamOptions<In, Out, End>;
  #sending: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout;
  #leaseMs: number;
  #heardAt: number;
  #closed = false;
  #close: (end: End) => void = () => {};

  constructor(options: LiveStreamOptions<In, Out, End>) {
    this.#options = options;
    this.#leaseMs = options.leaseMs;
    this.#heardAt = options.now();
    this.#timer = setTimeout(this.#tick, this.#leaseMs / 3);
    const closing = new Promise<End>((resolve) => (this.#close = resolve));
    const reading = this.#read();
    this.ended = closing.then(async (end) => {
      this.#closed = true;
      clearTimeout(this.#timer);
      // A stream that was ended by half is still being answered; one that broke is not.
      const patience = setTimeout(() => options.stream.cancel(), LEAVE_WITHIN_MS);
      await reading;
      clearTimeout(patience);
      options.stream.cancel();
      return end;
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  setLease(leaseMs: number): void {
    if (leaseMs <= 0) return;
    this.#leaseMs = leaseMs;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#tick, leaseMs / 3);
  }

  /** Sends a frame after those said before; resolves when the transport took it, or the stream is gone (L2). */
  say(frame: Out): Promise<void> {
    this.#sending = this.#sending
      .then(() => (this.#closed ? undefined : this.#options.stream.send(frame)))
      .catch(() => {});
    return this.#sending;
  }

  /** Ends the stream in order: what was said is sent, and the server gets a moment to end its side. */
  leave(end: End): void {
    void this.#sending.then(() => {
      this.#options.stream.end();
      this.#close(end);
    });
  }

  /** Gives the stream up at once. */
  drop(end: End): void {
    this.#close(end);
    this.#options.stream.cancel();
  }

  async #read(): Promise<void> {
    const { stream, now, take, endOf } = this.#options;
    try {
      for await (const frame of stream.incoming) {
        this.#heardAt = now();
        if (!this.#closed) take(frame);
      }
      this.#close(endOf(new AppError("unavailable", "UNAVAILABLE", "The server ended the stream.")));
    } catch (error) {
      this.#close(endOf(error));
      stream.cancel();
    }
  }

  #tick = (): void => {
    const { now, endOf, tick } = this.#options;
    if (this.#closed) return;
    if (now() - this.#heardAt > this.#leaseMs) {
      this.drop(endOf(new AppError("deadline", "DEADLINE_EXCEEDED", "The server was silent for a whole lease.")));
      return;
    }
    this.#timer = setTimeout(this.#tick, this.#leaseMs / 3);
    tick();
  };
}
