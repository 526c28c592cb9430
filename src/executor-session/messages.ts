// What the two halves of the link say to each other: the sessions, on the caller's thread, and the streams, which live
// on a thread of their own (or beside the sessions, when the caller wants none). Only plain data crosses.
import { AppError, type ErrorCode, type ErrorDetail } from "../core/app-error.js";
import type { ServerAddress } from "../rpc/channel.js";
import type { OutboxLimits, Room } from "./outbox.js";
import type { ServeEnd, SessionEnd } from "./session-api.js";

/** Handed to the streams at their start. */
export interface StreamOptions {
  servers: ServerAddress[];
  executorId: string;
  software: string;
  sandboxLayers: string[];
  /** Numbers of UserFunction.Language. */
  languages: number[];
  labels: Record<string, string>;
  spill: { directory: string; maxBytes: number } | undefined;
  outbox: Partial<OutboxLimits>;
  /** 0: nobody is watched, because both halves share a thread. */
  stallLimitMs: number;
}

/** Number of a session within its connection: even ones are attached by the caller, odd ones come by Serve. */
export type SessionNumber = number;

export type ToStreams =
  | { kind: "attach"; session: SessionNumber; spec: LinkedExecution; token: string }
  /** Encoded events, end to end. */
  | { kind: "events"; session: SessionNumber; bytes: Uint8Array }
  /** An encoded Manifest. */
  | { kind: "complete"; session: SessionNumber; manifest: Uint8Array }
  | { kind: "commandDone"; session: SessionNumber; commandId: string; refused: string }
  | { kind: "leave"; session: SessionNumber; reason: string }
  /** The work of a served execution is over, its slot free. */
  | { kind: "released"; session: SessionNumber }
  | { kind: "serve"; token: string; slots: number; graceMs: number }
  /** Undefined: it cannot be read now. */
  | { kind: "serveToken"; token: string | undefined }
  | { kind: "stopServing" }
  | { kind: "pong" }
  | { kind: "close" };

export type FromStreams =
  | { kind: "welcome"; session: SessionNumber; lastSequence: number; room: Room }
  /** An execution came by Serve and its lease is held; an encoded ExecutionSpec. */
  | {
      kind: "assigned";
      session: SessionNumber;
      spec: Uint8Array;
      token: string;
      lastSequence: number;
      room: Room;
    }
  /** The session's token from now on. */
  | { kind: "token"; session: SessionNumber; token: string }
  | { kind: "room"; session: SessionNumber; room: Room }
  /** An encoded Command. */
  | { kind: "command"; session: SessionNumber; command: Uint8Array }
  | { kind: "ended"; session: SessionNumber; end: Packed<SessionEnd> }
  | { kind: "serveWelcome"; computingUnitId: string }
  | { kind: "serveTokenWanted" }
  | { kind: "served"; end: Packed<ServeEnd> }
  /** Serving ended because the sessions' half did not answer. */
  | { kind: "stalled"; error: PackedError }
  | { kind: "log"; level: LogLevel; fields: Record<string, unknown>; message: string }
  | { kind: "ping" }
  | { kind: "closed" };

/** What a stream needs to know of an execution. */
export interface LinkedExecution {
  executionId: string;
  attempt: number;
  planDigest: string;
  leaseMs: number;
}

export type LogLevel = "info" | "warn" | "error";
export type StreamLog = (level: LogLevel, fields: Record<string, unknown>, message: string) => void;

/** One end of the line between the halves. */
export interface Port<Out, In> {
  /** `transfer` is memory the sender gives away. */
  post(message: Out, transfer?: ArrayBuffer[]): void;
  /** Called once; messages that came before are kept. */
  listen(take: (message: In) => void): void;
}

/** An error as plain data: what it says and means, without its cause. */
export interface PackedError {
  code: ErrorCode;
  reason: string;
  message: string;
  detail: ErrorDetail | undefined;
}

export type Packed<End> = End extends { error: AppError } ? Omit<End, "error"> & { error: PackedError } : End;

export const packError = ({ code, reason, message, detail }: AppError): PackedError => ({
  code,
  reason,
  message,
  detail,
});

export const unpackError = ({ code, reason, message, detail }: PackedError): AppError =>
  new AppError(code, reason, message, { detail });

export const packEnd = <End extends SessionEnd | ServeEnd>(end: End): Packed<End> =>
  ("error" in end ? { ...end, error: packError(end.error) } : end) as Packed<End>;

export const unpackEnd = <End extends SessionEnd | ServeEnd>(end: Packed<End>): End =>
  ("error" in end ? { ...end, error: unpackError(end.error as PackedError) } : end) as End;
