// WorkflowService: named plans and their immutable, numbered versions.
import { LogicalPlan } from "../../contract/postern/v1/plan.js";
import {
  PutWorkflowRequest,
  PutWorkflowResponse,
  type WorkflowServiceServer,
  type WorkflowVersion,
} from "../../contract/postern/v1/workflow.js";
import { AppError, invalid, notFound } from "../../core/app-error.js";
import { digestOf } from "../../core/canonical-json.js";
import { projectId, workflowId } from "../../core/ids.js";
import type { ServiceMethods } from "../../rpc/handlers.js";
import { logicalPlanFromWire, logicalPlanToWire } from "../../rpc/plan-codec.js";
import {
  describe,
  requireResource,
  requireUser,
  requireWriteOrCreate,
  visibleProject,
} from "../access/authorization.js";
import type { CallContext } from "../access/caller.js";
import type { Database, Queryable } from "../database/database.js";
import { cutPage, nameAfter, versionBefore } from "../page-tokens.js";
import {
  addWorkflowVersion,
  lockWorkflow,
  visibleWorkflows,
  type WorkflowVersionRow,
  workflowVersion,
  workflowVersions,
} from "../repositories/workflows.js";
import { freeText, pageSize, present, versionNumber } from "../request-fields.js";
import { replayable } from "../request-replies.js";

interface Deps {
  db: Database;
}

export function workflowService({ db }: Deps): ServiceMethods<WorkflowServiceServer, CallContext> {
  return {
    async putWorkflow(request, { caller }) {
      const { subject } = requireUser(caller);
      const id = { projectId: projectId(request.projectId), workflowId: workflowId(request.workflowId) };
      const comment = freeText(request.comment, "comment", 10_000);
      const { plan, digest } = storedForm(present(request.plan, "plan"));
      await requireWriteOrCreate(db, caller, resource(id));
      const call = {
        subject,
        projectId: id.projectId,
        requestId: request.requestId,
        method: "PutWorkflow",
        request,
        requestType: PutWorkflowRequest,
        replyType: PutWorkflowResponse,
      };
      return replayable(db, call, (tx) => putVersion(tx, { ...id, plan, digest, comment, createdBy: subject }));
    },

    async getWorkflowVersion(request, { caller }) {
      const id = { projectId: projectId(request.projectId), workflowId: workflowId(request.workflowId) };
      const version = versionNumber(request.version);
      await requireResource(db, caller, resource(id), "READ");
      const found = await workflowVersion(db, { ...id, version });
      if (!found) throw notFound(`version ${version} of ${describe(resource(id))}`);
      return { version: versionToWire(found, LogicalPlan.fromJSON(found.plan)) };
    },

    async listWorkflows(request, { caller }) {
      const project = projectId(request.projectId);
      const size = pageSize(request.pageSize);
      const after = nameAfter("workflows", request.pageToken);
      const { subject } = await visibleProject(db, caller, project);
      const rows = await visibleWorkflows(db, { projectId: project, subject, after, limit: size + 1 });
      const { items, nextPageToken } = cutPage("workflows", rows, size, ({ id }) => id);
      return { workflows: items, nextPageToken };
    },

    async listWorkflowVersions(request, { caller }) {
      const id = { projectId: projectId(request.projectId), workflowId: workflowId(request.workflowId) };
      const size = pageSize(request.pageSize);
      const before = versionBefore("workflow-versions", request.pageToken);
      await requireResource(db, caller, resource(id), "READ");
      const rows = await workflowVersions(db, { ...id, before, limit: size + 1 });
      const { items, nextPageToken } = cutPage("workflow-versions", rows, size, ({ version }) => version);
      return { versions: items.map((row) => versionToWire(row, undefined)), nextPageToken };
    },
  };
}

const resource = (id: { projectId: string; workflowId: string }) =>
  ({ projectId: id.projectId, kind: "WORKFLOW", id: id.workflowId }) as const;

/** Stores the plan as the next version unless the newest already is this plan. */
async function putVersion(
  tx: Queryable,
  put: { projectId: string; workflowId: string; plan: string; digest: string; comment: string; createdBy: string },
): Promise<PutWorkflowResponse> {
  await lockWorkflow(tx, put);
  const newest = await workflowVersion(tx, { ...put, version: 0 });
  const created = newest?.digest !== put.digest;
  const version = created ? await addWorkflowVersion(tx, put) : newest!;
  return { version: versionToWire(version, LogicalPlan.fromJSON(JSON.parse(put.plan))), created };
}

/** The plan as it is stored, with every default in place, so that equal plans have one digest. */
function storedForm(plan: LogicalPlan): { plan: string; digest: string } {
  const value = LogicalPlan.toJSON(logicalPlanToWire(logicalPlanFromWire(plan)));
  try {
    const text = JSON.stringify(value);
    if (holdsNul(value)) throw invalid("The plan holds the character U+0000, which cannot be stored; remove it.");
    return { plan: text, digest: digestOf(value) };
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw invalid("The plan holds a number JSON cannot express (NaN or infinity); remove it.", cause);
  }
}

function holdsNul(value: unknown): boolean {
  if (typeof value === "string") return value.includes("\0");
  if (typeof value !== "object" || value === null) return false;
  return Object.entries(value).some(([key, member]) => key.includes("\0") || holdsNul(member));
}

const versionToWire = (row: WorkflowVersionRow, plan: LogicalPlan | undefined): WorkflowVersion => ({
  projectId: row.projectId,
  workflowId: row.workflowId,
  version: row.version,
  digest: row.digest,
  comment: row.comment,
  createdBy: row.createdBy,
  createdAt: row.createdAt,
  plan,
});
