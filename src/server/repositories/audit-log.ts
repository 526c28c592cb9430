// The audit log: who changed whose access, and when. Rows are only ever added.
import type { Json } from "../../core/plan.js";
import type { Queryable } from "../database/database.js";

export interface AuditEntry {
  /** Subject of the caller. */
  actor: string;
  /** Name of the call, as in the proto: "PutGrant". */
  action: string;
  projectId: string;
  /** What it was done to, in words: `workflow "sales"`. */
  resource: string;
  /** Never holds a token. */
  detail: Json;
}

/** Writes one entry; in the transaction of what it tells, so neither exists without the other. */
export async function addAuditEntry(tx: Queryable, entry: AuditEntry): Promise<void> {
  await tx.query(
    `insert into audit_log (actor, action, project_id, resource, detail)
     values (:actor, :action, :projectId, :resource, cast(:detail as jsonb))`,
    { ...entry, detail: JSON.stringify(entry.detail) },
  );
}
