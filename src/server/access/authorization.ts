// May this caller do this? Asked at the head of every service method, answered with one statement.
//
// Z1  What a caller may not see and what does not exist end in the same error with the same message.
// Z2  PERMISSION_DENIED is only for callers who may see the thing anyway.
import { accessTo, type Permission, type Role, roleIncludes } from "../../core/access.js";
import { AppError, forbidden, notFound } from "../../core/app-error.js";
import type { Queryable } from "../database/database.js";
import { type ResourceRef, resourceStanding, roleIn, seesProject } from "../repositories/access.js";
import type { Caller, UserCaller } from "./caller.js";

/** Who acts, for calls that only people (with a user token) may make. */
export function requireUser(caller: Caller): UserCaller {
  if (caller.kind === "user") return caller;
  if (caller.kind === "anonymous") {
    throw new AppError("unauthenticated", "TOKEN_INVALID", "This call needs a user token; send one as a bearer token.");
  }
  throw forbidden("This call needs a user token; the token of an executor does not speak for a user.");
}

/** Refuses unless the resource exists and the caller may read, or for WRITE also write, it. */
export async function requireResource(
  db: Queryable,
  caller: Caller,
  resource: ResourceRef,
  permission: Permission,
): Promise<void> {
  const { subject } = requireUser(caller);
  const standing = await resourceStanding(db, { ...resource, subject });
  const access = standing.exists ? accessTo(resource.kind, standing) : "NONE";
  if (access === "NONE") throw notFound(describe(resource));
  if (permission === "WRITE" && access !== "WRITE") throw readOnly(resource);
}

/** True when the resource exists and the caller may write it. */
export async function mayWrite(db: Queryable, caller: Caller, resource: ResourceRef): Promise<boolean> {
  const { subject } = requireUser(caller);
  const standing = await resourceStanding(db, { ...resource, subject });
  return standing.exists && accessTo(resource.kind, standing) === "WRITE";
}

/** Refuses unless the caller may write the resource or, where it does not exist yet, may make it. */
export async function requireWriteOrCreate(db: Queryable, caller: Caller, resource: ResourceRef): Promise<void> {
  const { subject } = requireUser(caller);
  const standing = await resourceStanding(db, { ...resource, subject });
  const access = accessTo(resource.kind, standing);
  if (access === "WRITE") return;
  throw access === "READ" ? readOnly(resource) : notFound(describe(resource));
}

/** Refuses unless the caller is a member of the project with at least this role. */
export async function requireRole(db: Queryable, caller: Caller, projectId: string, least: Role): Promise<void> {
  const { subject } = requireUser(caller);
  const role = await roleIn(db, { projectId, subject });
  if (role === undefined) throw notFound(`project ${JSON.stringify(projectId)}`);
  if (roleIncludes(role, least)) return;
  throw forbidden(`This needs the role ${least} in project ${JSON.stringify(projectId)}; yours is ${role}.`);
}

/**
 * Refuses unless the caller sees the project or anything in it; returns who it is. Lists call this first and then keep
 * only what the caller may read (`visibleTo`): a caller with a single grant sees a list of one.
 */
export async function visibleProject(db: Queryable, caller: Caller, projectId: string): Promise<UserCaller> {
  const user = requireUser(caller);
  if (await seesProject(db, { projectId, subject: user.subject })) return user;
  throw notFound(`project ${JSON.stringify(projectId)}`);
}

const KIND_WORDS = { WORKFLOW: "workflow", DATASET: "dataset", COMPUTING_UNIT: "computing unit" } as const;

/** A resource in words: `workflow "sales"`. */
export const describe = ({ kind, id }: ResourceRef): string => `${KIND_WORDS[kind]} ${JSON.stringify(id)}`;

const readOnly = (resource: ResourceRef): AppError =>
  forbidden(
    resource.kind === "COMPUTING_UNIT"
      ? `You may see ${describe(resource)} but not use it; ask an owner of its project for a grant.`
      : `You may read ${describe(resource)} but not write it; ask an owner of its project for a grant.`,
  );
