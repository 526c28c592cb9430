// One Attach stream: Hello, then events in (stored, then acknowledged), commands and tokens out, until Complete.
//
// X1  Nothing is read before Hello has taken the lease, and nothing is written but through the fence it gave.
// X2  An Ack is sent after the commit it tells of.
// X3  When the stream ends without Complete the lease stays until it runs out, so that the executor can come back;
//     Goodbye gives it up at once.
import type {
  AttachRequest,
  AttachResponse,
  CommandAck,
  Complete,
  EventBatch,
  Hello,
} from "../../contract/postern/v1/execution.js";
import { AppError, illegalTransition, invalid, notFound, staleLease } from "../../core/app-error.js";
import { type ExecutionState, isTerminal } from "../../core/execution-state.js";
import { isName } from "../../core/ids.js";
import type { Logger } from "../../process/log.js";
import { createWakeUp } from "../../process/wake-up.js";
import type { Duplex } from "../../rpc/duplex.js";
import { executionStateToWire } from "../../rpc/state-codec.js";
import type { CallContext, ExecutionCaller } from "../access/caller.js";
import type { TokenIssuer } from "../access/tokens.js";
import { acknowledgeCommand, pendingCommands } from "../repositories/execution-commands.js";
import { attachExecutor, extendLease } from "../repositories/execution-leases.js";
import { type ExecutionRow, executionById } from "../repositories/executions.js";
import { storableText } from "../request-fields.js";
import { type CompletionDeps, completeExecution } from "./completion.js";
import { type ReportedAttempt, storeEvents } from "./event-store.js";
import { storedPlan } from "./execution-plan.js";
import { commandToWire } from "./execution-wire.js";
import { firstFrame, nextFrame } from "./first-frame.js";
import { giveUpLease } from "./lost-leases.js";
import { executionPrefix } from "./result-location.js";

/** Version of the Attach and Serve protocols this server speaks. */
export const PROTOCOL_VERSION = 1;
/** Events an executor may send beyond the last acknowledged one. */
const CREDIT_WINDOW = 10_000n;
/** How long open streams may go on once a replica begins to stop. */
export const DRAIN_GRACE_MS = 5_000;
/** How long a lost hint can delay a command. */
const COMMAND_BACKSTOP_MS = 1_000;

export interface ExecutorSessionDeps extends CompletionDeps {
  tokens: TokenIssuer;
  leaseMs: number;
  /** Life of an execution token. */
  executionTokenMs: number;
  serverId: string;
  /** Aborts when this replica begins to stop. */
  draining: AbortSignal;
}

type Stream = Duplex<AttachRequest, AttachResponse>;

/** Speaks with one executor until it completes, leaves, or the stream breaks. */
export async function runExecutorSession(
  deps: ExecutorSessionDeps,
  stream: Stream,
  caller: ExecutionCaller,
  context: CallContext,
): Promise<void> {
  const frames = stream.incoming[Symbol.asyncIterator]();
  const hello = await helloOf(frames, context.signal);
  const row = await takeLease(deps, caller, hello);
  const ended = new AbortController();
  const signal = AbortSignal.any([context.signal, ended.signal]);
  const log = context.log.child({ executionId: row.id, attempt: row.attempt, executorId: hello.executorId });
  const attempt: ReportedAttempt = {
    executionId: row.id,
    attempt: row.attempt,
    epoch: row.epoch,
    plan: await storedPlan(deps.db, row.id),
    prefix: executionPrefix(deps.resultRoot, row),
    leaseMs: deps.leaseMs,
  };
  await stream.send({
    frame: {
      $case: "welcome",
      value: {
        lastSequence: row.lastSequence,
        epoch: row.epoch,
        leaseMs: deps.leaseMs,
        credit: row.lastSequence + CREDIT_WINDOW,
        state: executionStateToWire(row.state),
        serverId: deps.serverId,
      },
    },
  });
  log.info({ lastSequence: String(row.lastSequence) }, "executor attached");
  const outgoing = Promise.all([
    sendCommands(deps, stream, row.id, signal),
    sendTokens(deps, stream, attempt, row.epoch !== caller.epoch, signal),
    sendDrain(stream, deps.draining, signal),
  ]);
  // When a side that speaks fails, for instance because the database was away, the stream must end, or the executor
  // would go on with a server that never sends it a command again. It comes back at once.
  const broken = outgoing.then(() => new Promise<never>(() => {}));
  try {
    const reading = readFrames(deps, stream, frames, attempt, row.lastSequence, log, signal);
    const how = await Promise.race([reading, broken]);
    log.info({ how }, "executor session ended");
  } finally {
    ended.abort();
  }
}

