// What a program that runs executions sees of its link to the servers; `connect.ts` makes it.
import type { Channel } from "@grpc/grpc-js";
import type { Command, ExecutionSpec, ExecutionState, Manifest } from "../contract/postern/v1/execution.js";
import type { UserFunction_Language } from "../contract/postern/v1/plan.js";
import type { AppError } from "../core/app-error.js";
import type { Logger } from "../process/log.js";
import type { ServerAddress } from "../rpc/channel.js";
import type { EventKind } from "./event-encoding.js";
import type { OutboxLimits } from "./outbox.js";

export interface ConnectOptions {
  /** Tried in turn: each reconnect goes to the next. */
  servers: ServerAddress[];
  /** Names this process; the same in each reconnect. Letters, digits, `_`, `.` and `-`. */
  executorId: string;
  /** Program and release, for people. */
  software: string;
  /** Isolation in force for user code, as told to the server. Default none. */
  sandboxLayers?: string[];
  /** Languages of user code this executor runs. Default none. */
  languages?: UserFunction_Language[];
  /** Told to the server by `serve`. Default none. */
  labels?: Record<string, string>;
  /** Where the outbox goes on when its memory is full. Default nowhere: `report` waits. */
  spill?: { directory: string; maxBytes: number };
  outbox?: Partial<OutboxLimits>;
  /** Default silent. */
  log?: Logger;
  /** False: streams live on the caller's event loop, and a busy one loses leases. Default true. */
  thread?: boolean;
  /** A main thread that gives no sign of life for so long has its executions given back. Default 10 minutes. */
  stallLimitMs?: number;
}

export interface ExecutorConnection {
  /** Takes the lease of one execution. Resolves at the first Welcome; rejects with AppError when refused or unreachable. */
  attach(assignment: { spec: ExecutionSpec; token: string }): Promise<ExecutorSession>;
  /** Takes assignments until `stop` aborts or the server refuses; resolves when nothing runs any more. */
  serve(options: ServeOptions, stop: AbortSignal): Promise<ServeEnd>;
  /**
   * A channel for calls beside the streams, to the next of `servers` in turn. Whoever opens it closes it, and opens
   * another when a server cannot be reached. Such calls run on the caller's event loop.
   */
  openChannel(): Channel;
  /** Gives back what is still open, and ends the thread. */
  close(): Promise<void>;
}

export interface ServeOptions {
  /** The serve token; read again before each reconnect, because its file may have been replaced. */
  readToken(): string;
  /** Executions side by side. */
  slots: number;
  /** How long executions may go on after `stop`, in milliseconds; then they are given back. */
  graceMs: number;
  /** Called at each Welcome. */
  onWelcome?(computingUnitId: string): void;
  /** Does the work. Called once the lease is held; what it throws is reported as a failure of the execution. */
  run(session: ExecutorSession): Promise<Manifest>;
}

/** One execution this process holds the lease of. */
export interface ExecutorSession {
  readonly spec: ExecutionSpec;
  /**
   * The execution's token as of now, for calls beside the stream. It is renewed in the stream: ask again for each call,
   * and let it into no log, argument or file.
   */
  token(): string;
  /** Says something that must arrive: waits while the outbox is full, resolves once it is in. Rejects after the end. */
  report(kind: EventKind): Promise<void>;
  /** Says something that may be dropped: false when it was, for want of room. */
  offer(kind: EventKind): boolean;
  /** Hears each command once, also those that came before; returns why it cannot be carried out, or "". */
  onCommand(handler: (command: Command) => string | Promise<string>): void;
  /** The last report, after everything said before; `last_sequence` is filled in. Resolves with the session's end. */
  complete(manifest: Manifest): Promise<SessionEnd>;
  /** Gives the execution up, so that another executor may go on at once. Resolves when the server knows, or is gone. */
  leave(reason: string): Promise<void>;
  /** Aborts when the work must stop: refused, taken over, lost or left. Its reason is an AppError. */
  readonly signal: AbortSignal;
  readonly ended: Promise<SessionEnd>;
}

/** How an execution ended for this executor. */
export type SessionEnd =
  /** The server has the final report. */
  | { kind: "reported"; state: ExecutionState }
  /** Somebody else has it, or it has ended. */
  | { kind: "refused"; error: AppError }
  /** No server could be reached for so long that it must be gone, or the link itself broke. */
  | { kind: "lost"; error: AppError }
  /** This executor gave it up. */
  | { kind: "left" };

/** Why the executor does not serve any more. */
export type ServeEnd = { kind: "stopped" } | { kind: "refused"; error: AppError };

export type { EventKind, OutboxLimits };
