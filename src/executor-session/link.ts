// The link of one execution: attached, and attached again as often as the stream breaks, while the lease may still be
// ours.
//
// K1  A reconnect never restarts the work: it goes on beside it, and the outbox keeps what was not acknowledged.
// K2  A refusal ends the link: somebody else has the execution, or nobody. So does a server that answers the same each
//     time (repeated-ends.ts).
// K3  A command is handed on once, however often it comes; each time it is answered the same.
import { setTimeout as delay } from "node:timers/promises";
import { type Command, ExecutionState, type Hello, type Manifest } from "../contract/postern/v1/execution.js";
import { AppError } from "../core/app-error.js";
import { createBackoff } from "../process/backoff.js";
import { Attachment, type AttachmentEnd } from "./attachment.js";
import type { Dialer } from "./dialer.js";
import { splitEvents } from "./event-encoding.js";
import type { LinkedExecution, StreamLog } from "./messages.js";
import { Outbox, type OutboxLimits, type Room } from "./outbox.js";
import { repeatedEnds } from "./repeated-ends.js";
import type { SessionEnd } from "./session-api.js";
import type { SpillFiles } from "./spill-files.js";
import { type TokenHolder, tokenHolder } from "./token-holder.js";

export interface LinkDeps {
  dialer: Dialer;
  hello: Omit<Hello, "executionId" | "attempt" | "planDigest">;
  outbox: Partial<OutboxLimits>;
  spill: SpillFiles | undefined;
  /** The first Welcome: the lease is ours. */
  onWelcome(lastSequence: number, room: Room): void;
  onCommand(command: Command): void;
  onRoom(room: Room): void;
  /** The token was replaced. */
  onToken(token: string): void;
  now: () => number;
  elapsed: () => number;
  log: StreamLog;
}

/**
 * How long to go on without a server, in leases, and in any case for as long as the token lives: while every server is
 * gone, nobody can give the work to somebody else, and servers that come back find the lease unbroken.
 */
const UNREACHABLE_LEASES = 8;
/** Until Welcome tells, for a spec that does not. */
const FIRST_LEASE_MS = 15_000;
const BACKOFF = { firstMs: 50, maxMs: 1_000 };
/** A stream that is drained sooner than this counts as one that failed. */
const SHORT_MS = 1_000;
/** Commands remembered for K3. */
const COMMANDS = 256;

export class Link {
  /** Resolves once, after which nothing is left of it. */
  readonly ended: Promise<SessionEnd>;
  readonly #deps: LinkDeps;
  readonly #execution: LinkedExecution;
  readonly #token: TokenHolder;
  readonly #outbox: Outbox;
  readonly #leave = new AbortController();
  /** Answers to commands; undefined while one is being carried out. */
  readonly #commands = new Map<string, string | undefined>();
  #attachment: Attachment | undefined;
  #fault: AppError | undefined;
  #welcomed = false;
  #manifest: Manifest | undefined;
  /** On some stream. */
  #completeSent = false;

