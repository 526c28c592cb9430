// Storing a planned execution, in one transaction: its row, plan, reused ports and first events; or, when the cache has
// every result, the whole execution.
//
// T1  Datasets are still those the plan was compiled for, and objects of reused ports are still there. From then on the
//     ledger keeps the objects.
// T2  What ended without an executor never was in the queue and never had a lease or a token. It is not trusted with
//     figures or cache entries, because it has none of its own.
import type { ReuseSummary } from "../../contract/postern/v1/execution.js";
import * as wirePlan from "../../contract/postern/v1/plan.js";
import { AppError } from "../../core/app-error.js";
import type { CacheUse } from "../../core/cache-use.js";
import type { FoundDataset } from "../../core/dataset-reference.js";
import { newExecutionId } from "../../core/ids.js";
import { type DatasetScan, globalPortId } from "../../core/plan.js";
import { physicalPlanToWire } from "../../rpc/plan-codec.js";
import { mayWrite } from "../access/authorization.js";
import type { Caller, UserCaller } from "../access/caller.js";
import type { Queryable } from "../database/database.js";
import { addAuditEntry } from "../repositories/audit-log.js";
import type { CachedPort } from "../repositories/cache-lookup.js";
import { insertEvents } from "../repositories/execution-events.js";
import { type ReusedObject, registerCachedPorts, type TakenPort } from "../repositories/execution-reuse.js";
import { type ExecutionRow, insertExecution } from "../repositories/executions.js";
import { upsertOperatorStatistics } from "../repositories/operator-statistics.js";
import { cachedRun } from "./complete-from-cache.js";
import { logStateChange } from "./execution-log.js";
import { recordKnownReuse, recordPlannedReuse } from "./record-reuse.js";
import type { PlannedExecution } from "./reuse-planning.js";

export interface StoreDeps {
  /** The version a reference means; undefined when it is absent or the caller may not read it. */
  resolveDataset(
    db: Queryable,
    caller: Caller,
    projectId: string,
    reference: string,
  ): Promise<FoundDataset | undefined>;
  /** Life of an execution token: an execution nobody attached to by then is lost. */
  executionTokenMs: number;
  now: () => Date;
}

export interface NewRun {
  projectId: string;
  workflowId: string;
  workflowVersion: number;
  computingUnitId: string;
  name: string;
  maxAttempts: number;
  queue: boolean;
  cache: CacheUse;
  /** By reference, the versions the plan was compiled for. */
  datasets: ReadonlyMap<string, DatasetScan>;
  planned: PlannedExecution;
  planDigest: string;
}

/** An object that was to be reused has gone: the caller plans again, or has its client ask again. */
export class CacheChanged extends AppError {
  constructor() {
    super("unavailable", "UNAVAILABLE", "The cache changed while the execution was prepared; ask again.");
  }
}

/** An execution as it was stored, with what it had from the cache when that is known already. */
export interface StoredExecution {
  row: ExecutionRow;
  reuse: ReuseSummary | undefined;
}

/** Stores an execution that `user` asked for; rejects with CacheChanged when it must be planned again. */
export async function storeExecution(
  deps: StoreDeps,
  tx: Queryable,
  run: NewRun,
  user: UserCaller,
): Promise<StoredExecution> {
  await requireSameDatasets(deps, tx, run, user);
  const stored = run.planned.mustRun ? await storeWaiting(deps, tx, run, user) : await storeEnded(deps, tx, run, user);
  await addAuditEntry(tx, {
    actor: user.subject,
    action: "PrepareExecution",
    projectId: run.projectId,
    resource: `execution "${stored.row.id}"`,
    detail: {
      workflowId: run.workflowId,
      version: run.workflowVersion,
      computingUnitId: run.computingUnitId,
      state: stored.row.state,
    },
  });
  return stored;
}

