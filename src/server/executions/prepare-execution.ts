// From a workflow version to an execution: compiled and planned first, then stored in one transaction.
import * as wire from "../../contract/postern/v1/execution.js";
import * as wirePlan from "../../contract/postern/v1/plan.js";
import { type Diagnostic, invalid, notFound, planInvalid } from "../../core/app-error.js";
import type { CacheUse } from "../../core/cache-use.js";
import {
  type ComputingUnitId,
  computingUnitId,
  type ProjectId,
  projectId,
  type WorkflowId,
  workflowId,
} from "../../core/ids.js";
import { didYouMean, listNames } from "../../core/names.js";
import type { DatasetScan, LogicalPlan } from "../../core/plan.js";
import type { CostModel } from "../../core/scheduling/find-schedule.js";
import { cacheUseFromWire, costModelFromWire } from "../../rpc/cache-codec.js";
import { diagnosticToWire, logicalPlanFromWire } from "../../rpc/plan-codec.js";
import { requireResource, requireUser } from "../access/authorization.js";
import type { Caller, UserCaller } from "../access/caller.js";
import type { TokenIssuer } from "../access/tokens.js";
import type { CompilePlan } from "../binding/plan-compiler.js";
import type { Database } from "../database/database.js";
import type { Hints } from "../notifications.js";
import { type ExecutionRow, executionById } from "../repositories/executions.js";
import { workflowVersion } from "../repositories/workflows.js";
import { freeText, versionNumber } from "../request-fields.js";
import { type ReplayableCall, replayable, storedReply } from "../request-replies.js";
import type { PlanScheduler } from "../scheduling/plan-scheduler.js";
import { executionSpec } from "./execution-plan.js";
import { executionToWire } from "./execution-wire.js";
import { reuseOfEnded } from "./record-reuse.js";
import { type PlannedExecution, planExecution } from "./reuse-planning.js";
import { CacheChanged, type NewRun, type StoreDeps, type StoredExecution, storeExecution } from "./store-execution.js";

export interface PrepareDeps extends StoreDeps {
  db: Database;
  hints: Hints;
  tokens: TokenIssuer;
  compile: CompilePlan;
  schedule: PlanScheduler["schedule"];
  resultRoot: string;
  leaseMs: number;
  maxAttempts: number;
}

const MOST_ATTEMPTS = 100;

/**
 * PrepareExecution. Compiling and planning take their time and no connection; the transaction that follows stores what
 * came of it, once it has seen that datasets and reused objects are still those. The stored reply holds no token: a
 * repeated request gets a fresh one.
 */
export async function prepareExecution(
  deps: PrepareDeps,
  request: wire.PrepareExecutionRequest,
  caller: Caller,
  signal: AbortSignal,
): Promise<wire.PrepareExecutionResponse> {
  const user = requireUser(caller);
  const wanted = readRequest(request, deps.maxAttempts);
  const call = {
    subject: user.subject,
    projectId: wanted.projectId,
    requestId: request.requestId,
    method: "PrepareExecution",
    request,
    requestType: wire.PrepareExecutionRequest,
    replyType: wire.PrepareExecutionResponse,
  };
  const [, stored] = await inOrder(requireRights(deps.db, wanted, user), storedReply(deps.db, call));
  const prepared = stored ? { reply: stored } : await prepareAnew(deps, wanted, user, call, signal);
  const { row, reuse } = prepared.stored ?? (await asItIs(deps.db, prepared.reply.execution!.id));
  if (row.state === "QUEUED") deps.hints.executionQueued(row.projectId, row.computingUnitId);
  return { ...prepared.reply, execution: executionToWire(row, reuse), ...(await handOver(deps, row)) };
}

/** Several promises under way at once; of those that reject, the first in order tells why. */
async function inOrder<Results extends unknown[]>(
  ...promises: { [I in keyof Results]: Promise<Results[I]> }
): Promise<Results> {
  await Promise.allSettled(promises);
  return Promise.all(promises);
}

async function requireRights(db: Database, { projectId, workflowId, computingUnitId }: Wanted, user: UserCaller) {
  await inOrder(
    requireResource(db, user, { projectId, kind: "WORKFLOW", id: workflowId }, "READ"),
    requireResource(db, user, { projectId, kind: "COMPUTING_UNIT", id: computingUnitId }, "WRITE"),
  );
}

/** The request with its fields checked. */
interface Wanted {
  projectId: ProjectId;
  workflowId: WorkflowId;
  version: number;
  computingUnitId: ComputingUnitId;
  name: string;
  maxAttempts: number;
  queue: boolean;
  cache: CacheUse;
  /** Undefined: choose. */
  costModel: CostModel | undefined;
}

