// One Serve stream: a pooled executor tells how much it can take, and gets queued executions of its computing unit.
//
// Q1  An execution is claimed in the database before it is sent (SKIP LOCKED, new epoch); two replicas never send the
//     same one.
// Q2  What is sent and not attached in time goes back to the queue by its lease; what is refused goes back at once.
// Q3  Never more is sent than the executor has free slots for, counting what it has not answered yet.
import type { AssignmentAck, ServeHello, ServeRequest, ServeResponse } from "../../contract/postern/v1/execution.js";
import { forbidden, invalid } from "../../core/app-error.js";
import { isName } from "../../core/ids.js";
import type { Logger } from "../../process/log.js";
import { createWakeUp, type WakeUp } from "../../process/wake-up.js";
import type { Duplex } from "../../rpc/duplex.js";
import type { CallContext, ServeCaller } from "../access/caller.js";
import type { TokenIssuer } from "../access/tokens.js";
import type { Queryable } from "../database/database.js";
import { resourceStanding } from "../repositories/access.js";
import { claimQueuedExecution, type Fence } from "../repositories/execution-leases.js";
import type { ExecutionRow } from "../repositories/executions.js";
import type { ConnectedExecutor, ConnectedExecutors } from "./connected-executors.js";
import { logStateChange } from "./execution-log.js";
import { executionSpec } from "./execution-plan.js";
import { PROTOCOL_VERSION, sendDrain } from "./executor-session.js";
import { firstFrame, nextFrame } from "./first-frame.js";
import { giveUpLease, type LostLeaseDeps } from "./lost-leases.js";

export interface ServeSessionDeps extends LostLeaseDeps {
  tokens: TokenIssuer;
  connected: ConnectedExecutors;
  resultRoot: string;
  leaseMs: number;
  attachWithinMs: number;
  serverId: string;
  /** Aborts when this replica begins to stop. */
  draining: AbortSignal;
}

type Stream = Duplex<ServeRequest, ServeResponse>;

/** How long a lost hint can delay a queued execution. */
const QUEUE_BACKSTOP_MS = 1_000;
const MOST_SLOTS = 1_000;
/** How long an executor may go on getting work after whoever let it serve lost the right to. */
const RIGHT_CHECK_MS = 60_000;

/** What the session knows of its executor. */
interface Served extends ConnectedExecutor {
  /** Assignments sent and not yet answered. */
  unanswered: Map<string, Fence>;
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
  const served: Served = {
    executorId: hello.executorId,
    projectId,
    computingUnitId,
    freeSlots: hello.slots,
    unanswered: new Map(),
  };
  const log = context.log.child({ executorId: hello.executorId, projectId, computingUnitId });
  const { leaseMs, serverId } = deps;
  await stream.send({ frame: { $case: "welcome", value: { computingUnitId, leaseMs, serverId } } });
  log.info({ slots: hello.slots, sandboxLayers: hello.sandboxLayers }, "executor serves");

