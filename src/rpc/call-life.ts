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
  /** Aborts with an AppError as its reason. */
  signal: AbortSignal;
  /** Why the client can hear nothing more; undefined while it can. */
  failure(): AppError | undefined;
  /** What to answer for an error: the server's stopping, when the error only says that the signal aborted. */
  explain(error: unknown): unknown;
  /** The method is done: what follows on the call is no cancellation. */
  end(): void;
}

/** `stopped` aborts, with an AppError as its reason, when the server waits no longer. */
export function lifeOf(call: ServerCall, stopped?: AbortSignal): CallLife {
  const controller = new AbortController();
  let gone: AppError | undefined;
  // grpc-js says "cancelled" for a cancelled call, a lost connection, a deadline, and after every status.
  const leave = () => {
    gone = isPast(call.getDeadline())
      ? new AppError("deadline", "DEADLINE_EXCEEDED", "The call's deadline has passed.")
      : new AppError("cancelled", "CANCELLED", "The client has gone.");
    controller.abort(gone);
  };
  const stop = () => controller.abort(stopped?.reason);
  call.prependListener("cancelled", leave); // before those who ask `failure` when they hear it
  if (stopped?.aborted) stop();
  else stopped?.addEventListener("abort", stop, { once: true });
  if (call.cancelled) leave();
  return {
    signal: controller.signal,
    failure: () => gone,
    explain: (error) => (controller.signal.aborted && isAbort(error) ? controller.signal.reason : error),
    end: () => {
      call.off("cancelled", leave);
      stopped?.removeEventListener("abort", stop);
    },
  };
}

const isPast = (deadline: Deadline) => Number(deadline) <= Date.now();

const isAbort = (error: unknown) => error instanceof Error && error.name === "AbortError";