function readRequest(request: wire.PrepareExecutionRequest, defaultAttempts: number): Wanted {
  const maxAttempts = request.maxAttempts || defaultAttempts;
  if (maxAttempts < 1 || maxAttempts > MOST_ATTEMPTS) throw invalid(`max_attempts must be 1 to ${MOST_ATTEMPTS}.`);
  return {
    projectId: projectId(request.projectId),
    workflowId: workflowId(request.workflowId),
    version: versionNumber(request.workflowVersion),
    computingUnitId: computingUnitId(request.computingUnitId),
    name: freeText(request.name, "name", 200),
    maxAttempts,
    queue: request.queue,
    cache: cacheUseFromWire(request.cache),
    costModel: costModelFromWire(request.costModel),
  };
}

type Call = ReplayableCall<wire.PrepareExecutionRequest, wire.PrepareExecutionResponse>;

/** Plans and stores; when an object goes in between, once more from the start, because everything else may have changed. */
async function prepareAnew(
  deps: PrepareDeps,
  wanted: Wanted,
  user: UserCaller,
  call: Call,
  signal: AbortSignal,
): Promise<{ reply: wire.PrepareExecutionResponse; stored?: StoredExecution }> {
  const prepareOnce = async () => {
    const { run, diagnostics } = await planVersion(deps, wanted, user, signal);
    let stored: StoredExecution | undefined; // unless another call with this request id was faster
    const reply = await replayable(deps.db, call, async (tx) => {
      stored = await storeExecution(deps, tx, run, user);
      const execution = executionToWire(stored.row, stored.reuse);
      const found = diagnostics.map(diagnosticToWire);
      return { execution, spec: undefined, token: "", tokenExpiresAt: undefined, diagnostics: found };
    });
    return { reply, stored };
  };
  return prepareOnce().catch((error) => {
    if (error instanceof CacheChanged) return prepareOnce();
    throw error;
  });
}

/** An execution of an earlier call. */
async function asItIs(db: Database, id: string): Promise<StoredExecution> {
  const row = await executionById(db, id);
  if (!row) throw notFound(`execution "${id}"`);
  return { row, reuse: await reuseOfEnded(db, row) };
}

/** The version, compiled for the caller's datasets and planned with what the cache has. */
async function planVersion(
  deps: PrepareDeps,
  wanted: Wanted,
  user: UserCaller,
  signal: AbortSignal,
): Promise<{ run: NewRun; diagnostics: Diagnostic[] }> {
  const version = await workflowVersion(deps.db, wanted);
  if (!version) throw notFound(`version ${wanted.version} of workflow "${wanted.workflowId}"`);
  const drawn = logicalPlanFromWire(wirePlan.LogicalPlan.fromJSON(version.plan));
  requireOperators(wanted.cache, drawn);
  const datasets = new Map<string, DatasetScan>();
  const resolve = async (reference: string) => {
    const scan = await deps.resolveDataset(deps.db, user, wanted.projectId, reference);
    if (scan) datasets.set(reference, scan);
    return scan;
  };
  let planned: PlannedExecution | undefined;
  const compilation = await deps.compile(drawn, resolve, signal, async (plan, viewed) => {
    planned = await planExecution(deps, plan, viewed, { ...wanted, subject: user.subject });
    return planned.plan;
  });
  if (!compilation.ok) throw planInvalid(compilation.diagnostics);
  const { planDigest, diagnostics } = compilation;
  const run = { ...wanted, workflowVersion: version.version, datasets, planned: planned!, planDigest };
  return { run, diagnostics };
}

/** Refuses modes for operators nobody has drawn: a misspelt one would be reused against its author's will. */
function requireOperators({ operators: modes }: CacheUse, { operators }: LogicalPlan): void {
  const drawn = new Set(operators.map(({ id }) => id));
  for (const id of Object.keys(modes)) {
    if (drawn.has(id)) continue;
    const shown = JSON.stringify(id.slice(0, 140));
    throw invalid(
      `cache.operators names ${shown}, and the workflow has no such operator${didYouMean(id, drawn)} Its operators are ${listNames([...drawn])}.`,
    );
  }
}

/** Spec and token of an execution that waits for the caller's own executor; nothing for any other. */
async function handOver(deps: PrepareDeps, row: ExecutionRow): Promise<Partial<wire.PrepareExecutionResponse>> {
  if (row.queued || row.state !== "PREPARED") return {};
  const { token, expiresAt } = await deps.tokens.mintExecutionToken({
    executionId: row.id,
    attempt: row.attempt,
    epoch: row.epoch,
  });
  return { spec: await executionSpec(deps.db, row, deps), token, tokenExpiresAt: expiresAt };
}
