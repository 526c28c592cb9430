// Computing units: everything that can happen to those rows, one statement each.
import type { Queryable } from "../database/database.js";
import { visibleTo } from "./access.js";

export interface ComputingUnitRow {
  projectId: string;
  id: string;
  name: string;
  public: boolean;
}

/** Makes a computing unit or renames it. */
export async function putComputingUnit(
  tx: Queryable,
  unit: { projectId: string; id: string; name: string; createdBy: string },
): Promise<ComputingUnitRow> {
  const [row] = await tx.query<ComputingUnitRow>(
    `insert into computing_unit (project_id, id, name, created_by) values (:projectId, :id, :name, :createdBy)
     on conflict (project_id, id) do update set name = excluded.name
     returning project_id, id, name, public`,
    unit,
  );
  return row!;
}

/** The project's computing units the subject may see, by id. */
export async function visibleComputingUnits(
  db: Queryable,
  { projectId, subject }: { projectId: string; subject: string },
): Promise<ComputingUnitRow[]> {
  return db.query<ComputingUnitRow>(
    `select c.project_id, c.id, c.name, c.public from computing_unit c
     where c.project_id = :projectId and ${visibleTo("COMPUTING_UNIT", "c")} order by c.id`,
    { projectId, subject },
  );
}

/** Opens or closes a computing unit to everybody; false when there is none. */
export async function setComputingUnitPublic(
  tx: Queryable,
  unit: { projectId: string; id: string; public: boolean },
): Promise<boolean> {
  const rows = await tx.query(
    "update computing_unit set public = :public where project_id = :projectId and id = :id returning id",
    unit,
  );
  return rows.length > 0;
}
