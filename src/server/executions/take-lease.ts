// Hello: how an executor comes to hold the lease of an execution, or why not.
import { setTimeout as delay } from "node:timers/promises";
import type { Hello } from "../../contract/postern/v1/execution.js";
import { AppError, illegalTransition, invalid, notFound, staleLease } from "../../core/app-error.js";
import { isTerminal } from "../../core/execution-state.js";
import { isName } from "../../core/ids.js";
import type { ExecutorMessage } from "../../rpc/executor-frame.js";
import type { ExecutionCaller } from "../access/caller.js";
import type { Queryable } from "../database/database.js";
import { attachExecutor, isHeldByAnother } from "../repositories/execution-leases.js";
import { type ExecutionRow, executionById } from "../repositories/executions.js";
import { firstFrame } from "./first-frame.js";

/** Version of the Attach and Serve protocols this server speaks. */
export const PROTOCOL_VERSION = 1;

/** The first frame, which must be Hello and fit the token. */
export async function helloOf(
  frames: AsyncIterator<ExecutorMessage>,
  caller: ExecutionCaller,
  signal: AbortSignal,
): Promise<Hello> {
  const first = await firstFrame(frames, signal);
  if (first?.frame?.$case !== "hello") throw invalid("The first frame of an executor must be Hello.");
  const hello = first.frame.value;
  if (hello.protocolVersion !== PROTOCOL_VERSION)
    throw invalid(
      `This server speaks version ${PROTOCOL_VERSION} of the Attach protocol, not ${hello.protocolVersion}.`,
    );
  if (hello.executionId !== caller.executionId || hello.attempt !== caller.attempt)
    throw new AppError(
      "forbidden",
      "STALE_LEASE",
      "The token speaks for another execution or attempt than Hello does.",
    );
  if (!isName(hello.executorId)) throw invalid("Hello must name the executor: letters, digits and `_ . -`.");
  return hello;
}

/** The fenced UPDATE that gives this executor the lease, or the reason why not. */
export async function takeLease(
  db: Queryable,
  caller: ExecutionCaller,
  hello: Hello,
  leaseMs: number,
): Promise<ExecutionRow> {
  const { executionId, attempt, epoch } = caller;
  const { executorId, planDigest } = hello;
  for (let tries = 1; ; tries++) {
    const row = await attachExecutor(db, { executionId, attempt, epoch, executorId, planDigest, leaseMs });
    if (row) return row;
    const error = await refusal(db, caller, hello);
    if (error !== undefined) throw error;
    // Waiting on the lock itself would take a connection that others need.
    if (tries === LOCKED_TRIES) throw busy();
    await delay(LOCKED_PAUSE_MS);
  }
}

/** How often, and after what pauses, an execution somebody is writing is tried before the executor is asked to return. */
const LOCKED_TRIES = 10;
const LOCKED_PAUSE_MS = 30;

const busy = (): AppError =>
  new AppError("unavailable", "UNAVAILABLE", "Somebody else is writing this execution just now; attach again.");

/** Why not; undefined when nothing speaks against it but a lock. */
async function refusal(db: Queryable, caller: ExecutionCaller, hello: Hello): Promise<AppError | undefined> {
  const row = await executionById(db, caller.executionId);
  if (!row) return notFound(`execution "${caller.executionId}"`);
  if (isTerminal(row.state)) return illegalTransition(row.state, "attached to");
  if (row.epoch !== caller.epoch || row.attempt !== caller.attempt) return staleLease(caller.epoch, row.epoch);
  if (row.state === "QUEUED") return illegalTransition(row.state, "attached to");
  if (hello.planDigest !== row.planDigest)
    return invalid(`The executor holds plan ${hello.planDigest || "(none)"}, the execution runs ${row.planDigest}.`);
  if (!(await isHeldByAnother(db, row.id, hello.executorId))) return undefined;
  return new AppError("precondition", "LEASE_HELD", `Executor ${row.executorId} holds this attempt and is alive.`);
}
