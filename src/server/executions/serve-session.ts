// One Serve stream: a pooled executor tells how much it can take, and gets queued executions of its computing unit.
//
// Q1  An execution is claimed in the database before it is sent (SKIP LOCKED, new epoch); two replicas never send the
//     same one.
// Q2  What is sent and not attached in time goes back to the queue by its lease; what is refused, or not answered when
//     the stream ends, goes back at once. None of this costs an attempt.
// Q3  Never more is sent than the executor has free slots for, counting what it has not answered yet.
// Q4  An executor that is silent for a whole lease is gone, whatever its connection looks like.
// Q5  What an executor refused is offered to others first.
import type { AssignmentAck, ServeHello, ServeRequest, ServeResponse } from "../../contract/postern/v1/execution.js";
import { AppError, forbidden, invalid } from "../../core/app-error.js";
import { isName } from "../../core/ids.js";
import type { Logger } from "../../process/log.js";
import type { Duplex } from "../../rpc/duplex.js";
import type { CallContext, ServeCaller } from "../access/caller.js";
import type { TokenIssuer } from "../access/tokens.js";
import type { Queryable } from "../database/database.js";
import { resourceStanding } from "../repositories/access.js";
import { claimQueuedExecution, type Fence } from "../repositories/execution-leases.js";
import type { ExecutionRow } from "../repositories/executions.js";
import { storableText } from "../request-fields.js";
import type { ConnectedExecutor, ConnectedExecutors } from "./connected-executors.js";
import { sendDrain } from "./drain.js";
import { logStateChange } from "./execution-log.js";
import { executionSpec } from "./execution-plan.js";
import { firstFrame, nextFrame } from "./first-frame.js";
import { type LostLeaseDeps, returnAssignment } from "./lost-leases.js";
import type { QueueDispatcher, QueueTaker } from "./queue-dispatcher.js";
import { PROTOCOL_VERSION } from "./take-lease.js";

export interface ServeSessionDeps extends LostLeaseDeps {
  tokens: TokenIssuer;
  connected: ConnectedExecutors;
  queues: QueueDispatcher;
  resultRoot: string;
  leaseMs: number;
  attachWithinMs: number;
  serverId: string;
  /** Aborts when this replica begins to stop. */
  draining: AbortSignal;
}

type Stream = Duplex<ServeRequest, ServeResponse>;

const MOST_SLOTS = 1_000;
const MOST_LABELS = 64;
/** How long an executor may go on getting work after whoever let it serve lost the right to. */
const RIGHT_CHECK_MS = 60_000;
/** How long others have the first choice of what an executor refused. */
const REFUSAL_REST_MS = 10_000;

/** One session as its parts know it. */
interface Session {
  deps: ServeSessionDeps;
  stream: Stream;
  caller: ServeCaller;
  executor: ConnectedExecutor;
  /** Assignments sent and not yet answered. */
  unanswered: Map<string, Fence>;
  /** Executions it refused, and until when others go first. */
  refused: Map<string, number>;
  rightCheckedAt: number;
  log: Logger;
  /** Aborts when the session ends. */
  signal: AbortSignal;
  /** Ends it. */
  fail(error: unknown): void;
}

/** Hands executions to one pooled executor until it leaves or the stream breaks. */
export async function runServeSession(
  deps: ServeSessionDeps,
  stream: Stream,
  caller: ServeCaller,
  context: CallContext,
): Promise<void> {
  const frames = stream.incoming[Symbol.asyncIterator]();
  const hello = await helloOf(frames, context.signal);
  await requireServeRight(deps.db, caller);
  const { projectId, computingUnitId } = caller;
  const { executorId, software, labels, slots, sandboxLayers } = hello;
  const ended = new AbortController();
  const session: Session = {
    deps,
    stream,
    caller,
    executor: { executorId, projectId, computingUnitId, freeSlots: slots, software, labels },
    unanswered: new Map(),
    refused: new Map(),
    rightCheckedAt: deps.now().getTime(),
    log: context.log.child({ executorId, projectId, computingUnitId }),
    signal: AbortSignal.any([context.signal, ended.signal]),
    fail: (error) => ended.abort(error),
  };
  const { log } = session;
  const { leaseMs, serverId } = deps;
  await stream.send({ frame: { $case: "welcome", value: { computingUnitId, leaseMs, serverId } } });
  log.info({ slots, software, labels, sandboxLayers }, "executor serves");

  const disconnect = deps.connected.add(session.executor);
  const queue = deps.queues.join({ projectId, computingUnitId }, takerOf(session));
  sendDrain(stream, deps.draining, session.signal).catch(session.fail);
  try {
    await readFrames(session, frames, queue.look);
  } finally {
    ended.abort(new Error("The session has ended."));
    queue.leave();
    disconnect();
    log.info("executor stopped serving");
    await returnUnanswered(session);
  }
}

