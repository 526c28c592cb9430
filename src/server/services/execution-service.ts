// ExecutionService: what clients, executors and engines that proxy may ask about executions.
import {
  CompleteExecutionResponse,
  UpdateExecutionRequest,
  UpdateExecutionResponse,
} from "../../contract/postern/v1/execution.js";
import { AppError, forbidden, illegalTransition, invalid, notFound } from "../../core/app-error.js";
import { type ExecutionState, isTerminal } from "../../core/execution-state.js";
import { FINGERPRINT_VERSION } from "../../core/fingerprint.js";
import { computingUnitId, executionId, projectId, workflowId } from "../../core/ids.js";
import { PLAN_FORMAT } from "../../core/plan.js";
import type { ExecutionServer } from "../../rpc/executor-frame.js";
import type { ServiceMethods } from "../../rpc/handlers.js";
import { physicalPlanToWire } from "../../rpc/plan-codec.js";
import { executionStateFromWire } from "../../rpc/state-codec.js";
import { requireResource, requireUser, visibleProject } from "../access/authorization.js";
import type { CallContext, Caller } from "../access/caller.js";
import { readableExecution, writableExecution } from "../access/execution-access.js";
import type { Database } from "../database/database.js";
import { cancelExecution } from "../executions/cancel-execution.js";
import { completeExecution } from "../executions/completion.js";
import { deleteExecutionsOf } from "../executions/delete-executions.js";
import type { EventFeed } from "../executions/event-feed.js";
import { storedPlan } from "../executions/execution-plan.js";
import { executionToWire, statisticsInPlanOrder } from "../executions/execution-wire.js";
import { type Asked, pauseExecution, resumeExecution } from "../executions/executor-commands.js";
import { type ExecutorSessionDeps, runExecutorSession } from "../executions/executor-session.js";
import { type PrepareDeps, prepareExecution } from "../executions/prepare-execution.js";
import { decisionsToWire, reuseOfEnded, summaryToWire } from "../executions/record-reuse.js";
import { runServeSession, type ServeSessionDeps } from "../executions/serve-session.js";
import { PROTOCOL_VERSION } from "../executions/take-lease.js";
import { applyUpdate, type UpdateDeps } from "../executions/update-execution.js";
import { cutPage, nameAfter } from "../page-tokens.js";
import type { CacheKey } from "../repositories/cache-reservations.js";
import { executionReuse } from "../repositories/execution-reuse.js";
import {
  type ExecutionRow,
  executionById,
  latestExecution,
  latestSuccessfulExecution,
  visibleExecutions,
} from "../repositories/executions.js";
import { operatorStatistics } from "../repositories/operator-statistics.js";
import { smoothedFigures } from "../repositories/workflow-history.js";
import { freeText, pageSize, present } from "../request-fields.js";
import { replayable, storedReply } from "../request-replies.js";

interface Deps extends PrepareDeps, Omit<ExecutorSessionDeps, keyof StreamDeps>, ServeSessionDeps, UpdateDeps {
  /** What attached executors use, their own database connections among it. */
  streams: StreamDeps;
  feed: EventFeed;
  release: string;
  maxMessageBytes: number;
}

type StreamDeps = Pick<ExecutorSessionDeps, "db" | "attention" | "committer" | "planOf">;

