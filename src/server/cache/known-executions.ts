// What a lookup has to know of its execution, remembered: an executor that asks again costs no read of it.
//
// E1  Only what does not change while an execution is live is kept here. Whether it is live, and under whose lease, the
//     statement of the lookup sees for itself (repositories/cache-plan-lookup.ts); a lookup that it turns down is
//     answered from the execution's row.
// E2  For executors alone, whose token names its execution. What a user may do changes with grants and is looked up.
import type { Caller } from "../access/caller.js";
import type { Database } from "../database/database.js";
import { oncePerDatabase } from "../database/shared-reads.js";
import type { ExecutionRow } from "../repositories/executions.js";

export type KnownExecution = Pick<ExecutionRow, "id" | "projectId" | "planDigest" | "cache" | "trusted">;

const MOST_EXECUTIONS = 4_096;
const remembered = oncePerDatabase(() => new Map<string, KnownExecution>());

/** The execution of this executor, if it has asked before. */
export function knownExecution(db: Database, caller: Caller, executionId: string): KnownExecution | undefined {
  const isItsOwn = caller.kind === "execution" && caller.executionId === executionId;
  return isItsOwn ? remembered(db).get(executionId) : undefined;
}

/** Remembers the execution of this executor. */
export function knowExecution(db: Database, caller: Caller, row: ExecutionRow): void {
  if (caller.kind !== "execution") return;
  const known = remembered(db);
  const { id, projectId, planDigest, cache, trusted } = row;
  known.delete(id);
  known.set(id, { id, projectId, planDigest, cache, trusted });
  if (known.size > MOST_EXECUTIONS) known.delete(known.keys().next().value!); // the oldest
}
