// Words of access control ⇄ the wire: roles, permissions, kinds of resources, scopes.
import * as wire from "../contract/postern/v1/access.js";
import { Scope } from "../contract/postern/v1/options.js";
import type { Permission, ResourceKind, Role } from "../core/access.js";
import { enumCodec } from "./enum-codec.js";

export const roles = enumCodec<Role, wire.Role>("role", {
  VIEWER: wire.Role.ROLE_VIEWER,
  EDITOR: wire.Role.ROLE_EDITOR,
  OWNER: wire.Role.ROLE_OWNER,
});

export const permissions = enumCodec<Permission, wire.Permission>("permission", {
  READ: wire.Permission.PERMISSION_READ,
  WRITE: wire.Permission.PERMISSION_WRITE,
});

export const resourceKinds = enumCodec<ResourceKind, wire.ResourceKind>("resource kind", {
  WORKFLOW: wire.ResourceKind.RESOURCE_KIND_WORKFLOW,
  DATASET: wire.ResourceKind.RESOURCE_KIND_DATASET,
  COMPUTING_UNIT: wire.ResourceKind.RESOURCE_KIND_COMPUTING_UNIT,
});

export const scopes = enumCodec<"read" | "write" | "run" | "admin" | "execution" | "serve", Scope>("scope", {
  read: Scope.SCOPE_READ,
  write: Scope.SCOPE_WRITE,
  run: Scope.SCOPE_RUN,
  admin: Scope.SCOPE_ADMIN,
  execution: Scope.SCOPE_EXECUTION,
  serve: Scope.SCOPE_SERVE,
});