  constructor(deps: LinkDeps, execution: LinkedExecution, token: string) {
    this.#deps = deps;
    this.#execution = { ...execution, leaseMs: execution.leaseMs || FIRST_LEASE_MS };
    const holder = tokenHolder(token, deps.now);
    this.#token = {
      ...holder,
      replace(next) {
        holder.replace(next);
        deps.onToken(next);
      },
    };
    this.#outbox = new Outbox({
      limits: deps.outbox,
      spill: deps.spill,
      onRoom: deps.onRoom,
      onFault: (error) => this.#fail(error),
    });
    this.ended = this.#stayAttached().finally(() => this.#outbox.close());
  }

  append(events: Uint8Array): void {
    this.#outbox.append(splitEvents(events));
  }

  complete(manifest: Manifest): void {
    this.#manifest = manifest;
    this.#outbox.wakeup.wake();
  }

  commandDone(commandId: string, refused: string): void {
    this.#commands.set(commandId, refused);
    this.#attachment?.acknowledgeCommand(commandId, refused);
  }

  leave(reason: string): void {
    this.#leave.abort(new Error(reason));
  }

  #fail(error: unknown): void {
    this.#fault =
      error instanceof AppError
        ? error
        : new AppError("internal", "INTERNAL", "The outbox broke; the executor's log has the details.", {
            cause: error,
          });
    this.leave(this.#fault.message);
  }

  async #stayAttached(): Promise<SessionEnd> {
    const { dialer, elapsed, log } = this.#deps;
    const backoff = createBackoff(BACKOFF);
    const leave = this.#leave.signal;
    const { executorId } = this.#deps.hello;
    const whyStop = repeatedEnds({ executorId, leaseMs: this.#execution.leaseMs, elapsed });
    let lastUpAt = elapsed();
    while (!leave.aborted) {
      const end = await this.#attach(dialer, leave);
      if (end.kind !== "lost" && end.kind !== "drained") return this.#endFor(end);
      if (end.upForMs > 0) lastUpAt = elapsed();
      if (end.kind === "lost") {
        const error = whyStop(end);
        if (error) return this.#refused(error);
        if (this.#isHopeless(elapsed() - lastUpAt)) return { kind: "lost", error: asUnavailable(end.cause) };
        log("warn", { err: end.cause }, "the stream to the server broke; attaching again");
      }
      const atOnce = end.kind === "drained" && end.upForMs > SHORT_MS;
      // `#attach` and the loop see the signal too.
      if (!atOnce) await delay(backoff.nextDelayMs(end.upForMs), undefined, { signal: leave }).catch(() => {});
    }
    return this.#left();
  }

  async #attach(dialer: Dialer, leave: AbortSignal): Promise<AttachmentEnd> {
    try {
      const { stream, over } = dialer.attach(this.#token.current());
      const attachment = new Attachment(this.#attachmentDeps(), stream);
      this.#attachment = attachment;
      const end = await attachment.run(leave);
      this.#completeSent ||= attachment.completeSent;
      over(end.kind === "lost" || end.kind === "drained");
      return end;
    } catch (cause) {
      return { kind: "lost", upForMs: 0, cause, owed: "" };
    } finally {
      this.#attachment = undefined;
    }
  }

  #attachmentDeps() {
    const { hello, now, elapsed, log } = this.#deps;
    const { executionId, attempt, planDigest, leaseMs } = this.#execution;
    return {
      hello: { ...hello, executionId, attempt, planDigest },
      outbox: this.#outbox,
      token: this.#token,
      onWelcome: (lastSequence: bigint) => this.#welcome(lastSequence),
      onCommand: (command: Command) => this.#command(command),
      manifest: () => this.#manifest,
      leaseMs,
      now,
      elapsed,
      log,
    };
  }

  #welcome(lastSequence: bigint): void {
    if (this.#welcomed) {
      this.#outbox.resume(lastSequence);
      return;
    }
    this.#welcomed = true;
    this.#outbox.begin(Number(lastSequence));
    this.#deps.onWelcome(this.#outbox.lastSequence, this.#outbox.room);
  }

  #command(command: Command): void {
    const { commandId } = command;
    if (this.#commands.has(commandId)) {
      const refused = this.#commands.get(commandId);
      if (refused !== undefined) this.#attachment?.acknowledgeCommand(commandId, refused);
      return;
    }
    this.#commands.set(commandId, undefined);
    if (this.#commands.size > COMMANDS) this.#commands.delete(this.#commands.keys().next().value!);
    this.#deps.onCommand(command);
  }

  #isHopeless(downForMs: number): boolean {
    if (downForMs <= this.#execution.leaseMs * UNREACHABLE_LEASES) return false;
    const tokenUntil = this.#token.expiresAt();
    return !this.#welcomed || tokenUntil === Number.POSITIVE_INFINITY || this.#deps.now() > tokenUntil;
  }

  #endFor(end: Exclude<AttachmentEnd, { kind: "lost" | "drained" }>): SessionEnd {
    if (end.kind === "left") return this.#left();
    if (end.kind === "done") return { kind: "reported", state: end.state };
    const state = this.#confirmedBy(end.error);
    return state === undefined ? this.#refused(end.error) : { kind: "reported", state };
  }

  /** The end was committed and only its confirmation was lost, when the execution has ended just as Complete said. */
  #confirmedBy({ reason, detail }: AppError): ExecutionState | undefined {
    if (!this.#completeSent || !this.#manifest || reason !== "ILLEGAL_TRANSITION") return undefined;
    const { state } = this.#manifest;
    return detail?.kind === "IllegalTransition" && `EXECUTION_STATE_${detail.from}` === ExecutionState[state]
      ? state
      : undefined;
  }

  #refused(error: AppError): SessionEnd {
    this.#deps.log("warn", { err: error }, "the server refused this attempt; its work is stopped");
    return { kind: "refused", error };
  }

  #left(): SessionEnd {
    return this.#fault ? { kind: "lost", error: this.#fault } : { kind: "left" };
  }
}

function asUnavailable(cause: unknown): AppError {
  const last = cause instanceof Error ? cause.message : String(cause);
  const message = `No server could be reached for so long that the execution is lost; run it again once one is up. The last try: ${last}`;
  return new AppError("unavailable", "UNAVAILABLE", message, { cause });
}
