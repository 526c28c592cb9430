// CacheService, what a project keeps: listed, forgotten, explained, counted, and for how long.
import type * as wire from "../../contract/postern/v1/cache.js";
import { invalid } from "../../core/app-error.js";
import { datasetId, type ProjectId, projectId, type WorkflowId, workflowId } from "../../core/ids.js";
import { parseGlobalPortId } from "../../core/plan.js";
import type { ServiceMethods } from "../../rpc/handlers.js";
import { requireResource, requireRole, requireUser } from "../access/authorization.js";
import type { CallContext, Caller } from "../access/caller.js";
import { type ExplainDeps, explainPorts } from "../cache/miss-explanation.js";
import type { Database } from "../database/database.js";
import { cutPage, nameAfter } from "../page-tokens.js";
import { addAuditEntry } from "../repositories/audit-log.js";
import { type CacheEntryRow, type EntryPosition, listCacheEntries } from "../repositories/cache-entries.js";
import { type CacheSelection, deleteCacheEntries, selectCacheEntries } from "../repositories/cache-invalidation.js";
import { type CachePolicy, cachePolicy, putCachePolicy } from "../repositories/cache-policy.js";
import { cacheStatistics } from "../repositories/cache-statistics.js";
import { freeText, pageSize, present, versionNumber } from "../request-fields.js";

interface Deps extends ExplainDeps {
  db: Database;
}

type Keeping =
  | "listEntries"
  | "invalidate"
  | "explainMiss"
  | "getCacheStatistics"
  | "getCachePolicy"
  | "setCachePolicy";

export function cacheKeepingMethods(deps: Deps): Pick<ServiceMethods<wire.CacheServiceServer, CallContext>, Keeping> {
  const { db } = deps;
  return {
    async listEntries(request, { caller }) {
      const of = { projectId: projectId(request.projectId), workflowId: workflowId(request.workflowId) };
      const size = pageSize(request.pageSize);
      const after = positionIn(request.pageToken);
      await requireResource(db, caller, workflowOf(of), "READ");
      const rows = await listCacheEntries(db, { ...of, after, limit: size + 1 });
      const { items, nextPageToken } = cutPage("cache-entries", rows, sizeThatFits(rows, size), positionText);
      return { entries: items, nextPageToken };
    },

    async invalidate(request, { caller }) {
      const selection = selectionIn(request);
      const { projectId: project, workflowId: workflow } = selection;
      if (workflow === null) await requireRole(db, caller, project, "EDITOR");
      else await requireResource(db, caller, workflowOf({ projectId: project, workflowId: workflow }), "WRITE");
      if (request.dryRun) return selectCacheEntries(db, selection);
      const actor = requireUser(caller).subject;
      return db.transaction(async (tx) => {
        const forgotten = await deleteCacheEntries(tx, selection);
        await addAuditEntry(tx, {
          actor,
          action: "Invalidate",
          projectId: project,
          resource: workflow === null ? `project "${project}"` : `workflow "${workflow}"`,
          detail: { ...selection, entries: Number(forgotten.entryCount) },
        });
        return forgotten;
      });
    },

    async explainMiss(request, { caller, signal }) {
      const of = { projectId: projectId(request.projectId), workflowId: workflowId(request.workflowId) };
      const version = versionNumber(request.version);
      const globalPortIds = request.globalPortIds.map(portId);
      await requireResource(db, caller, workflowOf(of), "READ");
      return { ports: await explainPorts(deps, { ...of, plan: request.plan, version, globalPortIds }, caller, signal) };
    },

    async getCacheStatistics(request, { caller }) {
      const project = projectId(request.projectId);
      const workflow = request.workflowId === "" ? null : workflowId(request.workflowId);
      await requireRole(db, caller, project, "VIEWER");
      if (workflow) await requireResource(db, caller, workflowOf({ projectId: project, workflowId: workflow }), "READ");
      return cacheStatistics(db, { projectId: project, workflowId: workflow });
    },

    async getCachePolicy(request, { caller }) {
      const project = projectId(request.projectId);
      await requireRole(db, caller, project, "VIEWER");
      return { policy: await cachePolicy(db, project) };
    },

    async setCachePolicy(request, { caller }) {
      const project = projectId(request.projectId);
      const policy = policyIn(request);
      await requireRole(db, caller, project, "OWNER");
      await db.transaction((tx) => setPolicy(tx, project, policy, caller));
      return { policy };
    },
  };
}