async function helloOf(frames: AsyncIterator<AttachRequest>, signal: AbortSignal): Promise<Hello> {
  const first = await firstFrame(frames, signal);
  if (first?.frame?.$case === "hello") return first.frame.value;
  throw invalid("The first frame of an executor must be Hello.");
}

/** The fenced UPDATE that gives this executor the lease (X1), or the reason why not. */
async function takeLease(deps: ExecutorSessionDeps, caller: ExecutionCaller, hello: Hello): Promise<ExecutionRow> {
  if (hello.protocolVersion !== PROTOCOL_VERSION) {
    throw invalid(
      `This server speaks version ${PROTOCOL_VERSION} of the Attach protocol, not ${hello.protocolVersion}.`,
    );
  }
  if (hello.executionId !== caller.executionId || hello.attempt !== caller.attempt) {
    throw new AppError(
      "forbidden",
      "STALE_LEASE",
      "The token speaks for another execution or attempt than Hello does.",
    );
  }
  if (!isName(hello.executorId)) throw invalid("Hello must name the executor: letters, digits and `_ . -`.");
  const fence = { executionId: caller.executionId, attempt: caller.attempt, epoch: caller.epoch };
  const { executorId, planDigest } = hello;
  const row = await attachExecutor(deps.db, { ...fence, executorId, planDigest, leaseMs: deps.leaseMs });
  if (!row) throw await attachRefusal(deps, caller, hello);
  return row;
}

async function attachRefusal(deps: ExecutorSessionDeps, caller: ExecutionCaller, hello: Hello): Promise<AppError> {
  const row = await executionById(deps.db, caller.executionId);
  if (!row) return notFound(`execution "${caller.executionId}"`);
  if (isTerminal(row.state)) return illegalTransition(row.state, "attached to");
  if (row.epoch !== caller.epoch || row.attempt !== caller.attempt) return staleLease(caller.epoch, row.epoch);
  if (row.state === "QUEUED") return illegalTransition(row.state, "attached to");
  if (hello.planDigest !== row.planDigest) {
    return invalid(`The executor holds plan ${hello.planDigest || "(none)"}, the execution runs ${row.planDigest}.`);
  }
  return new AppError("precondition", "LEASE_HELD", `Executor ${row.executorId} holds this attempt and is alive.`);
}

/** Carries out what the executor sends, one frame after the other; resolves when it is done. */
async function readFrames(
  deps: ExecutorSessionDeps,
  stream: Stream,
  frames: AsyncIterator<AttachRequest>,
  attempt: ReportedAttempt,
  lastSequence: bigint,
  log: Logger,
  signal: AbortSignal,
): Promise<"completed" | "left" | "disconnected"> {
  let stored = lastSequence;
  for (;;) {
    const next = await nextFrame(frames, signal);
    if (next.done) return "disconnected";
    const { frame } = next.value;
    switch (frame?.$case) {
      case "events":
        stored = await takeEvents(deps, stream, attempt, frame.value, stored);
        break;
      case "heartbeat":
        await answerHeartbeat(deps, stream, attempt);
        break;
      case "commandAck":
        await takeCommandAck(deps, attempt, frame.value);
        break;
      case "tokenRefresh":
        await grantToken(deps, stream, attempt);
        break;
      case "complete":
        await takeComplete(deps, stream, attempt, frame.value);
        return "completed";
      case "goodbye":
        log.warn({ reason: frame.value.reason.slice(0, 500) }, "executor gives its attempt up");
        await giveUpLease(deps, attempt);
        return "left";
      case "hello":
        throw invalid("Hello may be said once only.");
      default:
        throw invalid("This server does not know that frame; the executor is newer than it.");
    }
  }
}

async function takeEvents(
  deps: ExecutorSessionDeps,
  stream: Stream,
  attempt: ReportedAttempt,
  { events }: EventBatch,
  lastSequence: bigint,
): Promise<bigint> {
  const outcome = await storeEvents(deps, attempt, events, lastSequence);
  if (outcome.kind === "gap") {
    await stream.send({ frame: { $case: "nack", value: { expected: outcome.expected } } });
    return lastSequence;
  }
  const sequence = outcome.lastSequence;
  await stream.send({ frame: { $case: "ack", value: { sequence, credit: sequence + CREDIT_WINDOW } } });
  return sequence;
}

