// A stream with a pulse, as Attach and Serve both are: frames go out in the order they were said, heartbeats every third
// of the lease, and a server that is silent for half of it is gone: the other half is needed to come back.
//
// L1  `ended` resolves once, with the first end that was found, after reading and timers have stopped.
// L2  A frame that cannot be sent is dropped here: the reader learns why the stream broke, and tells that.
// L3  Silence is counted while this thread runs: after a stop of its own it first reads what has come meanwhile.

import { AppError } from "../core/app-error.js";
import type { ClientDuplex } from "../rpc/channel.js";

export interface LiveStreamOptions<In, Out, End> {
  stream: ClientDuplex<In, Out>;
  /** Until `setLease`. */
  leaseMs: number;
  /** Milliseconds of a clock that only goes forward. */
  elapsed: () => number;
  /** Takes one frame; what it throws ends the stream. */
  take(frame: In): void;
  /** Called every third of the lease: the time for a heartbeat. */
  beat(): void;
  /** The end an error means; the server ending the stream is an error here. */
  endOf(error: unknown): End;
}

const LEAVE_WITHIN_MS = 1_000;
/** Looks at the clock in so many parts of the lease. */
const PARTS = 12;
const LONGEST_LOOK_MS = 1_000;

/** Refusals that a new stream cannot change. */
const FINAL_CODES = new Set(["precondition", "unauthenticated", "forbidden", "not-found", "invalid", "conflict"]);
export const isFinal = (error: unknown): error is AppError => error instanceof AppError && FINAL_CODES.has(error.code);

export class LiveStream<In, Out, End> {
  readonly ended: Promise<End>;
  readonly #options: LiveStreamOptions<In, Out, End>;
  #sending: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #leaseMs: number;
  #lookMs = 0;
  #heardAt: number;
  #beatAt: number;
  #lookedAt: number;
  #leaving = false;
  #closed = false;
  #close: (end: End) => void = () => {};

  constructor(options: LiveStreamOptions<In, Out, End>) {
    this.#options = options;
    this.#leaseMs = options.leaseMs;
    this.#heardAt = this.#beatAt = this.#lookedAt = options.elapsed();
    this.setLease(options.leaseMs);
    const closing = new Promise<End>((resolve) => {
      this.#close = (end) => {
        this.#closed = true;
        resolve(end);
      };
    });
    const reading = this.#read();
    this.ended = closing.then(async (end) => {
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
    this.#lookMs = Math.min(LONGEST_LOOK_MS, leaseMs / PARTS);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#look, this.#lookMs);
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
    if (this.#leaving) return;
    this.#leaving = true;
    const finish = () => {
      clearTimeout(patience);
      this.#options.stream.end();
      this.#close(end);
    };
    const patience = setTimeout(finish, LEAVE_WITHIN_MS);
    void this.#sending.then(finish);
  }

  /** Gives the stream up at once. */
  drop(end: End): void {
    this.#close(end);
    this.#options.stream.cancel();
  }

  async #read(): Promise<void> {
    const { stream, elapsed, take, endOf } = this.#options;
    try {
      for await (const frame of stream.incoming) {
        this.#heardAt = elapsed();
        if (!this.#closed) take(frame);
      }
      this.#close(endOf(new AppError("unavailable", "UNAVAILABLE", "The server ended the stream.")));
    } catch (error) {
      this.#close(endOf(error));
      stream.cancel();
    }
  }

  #look = (): void => {
    if (this.#closed) return;
    const { elapsed, endOf, beat } = this.#options;
    const now = elapsed();
    const silence = this.#leaseMs / 2;
    // L3
    if (now - this.#lookedAt > 3 * this.#lookMs) this.#heardAt = Math.max(this.#heardAt, now - silence + this.#lookMs);
    this.#lookedAt = now;
    if (now - this.#heardAt > silence) {
      this.drop(endOf(new AppError("deadline", "DEADLINE_EXCEEDED", "The server was silent for half a lease.")));
      return;
    }
    this.#timer = setTimeout(this.#look, this.#lookMs);
    if (now - this.#beatAt < this.#leaseMs / 3 - this.#lookMs / 2) return;
    this.#beatAt = now;
    beat();
  };
}
