// One Attach stream: Hello, then events in (stored, then acknowledged), commands and tokens out, until Complete.
//
// X1  Nothing is read before Hello has taken the lease, and nothing is written but through the fence it gave.
// X2  An Ack is sent after the commit it tells of. Reading goes on meanwhile, as far as the credit reaches.
// X3  When the stream ends without Complete the lease stays until it runs out, so that the executor can come back;
//     Goodbye gives it up at once.
// X4  A stream that speaks for nothing any more (takeover, newer stream, end) is ended with the reason.
import type { AttachResponse, Complete } from "../../contract/postern/v1/execution.js";
import { AppError, invalid } from "../../core/app-error.js";
import { creditWindow } from "../../core/credit.js";
import type { PhysicalPlan } from "../../core/plan.js";
import type { Logger } from "../../process/log.js";
import type { Duplex } from "../../rpc/duplex.js";
import type { ExecutorMessage } from "../../rpc/executor-frame.js";
import { executionStateToWire } from "../../rpc/state-codec.js";
import type { CallContext, ExecutionCaller } from "../access/caller.js";
import type { TokenIssuer } from "../access/tokens.js";
import { auditingRefusals } from "../cache/refused-offer.js";
import type { CommandRow } from "../repositories/execution-commands.js";
import type { StreamFence } from "../repositories/execution-leases.js";
import type { ExecutionRow } from "../repositories/executions.js";
import { type CompletionDeps, completeExecution } from "./completion.js";
import { DRAIN_GRACE_MS } from "./drain.js";
import { readEventBatch } from "./event-batch.js";
import type { EventCommitter } from "./event-committer.js";
import { effectsOf, type ReportedAttempt } from "./event-effects.js";
import { commandToWire } from "./execution-wire.js";
import { takeCommandAnswer } from "./executor-commands.js";
import { giveUpLease } from "./lost-leases.js";
import { executionPrefix } from "./result-location.js";
import type { AttachedStream, StreamAttention } from "./stream-attention.js";
import type { StreamListener, StreamWriter } from "./stream-writer.js";
import { helloOf, takeLease } from "./take-lease.js";

export interface ExecutorSessionDeps extends CompletionDeps {
  tokens: TokenIssuer;
  committer: EventCommitter;
  attention: StreamAttention;
  planOf(execution: { id: string; planDigest: string }): Promise<PhysicalPlan>;
  leaseMs: number;
  /** A stream is renewed after about this long, before a proxy cuts it. */
  rotateStreamsMs: number;
  serverId: string;
  /** Aborts when this replica begins to stop. */
  draining: AbortSignal;
}

type Stream = Duplex<ExecutorMessage, AttachResponse>;
type Said = NonNullable<AttachResponse["frame"]>;

/** Speaks with one executor until it completes, leaves, or the stream breaks. */
export async function runExecutorSession(
  deps: ExecutorSessionDeps,
  stream: Stream,
  caller: ExecutionCaller,
  context: CallContext,
): Promise<void> {
  const frames = stream.incoming[Symbol.asyncIterator]();
  const hello = await helloOf(frames, caller, context.signal);
  const row = await takeLease(deps.db, caller, hello, deps.leaseMs);
  // The stream this one takes over from is told by whichever replica has it.
  if (row.attachment > 1n) deps.hints.executorConcerned(row.id);
  const plan = await deps.planOf(row);
  const log = context.log.child({ executionId: row.id, attempt: row.attempt, executorId: hello.executorId });
  await new ExecutorSession(deps, stream, row, plan, log).run(frames, context.signal);
}

class ExecutorSession implements StreamListener, AttachedStream {
  readonly fence: StreamFence;
  readonly #deps: ExecutorSessionDeps;
  readonly #stream: Stream;
  readonly #row: ExecutionRow;
  readonly #log: Logger;
  readonly #reported: ReportedAttempt;
  readonly #writer: StreamWriter;
  readonly #commandsSent = new Set<string>();
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Due when the newest token has lived two thirds of its life. */
  #renewal: NodeJS.Timeout | undefined;
  #creditTold = 0n;
  #ackWanted = false;
  #acking = false;
  #beating = false;
  #completing = false;
  #ended = false;
  #end: (why: AppError) => void = () => {};

