// Members of projects: everything that can happen to those rows, one statement each.
import type { Role } from "../../core/access.js";
import type { Queryable } from "../database/database.js";

export interface MemberRow {
  subject: string;
  role: Role;
}

/** Makes the subject a member or changes its role. */
export async function putMember(tx: Queryable, member: MemberRow & { projectId: string }): Promise<void> {
  await tx.query(
    `insert into project_member (project_id, subject, role) values (:projectId, :subject, :role)
     on conflict (project_id, subject) do update set role = excluded.role`,
    { ...member },
  );
}

/** Ends a membership; false when there was none. */
export async function deleteMember(tx: Queryable, member: { projectId: string; subject: string }): Promise<boolean> {
  const rows = await tx.query(
    "delete from project_member where project_id = :projectId and subject = :subject returning subject",
    member,
  );
  return rows.length > 0;
}

/** The members of a project, by subject. */
export async function membersOf(db: Queryable, projectId: string): Promise<MemberRow[]> {
  return db.query<MemberRow>(
    "select subject, role from project_member where project_id = :projectId order by subject",
    { projectId },
  );
}

/** True when somebody else than the subject owns the project; only meaningful under `lockProject`. */
export async function hasOtherOwner(db: Queryable, member: { projectId: string; subject: string }): Promise<boolean> {
  const rows = await db.query(
    `select 1 as found from project_member
     where project_id = :projectId and role = 'OWNER' and subject <> :subject limit 1`,
    member,
  );
  return rows.length > 0;
}
