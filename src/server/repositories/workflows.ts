// Workflows and their versions: everything that can happen to those rows, one statement each.
import type { Queryable } from "../database/database.js";
import { visibleTo } from "./access.js";

export interface WorkflowRow {
  projectId: string;
  id: string;
  latestVersion: number;
  public: boolean;
  createdBy: string;
  createdAt: Date;
}

/** A version without its plan. */
export interface WorkflowVersionRow {
  projectId: string;
  workflowId: string;
  version: number;
  digest: string;
  comment: string;
  createdBy: string;
  createdAt: Date;
}
/** A version with its plan, the proto3 JSON of LogicalPlan. */
export interface WorkflowVersionWithPlan extends WorkflowVersionRow {
  plan: unknown;
}

const VERSION_COLUMNS = "v.project_id, v.workflow_id, v.version, v.digest, v.comment, v.created_by, v.created_at";

/**
 * Makes the workflow when it is new and takes its row lock either way, so that versions are numbered one at a time. A
 * new workflow has version 0 until `addWorkflowVersion` in the same transaction.
 */
export async function lockWorkflow(
  tx: Queryable,
  workflow: { projectId: string; workflowId: string; createdBy: string },
): Promise<void> {
  await tx.query(
    `insert into workflow (project_id, id, latest_version, created_by) values (:projectId, :workflowId, 0, :createdBy)
     on conflict (project_id, id) do update set latest_version = workflow.latest_version`,
    workflow,
  );
}

/** Stores the next version; only after `lockWorkflow` in the same transaction. */
export async function addWorkflowVersion(
  tx: Queryable,
  version: {
    projectId: string;
    workflowId: string;
    /** JSON text. */
    plan: string;
    digest: string;
    comment: string;
    createdBy: string;
  },
): Promise<WorkflowVersionWithPlan> {
  const [row] = await tx.query<WorkflowVersionWithPlan>(
    `with numbered as (
       update workflow set latest_version = latest_version + 1 where project_id = :projectId and id = :workflowId
       returning latest_version)
     insert into workflow_version as v (project_id, workflow_id, version, plan, digest, comment, created_by)
     select :projectId, :workflowId, latest_version, cast(:plan as jsonb), :digest, :comment, :createdBy from numbered
     returning ${VERSION_COLUMNS}, v.plan`,
    version,
  );
  return row!;
}

/** One version with its plan; version 0 means the newest. Undefined when there is none. */
export async function workflowVersion(
  db: Queryable,
  version: { projectId: string; workflowId: string; version: number },
): Promise<WorkflowVersionWithPlan | undefined> {
  const [row] = await db.query<WorkflowVersionWithPlan>(
    `select ${VERSION_COLUMNS}, v.plan
     from workflow w join workflow_version v on v.project_id = w.project_id and v.workflow_id = w.id
       and v.version = coalesce(nullif(cast(:version as integer), 0), w.latest_version)
     where w.project_id = :projectId and w.id = :workflowId`,
    version,
  );
  return row;
}

/** The project's workflows the subject may read whose id comes after `after`, by id. */
export async function visibleWorkflows(
  db: Queryable,
  page: { projectId: string; subject: string; after: string; limit: number },
): Promise<WorkflowRow[]> {
  return db.query<WorkflowRow>(
    `select w.project_id, w.id, w.latest_version, w.public, w.created_by, w.created_at from workflow w
     where w.project_id = :projectId and w.id > :after and ${visibleTo("WORKFLOW", "w")}
     order by w.id limit :limit`,
    page,
  );
}

/** The versions of a workflow numbered below `before`, newest first, without their plans. */
export async function workflowVersions(
  db: Queryable,
  page: { projectId: string; workflowId: string; before: number; limit: number },
): Promise<WorkflowVersionRow[]> {
  return db.query<WorkflowVersionRow>(
    `select ${VERSION_COLUMNS} from workflow_version v
     where v.project_id = :projectId and v.workflow_id = :workflowId and v.version < :before
     order by v.version desc limit :limit`,
    page,
  );
}

/** Opens or closes a workflow to everybody; false when there is none. */
export async function setWorkflowPublic(
  tx: Queryable,
  workflow: { projectId: string; id: string; public: boolean },
): Promise<boolean> {
  const rows = await tx.query(
    "update workflow set public = :public where project_id = :projectId and id = :id returning id",
    workflow,
  );
  return rows.length > 0;
}
