// Projects: everything that can happen to those rows, one statement each.
import type { Role } from "../../core/access.js";
import type { Queryable } from "../database/database.js";

export interface ProjectRow {
  id: string;
  name: string;
  createdAt: Date;
}

/** Makes a project; undefined when the id is taken. */
export async function addProject(
  tx: Queryable,
  project: { id: string; name: string; createdBy: string },
): Promise<ProjectRow | undefined> {
  const [row] = await tx.query<ProjectRow>(
    `insert into project (id, name, created_by) values (:id, :name, :createdBy)
     on conflict (id) do nothing returning id, name, created_at`,
    project,
  );
  return row;
}

/** The projects a subject is a member of, by id, with its role. */
export async function projectsOf(db: Queryable, subject: string): Promise<(ProjectRow & { role: Role })[]> {
  return db.query<ProjectRow & { role: Role }>(
    `select p.id, p.name, p.created_at, m.role from project_member m join project p on p.id = m.project_id
     where m.subject = :subject order by p.id`,
    { subject },
  );
}

/** Holds a project still until the transaction ends, so that changes to its members follow one another. */
export async function lockProject(tx: Queryable, id: string): Promise<void> {
  await tx.query("select from project where id = :id for no key update", { id });
}
