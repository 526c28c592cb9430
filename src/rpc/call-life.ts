// How long one call on the server lives: until its method is done, its client is gone, or the server stops.
import type { EventEmitter } from "node:events";
import type { Deadline, Metadata } from "@grpc/grpc-js";
import { AppError } from "../core/app-error.js";

/** What every kind of server call of grpc-js has. */
export interface ServerCall extends EventEmitter {
  cancelled: boolean;
  metadata: Metadata;
  getDeadline(): Deadline;
}

export interface CallLife {
  /** Aborts with an AppError as its reason. Made when it is first asked for: most calls are over before anybody does. */
  readonly signal: AbortSignal;
  /** Why the client can hear nothing more; undefined while it can. */
  failure(): AppError | undefined;
  /** What to answer for an error: the server's stopping, when the error only says that the signal aborted. */
  explain(error: unknown): unknown;
  /** The method is done: what follows on the call is no cancellation. */
  end(): void;
}

/** Begins the life of a call. */
export type BeginLife = (call: ServerCall) => CallLife;

/** `stopped` aborts, with an AppError as its reason, when the server waits no longer. */
export function createCallLives(stopped?: AbortSignal): BeginLife {
  // One listener for all: a list of listeners is walked at each change, and a server has thousands of calls.
  const underWay = new Set<Life>();
  const stopAll = () => {
    for (const life of underWay) life.stop(stopped?.reason);
  };
  stopped?.addEventListener("abort", stopAll, { once: true });
  return (call) => {
    const life = new Life(call, underWay);
    if (stopped?.aborted) life.stop(stopped.reason);
    if (call.cancelled) life.leave();
    return life;
  };
}

class Life implements CallLife {
  readonly #call: ServerCall;
  readonly #underWay: Set<Life>;
  #controller: AbortController | undefined;
  #gone: AppError | undefined;
  #ended: { reason: unknown } | undefined;

  constructor(call: ServerCall, underWay: Set<Life>) {
    this.#call = call;
    this.#underWay = underWay;
    underWay.add(this);
    call.prependListener("cancelled", this.leave); // before those who ask `failure` when they hear it
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#ended) this.#controller.abort(this.#ended.reason);
    }
    return this.#controller.signal;
  }

  /** grpc-js says "cancelled" for a cancelled call, a lost connection, a deadline, and after every status. */
  readonly leave = (): void => {
    this.#gone = isPast(this.#call.getDeadline())
      ? new AppError("deadline", "DEADLINE_EXCEEDED", "The call's deadline has passed.")
      : new AppError("cancelled", "CANCELLED", "The client has gone.");
    this.stop(this.#gone);
  };

  stop(reason: unknown): void {
    this.#ended ??= { reason };
    this.#controller?.abort(this.#ended.reason);
  }

  failure(): AppError | undefined {
    return this.#gone;
  }

  explain(error: unknown): unknown {
    return this.#ended && isAbort(error) ? this.#ended.reason : error;
  }

  end(): void {
    this.#call.off("cancelled", this.leave);
    this.#underWay.delete(this);
  }
}

const isPast = (deadline: Deadline) => Number(deadline) <= Date.now();

const isAbort = (error: unknown) => error instanceof Error && error.name === "AbortError";
