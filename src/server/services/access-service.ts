// AccessService: projects, members, grants, public flags, computing units, and the tokens of pooled executors.
//
// Changes to the members of a project follow one another under the project's row lock, and the caller's role is read
// under it: two owners cannot demote each other at the same moment and leave a project without any.
import {
  type AccessServiceServer,
  type ComputingUnit,
  CreateProjectRequest,
  CreateProjectResponse,
  type Resource,
} from "../../contract/postern/v1/access.js";
import type { ResourceKind } from "../../core/access.js";
import { AppError, notFound } from "../../core/app-error.js";
import { computingUnitId, datasetName, projectId, workflowId } from "../../core/ids.js";
import type { Json } from "../../core/plan.js";
import { permissions, resourceKinds, roles, scopes } from "../../rpc/access-codec.js";
import type { ServiceMethods } from "../../rpc/handlers.js";
import { describe, requireRole, requireUser, visibleProject } from "../access/authorization.js";
import type { CallContext, Caller } from "../access/caller.js";
import type { Database, Queryable } from "../database/database.js";
import { type ResourceRef, resourceStanding } from "../repositories/access.js";
import { addAuditEntry } from "../repositories/audit-log.js";
import {
  type ComputingUnitRow,
  putComputingUnit,
  setComputingUnitPublic,
  visibleComputingUnits,
} from "../repositories/computing-units.js";
import { setDatasetPublic } from "../repositories/datasets.js";
import { deleteGrant, type GrantRow, grantsOf, grantsOn, putGrant } from "../repositories/grants.js";
import { deleteMember, hasOtherOwner, membersOf, putMember } from "../repositories/members.js";
import { addProject, lockProject, projectsOf } from "../repositories/projects.js";
import { setWorkflowPublic } from "../repositories/workflows.js";
import { freeText, present, subjectName } from "../request-fields.js";
import { replayable } from "../request-replies.js";

/** Executors that serve one computing unit through this replica, and the executions they could take now. */
export interface ConnectedExecutors {
  executors: number;
  freeSlots: number;
}

interface Deps {
  db: Database;
  /** Counts this replica's executors only: those connected to other replicas are not in it. */
  connectedExecutors(projectId: string, computingUnitId: string): ConnectedExecutors;
  mintServeToken(of: {
    projectId: string;
    computingUnitId: string;
    subject: string;
  }): Promise<{ token: string; expiresAt: Date }>;
}