export function executionService(deps: Deps): ServiceMethods<ExecutionServer, CallContext> {
  const { db } = deps;
  return {
    prepareExecution: (request, { caller, signal }) => prepareExecution(deps, request, caller, signal),

    async attach(stream, context) {
      if (context.caller.kind !== "execution") throw forbidden("Attach needs an execution token.");
      await runExecutorSession({ ...deps, ...deps.streams }, stream, context.caller, context);
    },

    async serve(stream, context) {
      if (context.caller.kind !== "serve")
        throw forbidden("Serve needs a serve token; see AccessService.CreateServeToken.");
      await runServeSession(deps, stream, context.caller, context);
    },

    async getExecution(request, { caller }) {
      const row = await readableExecution(db, caller, request.executionId);
      const reuse = await executionReuse(db, row.id);
      return {
        execution: executionToWire(row, reuse && isTerminal(row.state) ? summaryToWire(reuse) : undefined),
        reuse: reuse ? decisionsToWire(reuse) : [],
      };
    },

    async listExecutions(request, { caller }) {
      const project = projectId(request.projectId);
      const size = pageSize(request.pageSize);
      const before = nameAfter("executions", request.pageToken);
      const { subject } = await visibleProject(db, caller, project);
      const rows = await visibleExecutions(db, {
        projectId: project,
        subject,
        workflowId: request.workflowId === "" ? null : workflowId(request.workflowId),
        states: request.states.length === 0 ? null : request.states.map(executionStateFromWire),
        beforeId: before === "" ? null : executionId(before),
        limit: size + 1,
      });
      const { items, nextPageToken } = cutPage("executions", rows, size, ({ id }) => id);
      return { executions: items.map((row) => executionToWire(row)), nextPageToken };
    },

    async getLatestExecution(request, { caller }) {
      return { execution: executionToWire(await requireLatest(deps, caller, request)) };
    },

    async *watchExecution(request, { caller, signal, authenticateAgain }) {
      const row = await readableExecution(db, caller, request.executionId);
      let after = request.after;
      if (after === undefined) {
        const plan = await storedPlan(db, row.id);
        // Figures may be newer than the row; the events that follow repeat them.
        const operators = statisticsInPlanOrder(plan.operators, await operatorStatistics(db, row.id));
        yield {
          item: {
            $case: "snapshot",
            value: {
              execution: executionToWire(row, await reuseOfEnded(db, row)),
              operators,
              plan: physicalPlanToWire(plan),
            },
          },
        };
        after = row.lastEventNumber;
      } else if (after < 0n || after > row.lastEventNumber) {
        throw invalid(
          `The log of execution "${row.id}" ends at ${row.lastEventNumber}; it cannot be followed from ${after}.`,
        );
      }
      const requireRight = async () => {
        await authenticateAgain();
        await readableExecution(db, caller, row.id);
      };
      yield* deps.feed.follow({ executionId: row.id, after, pastEnd: row.lastEventNumber, requireRight }, signal);
    },

    async updateExecution(request, { caller }) {
      const stored = await storedUpdate(db, request, caller);
      if (stored) return stored;
      const row = await writableExecution(db, caller, request.executionId);
      const freed: CacheKey[] = [];
      const reply = await replayable(db, updateCall(request, caller, row), async (tx) => ({
        execution: executionToWire(await applyUpdate(deps, tx, request, row, caller, freed)),
      }));
      deps.hints.cacheChanged(freed);
      deps.hints.executionChanged(row.id);
      if (request.state !== 0) deps.hints.executorConcerned(row.id);
      return reply;
    },

    async completeExecution(request, { caller }) {
      const manifest = present(request.manifest, "manifest");
      const reporter = await manifestReporter(deps, caller, manifest.executionId);
      const row = await completeExecution(deps, manifest, reporter);
      return CompleteExecutionResponse.fromPartial({ execution: executionToWire(row) });
    },

    async cancelExecution(request, { caller }) {
      const row = await cancelExecution(deps, { ...(await asked(db, caller, request)), force: request.force });
      return { execution: executionToWire(row) };
    },

    async pauseExecution(request, { caller }) {
      const row = await pauseExecution(deps, await asked(db, caller, request));
      return { execution: executionToWire(row) };
    },

    async resumeExecution(request, { caller }) {
      const row = await resumeExecution(deps, await asked(db, caller, request));
      return { execution: executionToWire(row) };
    },

    async deleteExecutions(request, { caller }) {
      if (request.executionIds.length > 1_000) throw invalid("Delete at most 1,000 executions at once.");
      const ids = [...new Set(request.executionIds.map(executionId))];
      for (const id of ids) {
        const row = await readableExecution(db, caller, id);
        await requireResource(db, caller, { projectId: row.projectId, kind: "WORKFLOW", id: row.workflowId }, "WRITE");
        requireEnded(row);
      }
      return { releasedUris: await deleteExecutionsOf(deps, ids, requireUser(caller).subject) };
    },

    async getOperatorStatistics({ of }, { caller }) {
      if (of === undefined) throw invalid("Name an execution or a workflow.");
      const row =
        of.$case === "executionId"
          ? await readableExecution(db, caller, of.value)
          : await latestSuccess(deps, caller, of.value);
      if (!row) return { executionId: "", operators: [], smoothed: [] };
      const plan = await storedPlan(db, row.id);
      return {
        executionId: row.id,
        operators: statisticsInPlanOrder(plan.operators, await operatorStatistics(db, row.id)),
        smoothed: of.$case === "workflow" ? statisticsInPlanOrder(plan.operators, await smoothedFigures(db, row)) : [],
      };
    },

    async getCapabilities() {
      return {
        release: deps.release,
        protocolVersions: [PROTOCOL_VERSION],
        planFormat: PLAN_FORMAT,
        fingerprintVersion: FINGERPRINT_VERSION,
        maxMessageBytes: deps.maxMessageBytes,
      };
    },
  };
}