/** An execution that somebody runs. */
async function storeWaiting(deps: StoreDeps, tx: Queryable, run: NewRun, user: UserCaller): Promise<StoredExecution> {
  const { planned, queue } = run;
  const workflow = { projectId: run.projectId, kind: "WORKFLOW", id: run.workflowId } as const;
  const row = await insertExecution(tx, {
    ...common(run, user),
    state: queue ? "QUEUED" : "PREPARED",
    trusted: queue || (await mayWrite(tx, user, workflow)),
    lastEventNumber: 1,
    leaseMs: queue ? null : deps.executionTokenMs,
  });
  await registerReused(tx, row, planned);
  await recordPlannedReuse(tx, row, planned.plan, planned.decisions);
  const { id: executionId, lastEventNumber: number, attempt, state } = row;
  await logStateChange(tx, { executionId, number, attempt, state, now: deps.now() });
  return { row, reuse: undefined };
}

/** An execution whose every result the cache has (T2). */
async function storeEnded(deps: StoreDeps, tx: Queryable, run: NewRun, user: UserCaller): Promise<StoredExecution> {
  const { planned } = run;
  const { events, figures } = cachedRun(planned.plan, { ...planned, now: deps.now() });
  const row = await insertExecution(tx, {
    ...common(run, user),
    state: "COMPLETED",
    trusted: false,
    lastEventNumber: events.length,
    leaseMs: null,
  });
  await registerReused(tx, row, planned);
  await upsertOperatorStatistics(
    tx,
    figures.map((figure) => ({ ...figure, executionId: row.id })),
  );
  await insertEvents(tx, row.id, events);
  const reused = [...planned.reused].map((port) => reusedObject(planned.hits.get(port)!));
  const facts = { decisions: [], operators: figures, reused, reported: planned.decisions };
  return { row, reuse: await recordKnownReuse(tx, row, planned.plan, facts) };
}

const reusedObject = (hit: CachedPort): ReusedObject => ({
  globalPortId: hit.globalPortId,
  uri: hit.uri,
  rowCount: Number(hit.tupleCount),
  byteCount: Number(hit.byteCount),
  computeMs: Number(hit.computeMs),
  sourceExecutionId: hit.sourceExecutionId,
});

const common = (run: NewRun, user: UserCaller) => ({
  id: newExecutionId(),
  projectId: run.projectId,
  workflowId: run.workflowId,
  workflowVersion: run.workflowVersion,
  computingUnitId: run.computingUnitId,
  name: run.name,
  maxAttempts: run.maxAttempts,
  queued: run.queue,
  createdBy: user.subject,
  planDigest: run.planDigest,
  plan: wirePlan.PhysicalPlan.toJSON(physicalPlanToWire(run.planned.plan)),
  cache: run.cache,
});

async function registerReused(
  tx: Queryable,
  { id: executionId, attempt }: ExecutionRow,
  planned: PlannedExecution,
): Promise<void> {
  const ports = reusedPorts(planned);
  if (ports.length === 0) return;
  if ((await registerCachedPorts(tx, { executionId, attempt, ports })) < ports.length) throw new CacheChanged();
}

const reusedPorts = ({ plan, hits, reused }: PlannedExecution): TakenPort[] =>
  plan.operators
    .flatMap(({ outputs }) => outputs)
    .filter(({ key }) => reused.has(globalPortId(key)))
    .map(({ key, schema, subdagHash, viewed }) => {
      const port = globalPortId(key);
      return { ...key, globalPortId: port, uri: hits.get(port)!.uri, schema, subdagHash, viewed };
    });

/** Refuses when a dataset is no longer what the plan was compiled for, or no longer the caller's to read. */
async function requireSameDatasets(deps: StoreDeps, tx: Queryable, run: NewRun, user: UserCaller): Promise<void> {
  for (const [reference, compiled] of run.datasets) {
    const now = await deps.resolveDataset(tx, user, run.projectId, reference);
    if (now?.contentHash === compiled.contentHash && now.version === compiled.version) continue;
    const message = `Dataset ${JSON.stringify(reference)} changed while the plan was checked; ask again.`;
    throw new AppError("precondition", "DATASET_CHANGED", message);
  }
}