export function accessService({
  db,
  connectedExecutors,
  mintServeToken,
}: Deps): ServiceMethods<AccessServiceServer, CallContext> {
  /** One change to a project, made by an owner, with its audit entry. */
  const asOwner = <T>(caller: Caller, project: string, work: (tx: Queryable, audit: Audit) => Promise<T>) =>
    db.transaction(async (tx) => {
      const { subject: actor } = requireUser(caller);
      await lockProject(tx, project);
      await requireRole(tx, caller, project, "OWNER");
      return work(tx, (action, resource, detail) =>
        addAuditEntry(tx, { actor, action, projectId: project, resource, detail }),
      );
    });

  const unitToWire = (unit: ComputingUnitRow): ComputingUnit => {
    const { executors, freeSlots } = connectedExecutors(unit.projectId, unit.id);
    return { ...unit, connectedExecutors: executors, freeSlots };
  };

  return {
    async createProject(request, { caller }) {
      const { subject } = requireUser(caller);
      const id = projectId(request.projectId);
      const name = freeText(request.name || id, "project's name", 200);
      const call = {
        subject,
        projectId: id,
        requestId: request.requestId,
        method: "CreateProject",
        request,
        requestType: CreateProjectRequest,
        replyType: CreateProjectResponse,
      };
      return replayable(db, call, async (tx) => {
        const project = await addProject(tx, { id, name, createdBy: subject });
        if (!project) throw taken(id);
        await putMember(tx, { projectId: id, subject, role: "OWNER" });
        await addAuditEntry(tx, {
          actor: subject,
          action: "CreateProject",
          projectId: id,
          resource: describeMember(subject),
          detail: { role: "OWNER" },
        });
        return { project: { ...project, role: roles.toWire("OWNER") } };
      });
    },

    async listProjects(_request, { caller }) {
      const projects = await projectsOf(db, requireUser(caller).subject);
      return { projects: projects.map((p) => ({ ...p, role: roles.toWire(p.role) })) };
    },

    async putMember(request, { caller }) {
      const project = projectId(request.projectId);
      const member = present(request.member, "member");
      const subject = subjectName(member.subject);
      const role = roles.fromWire(member.role);
      await asOwner(caller, project, async (tx, audit) => {
        if (role !== "OWNER") await requireOtherOwner(tx, project, subject, "step down");
        await putMember(tx, { projectId: project, subject, role });
        await audit("PutMember", describeMember(subject), { role });
      });
      return { member: { subject, role: roles.toWire(role) } };
    },

    async deleteMember(request, { caller }) {
      const project = projectId(request.projectId);
      const subject = subjectName(request.subject);
      await asOwner(caller, project, async (tx, audit) => {
        await requireOtherOwner(tx, project, subject, "leave");
        if (await deleteMember(tx, { projectId: project, subject }))
          await audit("DeleteMember", describeMember(subject), {});
      });
      return {};
    },

    async listMembers(request, { caller }) {
      const project = projectId(request.projectId);
      await requireRole(db, caller, project, "VIEWER");
      const members = await membersOf(db, project);
      return { members: members.map(({ subject, role }) => ({ subject, role: roles.toWire(role) })) };
    },

    async putGrant(request, { caller }) {
      const project = projectId(request.projectId);
      const grant = present(request.grant, "grant");
      const resource = resourceRef(project, grant.resource);
      const subject = subjectName(grant.subject);
      const permission = permissions.fromWire(grant.permission);
      await asOwner(caller, project, async (tx, audit) => {
        await requireExisting(tx, caller, resource);
        await putGrant(tx, { ...resource, subject, permission, grantedBy: requireUser(caller).subject });
        await audit("PutGrant", describe(resource), { subject, permission });
      });
      return { grant: grantToWire({ resourceKind: resource.kind, resourceId: resource.id, subject, permission }) };
    },

    async deleteGrant(request, { caller }) {
      const project = projectId(request.projectId);
      const resource = resourceRef(project, request.resource);
      const subject = subjectName(request.subject);
      await asOwner(caller, project, async (tx, audit) => {
        if (await deleteGrant(tx, { ...resource, subject }))
          await audit("DeleteGrant", describe(resource), { subject });
      });
      return {};
    },

    async listGrants(request, { caller }) {
      const project = projectId(request.projectId);
      const resource = request.resource && resourceRef(project, request.resource);
      await requireRole(db, caller, project, "OWNER");
      const grants = resource ? await grantsOn(db, resource) : await grantsOf(db, project);
      return { grants: grants.map(grantToWire) };
    },

    async setPublic(request, { caller }) {
      const project = projectId(request.projectId);
      const resource = resourceRef(project, request.resource);
      await asOwner(caller, project, async (tx, audit) => {
        const found = await SET_PUBLIC[resource.kind](tx, { ...resource, public: request.public });
        if (!found) throw notFound(describe(resource));
        await audit("SetPublic", describe(resource), { public: request.public });
      });
      return {};
    },

    async putComputingUnit(request, { caller }) {
      const project = projectId(request.projectId);
      const id = computingUnitId(request.computingUnitId);
      const name = freeText(request.name || id, "computing unit's name", 200);
      const unit = await asOwner(caller, project, async (tx, audit) => {
        const put = await putComputingUnit(tx, {
          projectId: project,
          id,
          name,
          createdBy: requireUser(caller).subject,
        });
        await audit("PutComputingUnit", describe({ projectId: project, kind: "COMPUTING_UNIT", id }), { name });
        return put;
      });
      return { computingUnit: unitToWire(unit) };
    },

    async listComputingUnits(request, { caller }) {
      const project = projectId(request.projectId);
      const { subject } = await visibleProject(db, caller, project);
      const units = await visibleComputingUnits(db, { projectId: project, subject });
      return { computingUnits: units.map(unitToWire) };
    },

    async createServeToken(request, { caller }) {
      const project = projectId(request.projectId);
      const { subject } = requireUser(caller);
      const id = computingUnitId(request.computingUnitId);
      const resource: ResourceRef = { projectId: project, kind: "COMPUTING_UNIT", id };
      await requireRole(db, caller, project, "OWNER");
      await requireExisting(db, caller, resource);
      const { token, expiresAt } = await mintServeToken({ projectId: project, computingUnitId: id, subject });
      // Told before it is handed out: a token that nobody can account for must not exist.
      await addAuditEntry(db, {
        actor: subject,
        action: "CreateServeToken",
        projectId: project,
        resource: describe(resource),
        detail: { expiresAt: expiresAt.toISOString() },
      });
      return { token, expiresAt };
    },

    async whoAmI(_request, { caller }) {
      const user = requireUser(caller);
      return { subject: user.subject, scopes: [...user.scopes].map(scopes.toWire).sort((a, b) => a - b) };
    },
  };
}

type Audit = (action: string, resource: string, detail: Json) => Promise<void>;

const SET_PUBLIC = {
  WORKFLOW: setWorkflowPublic,
  DATASET: setDatasetPublic,
  COMPUTING_UNIT: setComputingUnitPublic,
} as const satisfies Record<ResourceKind, unknown>;

const NAMES: Record<ResourceKind, (id: string) => string> = {
  WORKFLOW: workflowId,
  DATASET: datasetName,
  COMPUTING_UNIT: computingUnitId,
};

function resourceRef(project: string, resource: Resource | undefined): ResourceRef {
  const { kind, id } = present(resource, "resource");
  const known = resourceKinds.fromWire(kind);
  return { projectId: project, kind: known, id: NAMES[known](id) };
}

const grantToWire = ({ resourceKind, resourceId, subject, permission }: GrantRow) => ({
  resource: { kind: resourceKinds.toWire(resourceKind), id: resourceId },
  subject,
  permission: permissions.toWire(permission),
});

async function requireExisting(db: Queryable, caller: Caller, resource: ResourceRef): Promise<void> {
  const { exists } = await resourceStanding(db, { ...resource, subject: requireUser(caller).subject });
  if (!exists) throw notFound(describe(resource));
}

async function requireOtherOwner(tx: Queryable, project: string, subject: string, verb: string): Promise<void> {
  if (await hasOtherOwner(tx, { projectId: project, subject })) return;
  throw new AppError(
    "precondition",
    "LAST_OWNER",
    `${JSON.stringify(subject)} is the only owner of project ${JSON.stringify(project)} and cannot ${verb}; make somebody else an owner first.`,
  );
}

const taken = (id: string) =>
  new AppError("conflict", "ALREADY_EXISTS", `The project id ${JSON.stringify(id)} is taken; choose another.`);

const describeMember = (subject: string) => `member ${JSON.stringify(subject)}`;
