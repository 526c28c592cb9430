// From a workflow version to an execution: compiled first, then stored in one transaction: datasets, row, plan, log.
import * as wire from "../../contract/postern/v1/execution.js";
import * as wirePlan from "../../contract/postern/v1/plan.js";
import { AppError, type Diagnostic, invalid, notFound, planInvalid } from "../../core/app-error.js";
import {
  type ComputingUnitId,
  computingUnitId,
  newExecutionId,
  type ProjectId,
  projectId,
  type WorkflowId,
  workflowId,
} from "../../core/ids.js";
import type { DatasetScan, PhysicalPlan } from "../../core/plan.js";
import { diagnosticToWire, logicalPlanFromWire, physicalPlanToWire } from "../../rpc/plan-codec.js";
import { mayWrite, requireResource, requireUser } from "../access/authorization.js";
import type { Caller, UserCaller } from "../access/caller.js";
import type { TokenIssuer } from "../access/tokens.js";
import type { CompilePlan } from "../binding/plan-compiler.js";
import type { Database, Queryable } from "../database/database.js";
import type { Hints } from "../notifications.js";
import { addAuditEntry } from "../repositories/audit-log.js";
import { type ExecutionRow, executionById, insertExecution, insertExecutionPlan } from "../repositories/executions.js";
import { workflowVersion } from "../repositories/workflows.js";
import { freeText, versionNumber } from "../request-fields.js";
import { replayable, storedReply } from "../request-replies.js";
import { logStateChange } from "./execution-log.js";
import { executionSpec } from "./execution-plan.js";
import { executionToWire } from "./execution-wire.js";

export interface PrepareDeps {
  db: Database;
  hints: Hints;
  tokens: TokenIssuer;
  compile: CompilePlan;
  resolveDataset: (
    db: Queryable,
    caller: Caller,
    projectId: string,
    reference: string,
  ) => Promise<DatasetScan | undefined>;
  resultRoot: string;
  leaseMs: number;
  /** Life of an execution token: an execution nobody attached to by then is lost. */
  executionTokenMs: number;
  maxAttempts: number;
  now: () => Date;
}

const MOST_ATTEMPTS = 100;

/**
 * PrepareExecution. Compiling takes its time and no connection; the transaction that follows stores what came of it,
 * once it has seen that the datasets are still those. The stored reply holds no token: a repeated request gets a fresh
 * one.
 */
export async function prepareExecution(
  deps: PrepareDeps,
  request: wire.PrepareExecutionRequest,
  caller: Caller,
  signal: AbortSignal,
): Promise<wire.PrepareExecutionResponse> {
  const user = requireUser(caller);
  const wanted = readRequest(request, deps.maxAttempts);
  await requireResource(deps.db, user, workflowOf(wanted), "READ");
  await requireResource(deps.db, user, { ...workflowOf(wanted), kind: "COMPUTING_UNIT", id: wanted.unit }, "WRITE");
  const call = {
    subject: user.subject,
    projectId: wanted.project,
    requestId: request.requestId,
    method: "PrepareExecution",
    request,
    requestType: wire.PrepareExecutionRequest,
    replyType: wire.PrepareExecutionResponse,
  };
  const stored = await storedReply(deps.db, call);
  const compiled = stored ? undefined : await compileVersion(deps, wanted, user, signal);
  const prepared = stored ?? (await replayable(deps.db, call, (tx) => store(deps, tx, wanted, compiled!, user)));
  const row = await executionById(deps.db, prepared.execution!.id);
  if (!row) throw notFound(`execution "${prepared.execution!.id}"`);
  if (row.state === "QUEUED") deps.hints.executionQueued(row.projectId, row.computingUnitId);
  return { ...prepared, execution: executionToWire(row), ...(await handOver(deps, row)) };
}

/** The request with its fields checked. */
interface Wanted {
  project: ProjectId;
  workflow: WorkflowId;
  version: number;
  unit: ComputingUnitId;
  name: string;
  maxAttempts: number;
  queue: boolean;
}