async function helloOf(frames: AsyncIterator<ServeRequest>, signal: AbortSignal): Promise<ServeHello> {
  const first = await firstFrame(frames, signal);
  if (first?.frame?.$case !== "hello") throw invalid("The first frame of a pooled executor must be its hello.");
  const hello = first.frame.value;
  if (hello.protocolVersion !== PROTOCOL_VERSION) {
    throw invalid(
      `This server speaks version ${PROTOCOL_VERSION} of the Serve protocol, not ${hello.protocolVersion}.`,
    );
  }
  if (!isName(hello.executorId)) throw invalid("The hello must name the executor: letters, digits and `_ . -`.");
  requireSlots(hello.slots);
  const told = [hello.software, ...Object.entries(hello.labels).flat()];
  if (Object.keys(hello.labels).length > MOST_LABELS || told.some((text) => text.length > 200)) {
    throw invalid(`An executor has at most ${MOST_LABELS} labels; they and its software have at most 200 characters.`);
  }
  return hello;
}

function requireSlots(slots: number): void {
  if (slots >= 0 && slots <= MOST_SLOTS) return;
  throw invalid(`An executor has 0 to ${MOST_SLOTS} slots, not ${slots}.`);
}

async function readFrames(session: Session, frames: AsyncIterator<ServeRequest>, look: () => void): Promise<void> {
  const { deps, stream, caller, executor, log } = session;
  for (;;) {
    const next = await frameWithinLease(session, frames);
    if (next.done) return;
    const { frame } = next.value;
    switch (frame?.$case) {
      case "slotsChanged":
        requireSlots(frame.value.freeSlots);
        executor.freeSlots = frame.value.freeSlots;
        look();
        break;
      case "assignmentAck":
        await takeAnswer(session, frame.value);
        break;
      case "heartbeat":
        await stream.send({ frame: { $case: "heartbeat", value: { sentAt: deps.now() } } });
        break;
      case "tokenRefresh": {
        await requireServeRight(deps.db, caller);
        const { token, expiresAt } = await deps.tokens.mintServeToken(caller);
        await stream.send({ frame: { $case: "tokenGrant", value: { token, expiresAt } } });
        break;
      }
      case "goodbye":
        log.info({ reason: frame.value.reason.slice(0, 500) }, "executor says goodbye");
        return;
      case "hello":
        throw invalid("The hello may be said once only.");
      default:
        throw invalid("This server does not know that frame; the executor is newer than it.");
    }
  }
}

/** The next frame. Only the time this waits counts as silence, not what the server itself takes over a frame (Q4). */
async function frameWithinLease(
  { deps: { leaseMs }, signal, fail }: Session,
  frames: AsyncIterator<ServeRequest>,
): Promise<IteratorResult<ServeRequest>> {
  const silent = `Nothing was heard for a whole lease (${leaseMs} ms), so the executor counts as gone; connect again.`;
  const timer = setTimeout(() => fail(new AppError("unavailable", "UNAVAILABLE", silent)), leaseMs);
  try {
    return await nextFrame(frames, signal);
  } finally {
    clearTimeout(timer);
  }
}

/** A taken assignment uses a slot until SlotsChanged says otherwise; a refused one goes back to the queue (Q2). */
async function takeAnswer({ deps, executor, unanswered, refused, log }: Session, ack: AssignmentAck): Promise<void> {
  const fence = unanswered.get(ack.executionId);
  if (!fence) return;
  unanswered.delete(ack.executionId);
  if (ack.refused === "") {
    executor.freeSlots--;
    return;
  }
  const why = storableText(ack.refused, 500);
  log.warn({ executionId: ack.executionId, refused: why }, "assignment refused");
  // The executor said that it cannot; it gets nothing more until it tells of a free slot.
  executor.freeSlots = 0;
  refused.set(ack.executionId, deps.now().getTime() + REFUSAL_REST_MS);
  await returnAssignment(deps, fence, `refused by ${executor.executorId}: ${why}`);
}

