// Binding a call to an execution: execution → workflow → project → caller.
import { AppError, forbidden, notFound, staleLease } from "../../core/app-error.js";
import { isTerminal } from "../../core/execution-state.js";
import { executionId as parseExecutionId } from "../../core/ids.js";
import type { Queryable } from "../database/database.js";
import { type ExecutionRow, executionById } from "../repositories/executions.js";
import { requireResource } from "./authorization.js";
import type { Caller } from "./caller.js";

const unseen = (id: string): AppError => notFound(`execution "${id}"`);

/** The execution, if the caller may read it: its workflow's readers, and the executor that holds it. */
export async function readableExecution(db: Queryable, caller: Caller, id: string): Promise<ExecutionRow> {
  const row = await executionById(db, parseExecutionId(id));
  if (caller.kind === "execution") {
    requireTokenOf(caller, id, row);
    return row;
  }
  if (!row || !(await allowed(db, caller, row, "READ"))) throw unseen(id);
  return row;
}

/**
 * The execution, if the caller may act on it: whoever started it and still reads its workflow, those who may write the
 * workflow, and the executor that holds it.
 */
export async function writableExecution(db: Queryable, caller: Caller, id: string): Promise<ExecutionRow> {
  const row = await readableExecution(db, caller, id);
  if (caller.kind !== "user" || row.createdBy === caller.subject) return row;
  if (await allowed(db, caller, row, "WRITE")) return row;
  throw forbidden(
    `You may watch execution "${id}" but not act on it; whoever started it may, and writers of its workflow.`,
  );
}

/**
 * Refuses users who would report results of an execution from the queue: what the pool computed counts for others, also
 * where whoever started it may only read the workflow.
 */
export function requireWordOfPool(caller: Caller, row: ExecutionRow): void {
  if (caller.kind === "execution" || !row.queued) return;
  throw forbidden(`Execution "${row.id}" was queued: only the executor that took it reports its results.`);
}

/** The token's fence, if it still holds; the token dies with the execution (S8). */
function requireTokenOf(
  caller: Extract<Caller, { kind: "execution" }>,
  id: string,
  row: ExecutionRow | undefined,
): asserts row is ExecutionRow {
  if (caller.executionId !== id || !row) throw unseen(id);
  if (row.epoch !== caller.epoch || row.attempt !== caller.attempt) throw staleLease(caller.epoch, row.epoch);
  if (isTerminal(row.state)) {
    throw new AppError(
      "unauthenticated",
      "TOKEN_INVALID",
      `Execution "${id}" is ${row.state}; its token ended with it.`,
    );
  }
}

async function allowed(
  db: Queryable,
  caller: Caller,
  row: ExecutionRow,
  permission: "READ" | "WRITE",
): Promise<boolean> {
  const resource = { projectId: row.projectId, kind: "WORKFLOW" as const, id: row.workflowId };
  try {
    await requireResource(db, caller, resource, permission);
    return true;
  } catch (error) {
    if (error instanceof AppError && (error.code === "not-found" || error.code === "forbidden")) return false;
    throw error;
  }
}