  constructor(deps: ExecutorSessionDeps, stream: Stream, row: ExecutionRow, plan: PhysicalPlan, log: Logger) {
    const { id: executionId, attempt, epoch, attachment, lastSequence } = row;
    this.#deps = deps;
    this.#stream = stream;
    this.#row = row;
    this.#log = log;
    this.fence = { executionId, attempt, epoch, attachment };
    this.#reported = { executionId, attempt, prefix: executionPrefix(deps.resultRoot, row), plan };
    const { leaseMs } = deps;
    const lastNumber = row.lastEventNumber;
    this.#writer = deps.committer.open({ fence: this.fence, leaseMs, lastSequence, lastNumber, listener: this });
  }

  async run(frames: AsyncIterator<ExecutorMessage>, gone: AbortSignal): Promise<void> {
    const over = new Promise<never>((_, reject) => (this.#end = reject));
    const onGone = () => this.#end(gone.reason);
    gone.addEventListener("abort", onGone, { once: true });
    const { draining } = this.#deps;
    const onDraining = () => this.#drain();
    draining.addEventListener("abort", onDraining, { once: true });
    try {
      if (gone.aborted) throw gone.reason;
      await this.#welcome();
      const ignore = this.#deps.attention.attend(this);
      try {
        // The clock of its token starts now, however long the one it came with has lived; and after a takeover that one
        // does not carry the epoch any more (S8).
        this.#say(this.#grantToken());
        this.#later(this.#deps.rotateStreamsMs * (0.8 + Math.random() * 0.4), onDraining);
        if (draining.aborted) onDraining();
        const how = await Promise.race([this.#readAll(frames), over]);
        this.#log.info({ how }, "executor session ended");
      } finally {
        ignore();
      }
    } finally {
      this.#ended = true;
      gone.removeEventListener("abort", onGone);
      draining.removeEventListener("abort", onDraining);
      for (const timer of this.#timers) clearTimeout(timer);
      this.#deps.committer.release(this.#writer);
    }
  }

  async #welcome(): Promise<void> {
    const { lastSequence, epoch, state } = this.#row;
    const { leaseMs, serverId } = this.#deps;
    const credit = this.#credit();
    const value = { lastSequence, epoch, leaseMs, credit, state: executionStateToWire(state), serverId };
    await this.#send({ $case: "welcome", value });
    if (credit === lastSequence) this.#creditLater();
    this.#log.info({ lastSequence: String(lastSequence) }, "executor attached");
  }

  /** What was taken before something had to be refused is stored before the refusal is told. */
  async #readAll(frames: AsyncIterator<ExecutorMessage>): Promise<string> {
    try {
      return await this.#read(frames);
    } catch (error) {
      await this.#writer.settled();
      throw error;
    }
  }

  /** Carries out what the executor sends, one frame after the other. */
  async #read(frames: AsyncIterator<ExecutorMessage>): Promise<"completed" | "left" | "disconnected"> {
    for (;;) {
      await this.#writer.room();
      await this.#deps.committer.room();
      const next = await frames.next();
      // Whoever ended the session has told why; what still arrives is sent again on the next stream.
      if (next.done || this.#ended) return "disconnected";
      const { frame } = next.value;
      switch (frame?.$case) {
        case "events":
          await this.#takeEvents(frame.value);
          break;
        case "heartbeat":
          this.#writer.beat();
          break;
        case "commandAck":
          await takeCommandAnswer(this.#deps, this.fence, frame.value);
          break;
        case "tokenRefresh":
          await this.#grantToken();
          break;
        case "complete":
          await this.#complete(frame.value);
          return "completed";
        case "goodbye":
          this.#log.warn({ reason: frame.value.reason.slice(0, 500) }, "executor gives its attempt up");
          await this.#writer.settled();
          // Refused meanwhile: the lease is somebody else's, or this executor's newer stream's.
          if (!this.#ended) await giveUpLease(this.#deps, this.fence);
          return "left";
        case "hello":
          throw invalid("Hello may be said once only.");
        default:
          throw invalid("This server does not know that frame; the executor is newer than it.");
      }
    }
  }

  async #takeEvents(bytes: Uint8Array): Promise<void> {
    const batch = readEventBatch(bytes, this.#writer.received);
    const last = batch.first + BigInt(batch.count) - 1n;
    if (last > this.#creditTold)
      throw invalid(
        `Event ${last} is beyond the credit, which ends at ${this.#creditTold}; wait for an Ack to raise it.`,
      );
    const taken = await auditingRefusals(this.#deps.db, `execution ${this.fence.executionId}`, async () =>
      this.#writer.take(batch, (fresh) => effectsOf(this.#reported, fresh)),
    );
    if (taken.kind === "duplicate") this.#acknowledge();
    if (taken.kind === "gap") await this.#send({ $case: "nack", value: { expected: taken.expected } });
  }

  async #complete({ manifest }: Complete): Promise<void> {
    if (!manifest) throw invalid("Complete must carry a manifest.");
    const { executionId, attempt, epoch } = this.fence;
    if (manifest.executionId !== executionId || manifest.attempt !== attempt)
      throw invalid("The manifest is of another execution or attempt than this stream.");
    this.#completing = true;
    await this.#writer.settled();
    const reporter = { actor: `execution ${executionId}`, epoch, onStream: true };
    const { state } = await completeExecution(this.#deps, manifest, reporter);
    await this.#send({ $case: "completeAck", value: { state: executionStateToWire(state) } });
  }

  stored(): void {
    this.#acknowledge();
  }

  /** While one answer is on its way another says nothing new. */
  alive(): void {
    if (this.#beating) return;
    this.#beating = true;
    const beat = this.#send({ $case: "heartbeat", value: { sentAt: this.#deps.now() } });
    this.#say(beat.finally(() => (this.#beating = false)));
  }

  refused(error: AppError): void {
    this.#end(error);
  }

  /** Its own Complete ends the execution too; then the answer is on its way. */
  over(why: AppError): void {
    if (!this.#completing) this.#end(why);
  }

  command(command: CommandRow): void {
    if (command.attempt !== this.fence.attempt || this.#commandsSent.has(command.commandId)) return;
    this.#commandsSent.add(command.commandId);
    this.#say(this.#send({ $case: "command", value: commandToWire(command) }));
  }

  /** Tells how far the attempt is stored; while one Ack is on its way, only the newest number matters. */
  #acknowledge(): void {
    this.#ackWanted = true;
    if (!this.#acking) this.#say(this.#sendAcks());
  }

  async #sendAcks(): Promise<void> {
    this.#acking = true;
    try {
      while (this.#ackWanted && !this.#ended) {
        this.#ackWanted = false;
        const sequence = this.#writer.stored;
        const credit = this.#credit();
        if (credit === sequence) this.#creditLater();
        await this.#send({ $case: "ack", value: { sequence, credit } });
      }
    } finally {
      this.#acking = false;
    }
  }

  /** The executor was told to wait: it hears of the room that comes. */
  #creditLater(): void {
    void this.#deps.committer.room().then(() => this.#acknowledge());
  }

  /** The level to tell now (S6). The highest that was ever told counts, because more may be on its way already. */
  #credit(): bigint {
    const credit = this.#writer.stored + BigInt(creditWindow(this.#deps.committer.load()));
    if (credit > this.#creditTold) this.#creditTold = credit;
    return credit;
  }

  /** Renewed at two thirds of its life. */
  async #grantToken(): Promise<void> {
    const { token, expiresAt } = await this.#deps.tokens.mintExecutionToken(this.fence);
    await this.#send({ $case: "tokenGrant", value: { token, expiresAt } });
    const lifeMs = expiresAt.getTime() - this.#deps.now().getTime();
    if (this.#renewal) this.#forget(this.#renewal);
    this.#renewal = this.#later(Math.max(500, (lifeMs * 2) / 3), () => this.#say(this.#grantToken()));
  }

  #drain(): void {
    this.#say(this.#send({ $case: "drain", value: { graceMs: DRAIN_GRACE_MS } }));
  }

  /** Not after the end: nobody would clear the timer. */
  #later(ms: number, act: () => void): NodeJS.Timeout | undefined {
    if (this.#ended) return undefined;
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        act();
      },
      Math.min(ms, LONGEST_TIMER_MS),
    );
    this.#timers.add(timer);
    return timer;
  }

  #forget(timer: NodeJS.Timeout): void {
    clearTimeout(timer);
    this.#timers.delete(timer);
  }

  async #send(frame: Said): Promise<void> {
    if (!this.#ended) await this.#stream.send({ frame });
  }

  /** For what nobody waits for. When it cannot be said the stream is of no use, and the executor comes back at once. */
  #say(saying: Promise<void>): void {
    saying.catch((cause: unknown) =>
      this.#end(
        cause instanceof AppError
          ? cause
          : new AppError("unavailable", "UNAVAILABLE", "The stream broke; attach again.", { cause }),
      ),
    );
  }
}

/** Node fires a timer that is longer at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