/** What a user who may act on an execution asks of it. */
async function asked(db: Database, caller: Caller, request: { executionId: string; reason: string }): Promise<Asked> {
  const { id } = await writableExecution(db, caller, request.executionId);
  const reason = freeText(request.reason, "reason", 500);
  return { executionId: id, reason, requestedBy: requireUser(caller).subject };
}

const updateCall = (request: UpdateExecutionRequest, caller: Caller, row: ExecutionRow) => ({
  subject: actorOf(caller, row),
  projectId: row.projectId,
  requestId: request.requestId,
  method: "UpdateExecution",
  request,
  requestType: UpdateExecutionRequest,
  replyType: UpdateExecutionResponse,
});

/** The answer an executor got before but may not have heard: its report may have ended the execution, and its token. */
async function storedUpdate(db: Database, request: UpdateExecutionRequest, caller: Caller) {
  if (caller.kind !== "execution" || caller.executionId !== request.executionId) return undefined;
  const row = await executionById(db, caller.executionId);
  return row && storedReply(db, updateCall(request, caller, row));
}

const actorOf = (caller: Caller, row: ExecutionRow): string =>
  caller.kind === "user" ? caller.subject : `execution ${row.id}`;

/**
 * Who may end it: as `writableExecution`. An execution token may repeat its report after the end, when it is dead for
 * everything else, because the first answer may have been lost; the manifest's digest decides.
 */
async function manifestReporter({ db }: Deps, caller: Caller, id: string) {
  if (caller.kind !== "execution") {
    const row = await writableExecution(db, caller, id);
    return { actor: actorOf(caller, row), epoch: null, onStream: false };
  }
  if (caller.executionId !== id) throw notFound(`execution "${id}"`);
  return { actor: `execution ${id}`, epoch: caller.epoch, onStream: false };
}

async function requireLatest(
  { db }: Deps,
  caller: Caller,
  of: { projectId: string; workflowId: string; computingUnitId: string },
): Promise<ExecutionRow> {
  const workflow = { projectId: projectId(of.projectId), workflowId: workflowId(of.workflowId) };
  await requireResource(
    db,
    caller,
    { projectId: workflow.projectId, kind: "WORKFLOW", id: workflow.workflowId },
    "READ",
  );
  const unit = of.computingUnitId === "" ? null : computingUnitId(of.computingUnitId);
  const row = await latestExecution(db, { ...workflow, computingUnitId: unit });
  if (!row) throw notFound(`execution of workflow "${workflow.workflowId}"`);
  return row;
}

async function latestSuccess({ db }: Deps, caller: Caller, of: { projectId: string; workflowId: string }) {
  const workflow = { projectId: projectId(of.projectId), workflowId: workflowId(of.workflowId) };
  await requireResource(
    db,
    caller,
    { projectId: workflow.projectId, kind: "WORKFLOW", id: workflow.workflowId },
    "READ",
  );
  return latestSuccessfulExecution(db, workflow);
}

function requireEnded(row: { id: string; state: ExecutionState }): void {
  if (isTerminal(row.state)) return;
  const { detail } = illegalTransition(row.state, "deleted");
  throw new AppError("precondition", "ILLEGAL_TRANSITION", `Execution "${row.id}" is ${row.state}; cancel it first.`, {
    detail,
  });
}
