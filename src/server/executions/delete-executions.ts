// Letting go of executions: their rows, in one transaction. Cache entries they made stay, and the sweeper deletes the
// objects nothing names any more.
import { illegalTransition } from "../../core/app-error.js";
import { isTerminal } from "../../core/execution-state.js";
import type { Database } from "../database/database.js";
import type { Hints } from "../notifications.js";
import { addAuditEntry } from "../repositories/audit-log.js";
import { releaseLogs } from "../repositories/blobs.js";
import { deleteExecutions, lockExecutions } from "../repositories/executions.js";
import { deletePorts } from "../repositories/ports.js";

interface Deps {
  db: Database;
  hints: Hints;
}

/** Deletes ended executions and everything that hangs on them; all or none. Returns the URIs nothing points to now. */
export async function deleteExecutionsOf({ db, hints }: Deps, ids: string[], actor: string): Promise<string[]> {
  const released = await db.transaction(async (tx) => {
    const rows = await lockExecutions(tx, ids);
    for (const row of rows) if (!isTerminal(row.state)) throw illegalTransition(row.state, "deleted");
    const { released: uris } = await deletePorts(tx, ids);
    await releaseLogs(tx, ids);
    await deleteExecutions(tx, ids);
    for (const { id, projectId, workflowId } of rows) {
      const resource = `execution "${id}"`;
      await addAuditEntry(tx, { actor, action: "DeleteExecutions", projectId, resource, detail: { workflowId } });
    }
    return uris;
  });
  for (const id of ids) hints.executionChanged(id);
  return released;
}
