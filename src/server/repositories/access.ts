// What ties a subject to a resource or a project: the questions behind every authorization, one statement each.
import type { ResourceKind, Role, Standing } from "../../core/access.js";
import type { Queryable } from "../database/database.js";

/** Names one resource: the id of a workflow or computing unit, the name of a dataset. */
export interface ResourceRef {
  projectId: string;
  kind: ResourceKind;
  id: string;
}

/** Where each kind lives; `id` is the column that `access_grant.resource_id` refers to. */
export const RESOURCE_TABLES = {
  WORKFLOW: { table: "workflow", id: "id" },
  DATASET: { table: "dataset", id: "name" },
  COMPUTING_UNIT: { table: "computing_unit", id: "id" },
} as const satisfies Record<ResourceKind, { table: string; id: string }>;

/** A standing, and whether the resource exists at all (a member has a standing even towards what is not there). */
export interface ResourceStanding extends Standing {
  exists: boolean;
}

/** Tells existence, role, grant and public flag in one statement. */
export async function resourceStanding(
  db: Queryable,
  resource: ResourceRef & { subject: string },
): Promise<ResourceStanding> {
  const { table, id } = RESOURCE_TABLES[resource.kind];
  const [standing] = await db.query<ResourceStanding>(
    `select r.${id} is not null as "exists", m.role, g.permission as "grant", coalesce(r.public, false) as public
     from (select 1) as one
     left join ${table} r on r.project_id = :projectId and r.${id} = :id
     left join project_member m on m.project_id = :projectId and m.subject = :subject
     left join access_grant g on g.project_id = :projectId and g.resource_kind = :kind and g.resource_id = r.${id}
       and g.subject = :subject`,
    { ...resource },
  );
  return standing!;
}

/** The subject's role in a project; undefined when it is no member or there is no such project. */
export async function roleIn(db: Queryable, member: { projectId: string; subject: string }): Promise<Role | undefined> {
  const [row] = await db.query<{ role: Role }>(
    "select role from project_member where project_id = :projectId and subject = :subject",
    member,
  );
  return row?.role;
}

/** True when the subject is a member, holds a grant in the project, or the project has anything public. */
export async function seesProject(db: Queryable, member: { projectId: string; subject: string }): Promise<boolean> {
  const [row] = await db.query<{ sees: boolean }>(
    `select exists (select from project_member where project_id = :projectId and subject = :subject)
         or exists (select from access_grant where project_id = :projectId and subject = :subject)
         or exists (select from workflow where project_id = :projectId and public)
         or exists (select from dataset where project_id = :projectId and public)
         or exists (select from computing_unit where project_id = :projectId and public) as sees`,
    member,
  );
  return row!.sees;
}

/**
 * The condition by which lists keep what the parameter `:subject` may read; `alias` names the resource's table in the
 * statement. It is A2 of core/access.ts in SQL.
 */
export function visibleTo(kind: ResourceKind, alias: string): string {
  const { id } = RESOURCE_TABLES[kind];
  return `(${alias}.public
      or exists (select from project_member m where m.project_id = ${alias}.project_id and m.subject = :subject)
      or exists (select from access_grant g where g.project_id = ${alias}.project_id and g.resource_kind = '${kind}'
                 and g.resource_id = ${alias}.${id} and g.subject = :subject))`;
}