async function returnUnanswered({ deps, executor, unanswered, log }: Session): Promise<void> {
  for (const fence of unanswered.values()) {
    await returnAssignment(deps, fence, `${executor.executorId} left before it answered`).catch((error: unknown) =>
      // Its lease brings it back a little later.
      log.warn({ err: error, executionId: fence.executionId }, "an assignment could not be put back at once"),
    );
  }
}

/** The session as the queue sees it (Q1, Q3, Q5). */
function takerOf(session: Session): QueueTaker {
  const { deps, executor, unanswered, refused, signal, fail } = session;
  return {
    hasRoom: () => !signal.aborted && !deps.draining.aborted && executor.freeSlots > unanswered.size,
    async takeOne() {
      if (!(await stillAllowed(session))) return "not for me";
      const now = deps.now().getTime();
      for (const [executionId, until] of refused) if (until <= now) refused.delete(executionId);
      const row = await claim(session);
      if (!row) return refused.size > 0 ? "not for me" : "queue empty";
      const fence: Fence = { executionId: row.id, attempt: row.attempt, epoch: row.epoch };
      if (signal.aborted || deps.draining.aborted) {
        await returnAssignment(deps, fence, `${executor.executorId} left, or its server stops`);
        return "not for me";
      }
      unanswered.set(row.id, fence);
      assign(session, row, fence).catch(fail);
      return "taken";
    },
  };
}

/** Asks now and then whether whoever let the executor serve still may; ends the session when not. */
async function stillAllowed(session: Session): Promise<boolean> {
  const { deps, caller, fail } = session;
  const now = deps.now().getTime();
  if (now - session.rightCheckedAt <= RIGHT_CHECK_MS) return true;
  try {
    await requireServeRight(deps.db, caller);
  } catch (error) {
    if (!(error instanceof AppError && error.code === "forbidden")) throw error;
    fail(error);
    return false;
  }
  session.rightCheckedAt = now;
  return true;
}

/** A serve token is as good as its maker: an owner of the project, which has the computing unit. */
async function requireServeRight(
  db: Queryable,
  { projectId, computingUnitId: id, subject }: ServeCaller,
): Promise<void> {
  const standing = await resourceStanding(db, { projectId, kind: "COMPUTING_UNIT", id, subject });
  if (standing.exists && standing.role === "OWNER") return;
  throw forbidden(
    `This serve token was made by ${JSON.stringify(subject)}, who is no longer an owner of the computing unit's project; ask an owner for a new one.`,
  );
}

async function claim({ deps, executor, refused }: Session): Promise<ExecutionRow | undefined> {
  const { projectId, computingUnitId, executorId } = executor;
  const { attachWithinMs } = deps;
  const row = await deps.db.transaction(async (tx) => {
    const except = [...refused.keys()];
    const claimed = await claimQueuedExecution(tx, { projectId, computingUnitId, attachWithinMs, except });
    if (!claimed) return undefined;
    const { id, lastEventNumber: number, attempt, state } = claimed;
    const comment = `assigned to ${executorId}`;
    await logStateChange(tx, { executionId: id, number, attempt, state, comment, now: deps.now() });
    return claimed;
  });
  if (row) deps.hints.executionChanged(row.id);
  return row;
}

/** Sends what was claimed. When this fails the session ends, and the assignment goes back with it. */
async function assign({ deps, stream, log }: Session, row: ExecutionRow, fence: Fence): Promise<void> {
  const [spec, { token }] = await Promise.all([
    executionSpec(deps.db, row, deps),
    deps.tokens.mintExecutionToken(fence),
  ]);
  const { attachWithinMs } = deps;
  await stream.send({ frame: { $case: "assignment", value: { spec, token, attachWithinMs } } });
  log.info({ executionId: row.id, attempt: row.attempt }, "execution assigned");
}
