// One line for each call: which, how it ended, how long it took. Never what it carried, never its token.
import { ServerInterceptingCall, type ServerInterceptor, status } from "@grpc/grpc-js";
import type { Logger } from "../../process/log.js";

/** Statuses that say that something is wrong here rather than with the call. */
const TROUBLE = new Set([
  status.UNKNOWN,
  status.RESOURCE_EXHAUSTED,
  status.INTERNAL,
  status.UNAVAILABLE,
  status.DATA_LOSS,
]);

interface Deps {
  log: Logger;
  /** Told when a call begins and when it ends; for waiting until none is left. */
  onBegin?(path: string): void;
  onEnd?(path: string): void;
}

export function requestLog({ log, onBegin, onEnd }: Deps): ServerInterceptor {
  return ({ path }, call) => {
    const startedAt = performance.now();
    let ended = false;
    const end = (code: status, details?: string | null) => {
      if (ended) return;
      ended = true;
      onEnd?.(path);
      const level = TROUBLE.has(code) ? "warn" : "debug";
      if (!log.isLevelEnabled(level)) return;
      const ms = Math.round(performance.now() - startedAt);
      log[level]({ method: path, status: status[code], ms, ...(code === status.OK ? {} : { details }) }, "call");
    };
    onBegin?.(path);
    return new ServerInterceptingCall(call, {
      // Follows every status too; before one it means that the client has gone or the deadline has passed.
      start: (next) =>
        next({ onCancel: () => end(status.CANCELLED, "the client has gone, or the deadline has passed") }),
      sendStatus: (outcome, next) => {
        end(outcome.code, outcome.details);
        next(outcome);
      },
    });
  };
}
