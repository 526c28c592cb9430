// CacheService: results remembered by fingerprint.
import type { CacheServiceServer } from "../../contract/postern/v1/cache.js";
import { invalid } from "../../core/app-error.js";
import { projectId, workflowId } from "../../core/ids.js";
import type { ServiceMethods } from "../../rpc/handlers.js";
import { requireResource, requireRole, requireUser } from "../access/authorization.js";
import type { CallContext } from "../access/caller.js";
import type { Database } from "../database/database.js";
import { cutPage, nameAfter } from "../page-tokens.js";
import { addAuditEntry } from "../repositories/audit-log.js";
import {
  cacheStatistics,
  deleteCacheEntries,
  listCacheEntries,
  selectCacheEntries,
} from "../repositories/cache-entries.js";
import { pageSize } from "../request-fields.js";

interface Deps {
  db: Database;
}

export function cacheService({ db }: Deps): ServiceMethods<CacheServiceServer, CallContext> {
  return {
    async listEntries(request, { caller }) {
      const of = { projectId: projectId(request.projectId), workflowId: workflowId(request.workflowId) };
      const size = pageSize(request.pageSize);
      const offset = offsetOf(request.pageToken);
      await requireResource(db, caller, { projectId: of.projectId, kind: "WORKFLOW", id: of.workflowId }, "READ");
      const rows = await listCacheEntries(db, { ...of, offset, limit: size + 1 });
      const { items, nextPageToken } = cutPage("cache-entries", rows, size, () => String(offset + size));
      return { entries: items, nextPageToken };
    },

    async invalidate(request, { caller }) {
      const of = { projectId: projectId(request.projectId), workflowId: workflowId(request.workflowId) };
      await requireResource(db, caller, { projectId: of.projectId, kind: "WORKFLOW", id: of.workflowId }, "WRITE");
      const selection = {
        ...of,
        globalPortId: request.globalPortId || null,
        subdagHash: request.subdagHash || null,
      };
      if (request.dryRun) return { entries: await selectCacheEntries(db, selection) };
      const actor = requireUser(caller).subject;
      return db.transaction(async (tx) => {
        const entries = await deleteCacheEntries(tx, selection);
        await addAuditEntry(tx, {
          actor,
          action: "Invalidate",
          projectId: of.projectId,
          resource: `workflow "${of.workflowId}"`,
          detail: { ...selection, entries: entries.length },
        });
        return { entries };
      });
    },

    async getCacheStatistics(request, { caller }) {
      const project = projectId(request.projectId);
      await requireRole(db, caller, project, "VIEWER");
      return cacheStatistics(db, project);
    },
  };
}

function offsetOf(token: string): number {
  const offset = Number(nameAfter("cache-entries", token) || "0");
  if (Number.isSafeInteger(offset) && offset >= 0) return offset;
  throw invalid("The page token is none of this list's; pass a next_page_token as it was returned.");
}
