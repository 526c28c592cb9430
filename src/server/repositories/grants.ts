// Single grants: everything that can happen to those rows, one statement each.
import type { Permission, ResourceKind } from "../../core/access.js";
import type { Queryable } from "../database/database.js";
import type { ResourceRef } from "./access.js";

export interface GrantRow {
  resourceKind: ResourceKind;
  resourceId: string;
  subject: string;
  permission: Permission;
}

/** Grants, or changes what is granted. */
export async function putGrant(
  tx: Queryable,
  grant: ResourceRef & { subject: string; permission: Permission; grantedBy: string },
): Promise<void> {
  await tx.query(
    `insert into access_grant (project_id, resource_kind, resource_id, subject, permission, granted_by)
     values (:projectId, :kind, :id, :subject, :permission, :grantedBy)
     on conflict (project_id, resource_kind, resource_id, subject) do update
       set permission = excluded.permission, granted_by = excluded.granted_by, granted_at = now()`,
    { ...grant },
  );
}

/** Takes a grant back; false when there was none. */
export async function deleteGrant(tx: Queryable, grant: ResourceRef & { subject: string }): Promise<boolean> {
  const rows = await tx.query(
    `delete from access_grant
     where project_id = :projectId and resource_kind = :kind and resource_id = :id and subject = :subject
     returning subject`,
    { ...grant },
  );
  return rows.length > 0;
}

/** The grants of a project, by resource and subject. */
export async function grantsOf(db: Queryable, projectId: string): Promise<GrantRow[]> {
  return db.query<GrantRow>(
    `select resource_kind, resource_id, subject, permission from access_grant where project_id = :projectId
     order by resource_kind, resource_id, subject`,
    { projectId },
  );
}

/** The grants on one resource, by subject. */
export async function grantsOn(db: Queryable, resource: ResourceRef): Promise<GrantRow[]> {
  return db.query<GrantRow>(
    `select resource_kind, resource_id, subject, permission from access_grant
     where project_id = :projectId and resource_kind = :kind and resource_id = :id order by subject`,
    { ...resource },
  );
}
