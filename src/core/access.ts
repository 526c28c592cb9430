// Who may do what to one resource: the pure decision behind server/access/authorization.ts and every list.
//
// A1  Membership, a single grant and the public flag each open a resource; the strongest of them counts.
// A2  Whatever opens a resource at all lets it be read. Lists rely on this: their SQL asks only "is there any?".

export const ROLES = ["VIEWER", "EDITOR", "OWNER"] as const;
/** What a member of a project may do; each includes the one before it. */
export type Role = (typeof ROLES)[number];

export const PERMISSIONS = ["READ", "WRITE"] as const;
/** What a grant allows. WRITE includes READ; on a computing unit WRITE is the right to run on it. */
export type Permission = (typeof PERMISSIONS)[number];

export const RESOURCE_KINDS = ["WORKFLOW", "DATASET", "COMPUTING_UNIT"] as const;
export type ResourceKind = (typeof RESOURCE_KINDS)[number];

/** What ties a caller to one resource. */
export interface Standing {
  /** Role in the resource's project; null for a non-member. */
  role: Role | null;
  /** Single grant on the resource; null when there is none. */
  grant: Permission | null;
  /** True when the resource is open to everybody with a user token. */
  public: boolean;
}

export type Access = "NONE" | Permission;

/** True when `role` is `least` or more. */
export const roleIncludes = (role: Role | null, least: Role): boolean =>
  role !== null && ROLES.indexOf(role) >= ROLES.indexOf(least);

/** The strongest access a standing gives to a resource of this kind. */
export function accessTo(kind: ResourceKind, standing: Standing): Access {
  const given = [byRole(standing.role), standing.grant, standing.public ? publicAccess(kind) : null];
  if (given.includes("WRITE")) return "WRITE";
  return given.includes("READ") ? "READ" : "NONE";
}

function byRole(role: Role | null): Permission | null {
  if (role === null) return null;
  return roleIncludes(role, "EDITOR") ? "WRITE" : "READ";
}

/** A public computing unit may be used by all, a public workflow or dataset only be read. */
const publicAccess = (kind: ResourceKind): Permission => (kind === "COMPUTING_UNIT" ? "WRITE" : "READ");