const workflowOf = (of: { projectId: string; workflowId: string }) =>
  ({ projectId: of.projectId, kind: "WORKFLOW", id: of.workflowId }) as const;

/** Fingerprints hold user code, and a message has its limit: a page that grows too large ends early. */
const PAGE_BYTES = 2 * 1024 * 1024;

function sizeThatFits(rows: CacheEntryRow[], size: number): number {
  let bytes = 0;
  const over = rows.findIndex(({ fingerprintJson }) => {
    bytes += Buffer.byteLength(fingerprintJson);
    return bytes > PAGE_BYTES;
  });
  return over < 0 ? size : Math.min(size, Math.max(1, over));
}

const positionText = ({ createdMicros, subdagHash, globalPortId }: EntryPosition) =>
  `${createdMicros} ${subdagHash} ${globalPortId}`;

function positionIn(token: string): EntryPosition | undefined {
  if (token === "") return undefined;
  const [, createdMicros, subdagHash, globalPortId] =
    /^(\d{1,16}) ([0-9a-f]{64}) (.+)$/s.exec(nameAfter("cache-entries", token)) ?? [];
  if (!globalPortId || !parseGlobalPortId(globalPortId))
    throw invalid("The page token is none of this list's; pass a next_page_token as it was returned.");
  return { createdMicros: BigInt(createdMicros!), subdagHash: subdagHash!, globalPortId };
}

function portId(text: string): string {
  if (parseGlobalPortId(text)) return text;
  throw invalid(
    `${JSON.stringify(text.slice(0, 300))} is no printed port key; give global port ids as plans have them.`,
  );
}

const HASH = /^[0-9a-f]{64}$/;

function subdagHash(text: string): string {
  if (HASH.test(text)) return text;
  throw invalid(`${JSON.stringify(text.slice(0, 80))} is no subdag hash: those are 64 hexadecimal digits.`);
}

function selectionIn(request: wire.InvalidateRequest): CacheSelection & { workflowId: WorkflowId | null } {
  const given = <T>(text: string, read: (text: string) => T): T | null => (text === "" ? null : read(text));
  const selection = {
    projectId: projectId(request.projectId),
    workflowId: given(request.workflowId, workflowId),
    globalPortId: given(request.globalPortId, portId),
    subdagHash: given(request.subdagHash, subdagHash),
    datasetId: given(request.datasetId, datasetId),
    datasetVersion: versionNumber(request.datasetVersion) || null,
    operatorType: given(request.operatorType, (text) => freeText(text, "operator type", 200)),
  };
  if (selection.workflowId === null && selection.datasetId === null && selection.operatorType === null)
    throw invalid("Say whose entries: name a workflow, a dataset or an operator type.");
  if (selection.datasetVersion !== null && selection.datasetId === null)
    throw invalid("A dataset version belongs to a dataset: give dataset_id too.");
  return selection;
}

/** A hundred years: what is more cannot be subtracted from a date. */
const MOST_SECONDS = 100n * 365n * 24n * 60n * 60n;

function policyIn(request: wire.SetCachePolicyRequest): CachePolicy {
  const { ttlSeconds, quotaBytes, shared } = present(request.policy, "policy");
  if (ttlSeconds < 0n || ttlSeconds > MOST_SECONDS)
    throw invalid(`ttl_seconds must be 0 (for ever) to ${MOST_SECONDS}; it is ${ttlSeconds}.`);
  if (quotaBytes < 0n) throw invalid(`quota_bytes must be 0 (no limit) or more; it is ${quotaBytes}.`);
  return { ttlSeconds, quotaBytes, shared };
}

async function setPolicy(
  tx: Parameters<typeof putCachePolicy>[0],
  project: ProjectId,
  policy: CachePolicy,
  caller: Caller,
): Promise<void> {
  await putCachePolicy(tx, project, policy);
  await addAuditEntry(tx, {
    actor: requireUser(caller).subject,
    action: "SetCachePolicy",
    projectId: project,
    resource: `project "${project}"`,
    detail: { ttlSeconds: String(policy.ttlSeconds), quotaBytes: String(policy.quotaBytes), shared: policy.shared },
  });
}