  const ended = new AbortController();
  const signal = AbortSignal.any([context.signal, ended.signal]);
  const wakeUp = createWakeUp();
  const stopListening = deps.hints.onQueue(projectId, computingUnitId, wakeUp.wake);
  const disconnect = deps.connected.add(served);
  const assigning = Promise.all([
    assignQueued(deps, stream, served, caller, wakeUp, AbortSignal.any([signal, deps.draining]), log),
    sendDrain(stream, deps.draining, signal),
  ]);
  // When assigning fails the executor must notice: the stream is of no use without it.
  const broken = assigning.then(() => new Promise<never>(() => {}));
  try {
    await Promise.race([readFrames(deps, stream, frames, served, caller, wakeUp, log, signal), broken]);
  } finally {
    ended.abort();
    stopListening();
    disconnect();
    await assigning.catch((error: unknown) => log.debug({ err: error }, "assigning stopped"));
    log.info("executor stopped serving");
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
  return hello;
}

function requireSlots(slots: number): void {
  if (slots >= 0 && slots <= MOST_SLOTS) return;
  throw invalid(`An executor has 0 to ${MOST_SLOTS} slots, not ${slots}.`);
}

async function readFrames(
  deps: ServeSessionDeps,
  stream: Stream,
  frames: AsyncIterator<ServeRequest>,
  served: Served,
  caller: ServeCaller,
  wakeUp: WakeUp,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const next = await nextFrame(frames, signal);
    if (next.done) return;
    const { frame } = next.value;
    switch (frame?.$case) {
      case "slotsChanged":
        requireSlots(frame.value.freeSlots);
        served.freeSlots = frame.value.freeSlots;
        wakeUp.wake();
        break;
      case "assignmentAck":
        await takeAnswer(deps, served, frame.value, log);
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

/** A taken assignment uses a slot until SlotsChanged says otherwise; a refused one goes back to the queue (Q2). */
async function takeAnswer(deps: ServeSessionDeps, served: Served, ack: AssignmentAck, log: Logger): Promise<void> {
  const fence = served.unanswered.get(ack.executionId);
  if (!fence) return;
  served.unanswered.delete(ack.executionId);
  if (ack.refused === "") {
    served.freeSlots--;
    return;
  }
  log.warn({ executionId: ack.executionId, refused: ack.refused.slice(0, 500) }, "assignment refused");
  // The executor said that it cannot; it gets nothing more until it tells of a free slot.
  served.freeSlots = 0;
  await giveUpLease(deps, fence);
}

/** Claims and sends executions while there are free slots (Q1, Q3). */
async function assignQueued(
  deps: ServeSessionDeps,
  stream: Stream,
  served: Served,
  caller: ServeCaller,
  wakeUp: WakeUp,
  signal: AbortSignal,
  log: Logger,
): Promise<void> {
  let checkedAt = deps.now().getTime();
  while (!signal.aborted) {
    if (deps.now().getTime() - checkedAt > RIGHT_CHECK_MS) {
      await requireServeRight(deps.db, caller);
      checkedAt = deps.now().getTime();
    }
    while (served.freeSlots > served.unanswered.size && !signal.aborted) {
      const row = await claim(deps, served);
      if (!row) break;
      await assign(deps, stream, served, row, log);
    }
    await wakeUp.wait(QUEUE_BACKSTOP_MS, signal);
  }
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

async function claim(
  deps: ServeSessionDeps,
  { projectId, computingUnitId, executorId }: Served,
): Promise<ExecutionRow | undefined> {
  const { attachWithinMs } = deps;
  const row = await deps.db.transaction(async (tx) => {
    const claimed = await claimQueuedExecution(tx, { projectId, computingUnitId, attachWithinMs });
    if (!claimed) return undefined;
    const { id, lastEventNumber: number, attempt, state } = claimed;
    const comment = `assigned to ${executorId}`;
    await logStateChange(tx, { executionId: id, number, attempt, state, comment, now: deps.now() });
    return claimed;
  });
  if (row) deps.hints.executionChanged(row.id);
  return row;
}

async function assign(
  deps: ServeSessionDeps,
  stream: Stream,
  served: Served,
  row: ExecutionRow,
  log: Logger,
): Promise<void> {
  const fence: Fence = { executionId: row.id, attempt: row.attempt, epoch: row.epoch };
  served.unanswered.set(row.id, fence);
  try {
    const [spec, { token }] = await Promise.all([
      executionSpec(deps.db, row, deps),
      deps.tokens.mintExecutionToken(fence),
    ]);
    const { attachWithinMs } = deps;
    await stream.send({ frame: { $case: "assignment", value: { spec, token, attachWithinMs } } });
    log.info({ executionId: row.id, attempt: row.attempt }, "execution assigned");
  } catch (error) {
    // Its lease would bring it back too; this is sooner.
    served.unanswered.delete(row.id);
    await giveUpLease(deps, fence);
    throw error;
  }
}