async function answerHeartbeat(deps: ExecutorSessionDeps, stream: Stream, attempt: ReportedAttempt): Promise<void> {
  const held = await extendLease(deps.db, attempt);
  if (!held) {
    const row = await executionById(deps.db, attempt.executionId);
    if (!row) throw notFound(`execution "${attempt.executionId}"`);
    throw row.epoch === attempt.epoch
      ? illegalTransition(row.state, "kept alive")
      : staleLease(attempt.epoch, row.epoch);
  }
  await stream.send({ frame: { $case: "heartbeat", value: { sentAt: deps.now() } } });
}

async function takeCommandAck(deps: ExecutorSessionDeps, attempt: ReportedAttempt, ack: CommandAck): Promise<void> {
  const { executionId } = attempt;
  await acknowledgeCommand(deps.db, { commandId: ack.commandId, executionId, refused: storableText(ack.refused, 500) });
}

async function takeComplete(
  deps: ExecutorSessionDeps,
  stream: Stream,
  { executionId, attempt, epoch }: ReportedAttempt,
  { manifest }: Complete,
): Promise<void> {
  if (!manifest) throw invalid("Complete must carry a manifest.");
  if (manifest.executionId !== executionId || manifest.attempt !== attempt) {
    throw invalid("The manifest is of another execution or attempt than this stream.");
  }
  const row = await completeExecution(deps, manifest, { actor: `execution ${executionId}`, epoch, onStream: true });
  const state: ExecutionState = row.state;
  await stream.send({ frame: { $case: "completeAck", value: { state: executionStateToWire(state) } } });
}

/** Sends each pending command once per stream, as soon as a hint or the backstop shows it. */
async function sendCommands(
  deps: ExecutorSessionDeps,
  stream: Stream,
  executionId: string,
  signal: AbortSignal,
): Promise<void> {
  const sent = new Set<string>();
  const wakeUp = createWakeUp();
  const stopListening = deps.hints.onCommand(executionId, wakeUp.wake);
  try {
    while (!signal.aborted) {
      for (const command of await pendingCommands(deps.db, executionId)) {
        if (sent.has(command.commandId)) continue;
        sent.add(command.commandId);
        await stream.send({ frame: { $case: "command", value: commandToWire(command) } });
      }
      await wakeUp.wait(COMMAND_BACKSTOP_MS, signal);
    }
  } finally {
    stopListening();
  }
}

/** Tells the executor once that this replica stops, so that it reconnects elsewhere with nothing unacknowledged. */
export async function sendDrain(
  stream: { send(message: { frame: { $case: "drain"; value: { graceMs: number } } }): Promise<void> },
  draining: AbortSignal,
  ended: AbortSignal,
): Promise<void> {
  const wakeUp = createWakeUp();
  const either = AbortSignal.any([draining, ended]);
  while (!either.aborted) await wakeUp.wait(undefined, either);
  if (!ended.aborted) await stream.send({ frame: { $case: "drain", value: { graceMs: DRAIN_GRACE_MS } } });
}

async function grantToken(deps: ExecutorSessionDeps, stream: Stream, attempt: ReportedAttempt): Promise<Date> {
  const { token, expiresAt } = await deps.tokens.mintExecutionToken(attempt);
  await stream.send({ frame: { $case: "tokenGrant", value: { token, expiresAt } } });
  return expiresAt;
}

/** Renews the token at two thirds of its life; at once when a takeover raised the epoch it must carry. */
async function sendTokens(
  deps: ExecutorSessionDeps,
  stream: Stream,
  attempt: ReportedAttempt,
  atOnce: boolean,
  signal: AbortSignal,
): Promise<void> {
  const wakeUp = createWakeUp();
  let waitMs = atOnce ? 0 : deps.executionTokenMs / 3;
  while (!signal.aborted) {
    if (waitMs > 0) await wakeUp.wait(waitMs, signal);
    if (signal.aborted) return;
    const expiresAt = await grantToken(deps, stream, attempt);
    waitMs = Math.max(1_000, ((expiresAt.getTime() - deps.now().getTime()) * 2) / 3);
  }
}