function readRequest(request: wire.PrepareExecutionRequest, defaultAttempts: number): Wanted {
  const maxAttempts = request.maxAttempts || defaultAttempts;
  if (maxAttempts < 1 || maxAttempts > MOST_ATTEMPTS) throw invalid(`max_attempts must be 1 to ${MOST_ATTEMPTS}.`);
  return {
    project: projectId(request.projectId),
    workflow: workflowId(request.workflowId),
    version: versionNumber(request.workflowVersion),
    unit: computingUnitId(request.computingUnitId),
    name: freeText(request.name, "name", 200),
    maxAttempts,
    queue: request.queue,
  };
}

const workflowOf = ({ project, workflow }: Wanted) => ({ projectId: project, kind: "WORKFLOW", id: workflow }) as const;

/** A version's plan, ready to run, and the dataset versions it was compiled for. */
interface Compiled {
  version: number;
  plan: PhysicalPlan;
  planDigest: string;
  diagnostics: Diagnostic[];
  datasets: Map<string, DatasetScan>;
}

async function compileVersion(
  deps: PrepareDeps,
  { project, workflow, version: number }: Wanted,
  user: UserCaller,
  signal: AbortSignal,
): Promise<Compiled> {
  const version = await workflowVersion(deps.db, { projectId: project, workflowId: workflow, version: number });
  if (!version) throw notFound(`version ${number} of workflow "${workflow}"`);
  const datasets = new Map<string, DatasetScan>();
  const resolve = async (reference: string) => {
    const scan = await deps.resolveDataset(deps.db, user, project, reference);
    if (scan) datasets.set(reference, scan);
    return scan;
  };
  const drawn = logicalPlanFromWire(wirePlan.LogicalPlan.fromJSON(version.plan));
  const compilation = await deps.compile(drawn, resolve, signal);
  if (!compilation.ok) throw planInvalid(compilation.diagnostics);
  const { plan, planDigest, diagnostics } = compilation;
  return { version: version.version, plan, planDigest, diagnostics, datasets };
}

/** Refuses when a dataset is no longer what the plan was compiled for, or no longer the caller's to read. */
async function requireSameDatasets(
  deps: PrepareDeps,
  tx: Queryable,
  { project }: Wanted,
  { datasets }: Compiled,
  user: UserCaller,
): Promise<void> {
  for (const [reference, compiled] of datasets) {
    const now = await deps.resolveDataset(tx, user, project, reference);
    if (now?.contentHash === compiled.contentHash && now.version === compiled.version) continue;
    const message = `Dataset ${JSON.stringify(reference)} changed while the plan was checked; ask again.`;
    throw new AppError("precondition", "DATASET_CHANGED", message);
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

async function store(
  deps: PrepareDeps,
  tx: Queryable,
  wanted: Wanted,
  compiled: Compiled,
  user: UserCaller,
): Promise<wire.PrepareExecutionResponse> {
  await requireSameDatasets(deps, tx, wanted, compiled, user);
  const row = await insertExecution(tx, {
    id: newExecutionId(),
    projectId: wanted.project,
    workflowId: wanted.workflow,
    workflowVersion: compiled.version,
    computingUnitId: wanted.unit,
    name: wanted.name,
    state: wanted.queue ? "QUEUED" : "PREPARED",
    maxAttempts: wanted.maxAttempts,
    queued: wanted.queue,
    trusted: wanted.queue || (await mayWrite(tx, user, workflowOf(wanted))),
    createdBy: user.subject,
    planDigest: compiled.planDigest,
    leaseMs: wanted.queue ? null : deps.executionTokenMs,
  });
  await insertExecutionPlan(tx, row.id, wirePlan.PhysicalPlan.toJSON(physicalPlanToWire(compiled.plan)));
  const { id: executionId, lastEventNumber: number, attempt, state } = row;
  await logStateChange(tx, { executionId, number, attempt, state, now: deps.now() });
  await addAuditEntry(tx, {
    actor: user.subject,
    action: "PrepareExecution",
    projectId: wanted.project,
    resource: `execution "${executionId}"`,
    detail: { workflowId: wanted.workflow, version: compiled.version, computingUnitId: wanted.unit },
  });
  return {
    execution: executionToWire(row),
    spec: undefined,
    token: "",
    tokenExpiresAt: undefined,
    diagnostics: compiled.diagnostics.map(diagnosticToWire),
  };
}
