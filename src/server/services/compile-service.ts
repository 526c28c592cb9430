// CompileService: from a drawing to a physical plan, storing nothing.
import { z } from "zod";
import type { CompileRequest, CompileServiceServer, ScheduleFigures } from "../../contract/postern/v1/compile.js";
import * as wirePlan from "../../contract/postern/v1/plan.js";
import { invalid, notFound } from "../../core/app-error.js";
import type { FoundDataset } from "../../core/dataset-reference.js";
import { projectId, workflowId } from "../../core/ids.js";
import { OPERATOR_TYPES } from "../../core/operators/catalogue.js";
import type { OperatorDefinition } from "../../core/operators/operator.js";
import type { LogicalPlan } from "../../core/plan.js";
import { costModelFromWire, scheduleFiguresToWire, scheduleModeFromWire } from "../../rpc/cache-codec.js";
import type { ServiceMethods } from "../../rpc/handlers.js";
import { diagnosticToWire, logicalPlanFromWire, physicalPlanToWire } from "../../rpc/plan-codec.js";
import { describe, requireResource, requireUser, visibleProject } from "../access/authorization.js";
import type { CallContext, Caller } from "../access/caller.js";
import type { CompilePlan } from "../binding/plan-compiler.js";
import type { Queryable } from "../database/database.js";
import { chosenCostModel, NO_ESTIMATES, type RunEstimates, runEstimates } from "../executions/run-estimates.js";
import { versionNumber } from "../request-fields.js";
import type { PlanScheduler } from "../scheduling/plan-scheduler.js";

interface Deps {
  db: Queryable;
  compile: CompilePlan;
  schedule: PlanScheduler["schedule"];
  /** The version a reference means; undefined when it is absent or the caller may not read it. */
  resolveDataset(
    db: Queryable,
    caller: Caller,
    projectId: string,
    reference: string,
  ): Promise<FoundDataset | undefined>;
  /** A stored version, its plan as proto3 JSON; version 0 means the newest. */
  workflowVersion(
    db: Queryable,
    version: { projectId: string; workflowId: string; version: number },
  ): Promise<{ plan: unknown } | undefined>;
}

export function compileService(deps: Deps): ServiceMethods<CompileServiceServer, CallContext> {
  const operatorTypes = [...OPERATOR_TYPES.values()].map(operatorTypeToWire);
  return {
    async compile(request, { caller, signal }) {
      requireUser(caller);
      const project = projectId(request.projectId);
      const search = readSearch(request);
      const { plan, estimates } = await requested(deps, request, caller);
      let figures: ScheduleFigures | undefined;
      const compilation = await deps.compile(
        plan,
        (reference) => deps.resolveDataset(deps.db, caller, project, reference),
        signal,
        async (compiled, viewed) => {
          const costModel = chosenCostModel(search.costModel, compiled.operators, estimates);
          const scheduled = await deps.schedule(compiled, viewed, { cost: costModel, ...search, ...estimates });
          figures = scheduleFiguresToWire(scheduled.schedule, { costModel, mode: search.mode });
          return scheduled.plan;
        },
      );
      const diagnostics = compilation.diagnostics.map(diagnosticToWire);
      if (!compilation.ok) return { plan: undefined, planDigest: "", diagnostics, schedule: undefined };
      const { planDigest } = compilation;
      return { plan: physicalPlanToWire(compilation.plan), planDigest, diagnostics, schedule: figures };
    },

    async listOperatorTypes() {
      return { operatorTypes };
    },
  };
}

const DEFAULT_SEARCH_MS = 1_000;
const LONGEST_SEARCH_MS = 10_000;

/** How to search for a schedule, as asked. */
function readSearch({ costModel, scheduleMode, deadlineMs }: CompileRequest) {
  if (deadlineMs < 0 || deadlineMs > LONGEST_SEARCH_MS)
    throw invalid(`deadline_ms must be 1 to ${LONGEST_SEARCH_MS}, or 0 for ${DEFAULT_SEARCH_MS}.`);
  return {
    costModel: costModelFromWire(costModel),
    mode: scheduleModeFromWire(scheduleMode),
    deadlineMs: deadlineMs || DEFAULT_SEARCH_MS,
  };
}

/** The plan in the request, or the stored one it names, if the caller may read it; its workflow's runs tell estimates. */
async function requested(
  { db, workflowVersion }: Deps,
  request: CompileRequest,
  caller: Caller,
): Promise<{ plan: LogicalPlan; estimates: RunEstimates }> {
  const project = projectId(request.projectId);
  const { source } = request;
  switch (source?.$case) {
    case "plan":
      await visibleProject(db, caller, project);
      return { plan: logicalPlanFromWire(source.value), estimates: NO_ESTIMATES };
    case "workflow": {
      const workflow = { projectId: project, kind: "WORKFLOW", id: workflowId(source.value.workflowId) } as const;
      const version = versionNumber(source.value.version);
      await requireResource(db, caller, workflow, "READ");
      const found = await workflowVersion(db, { projectId: project, workflowId: workflow.id, version });
      if (!found) throw notFound(`version ${version} of ${describe(workflow)}`);
      return {
        plan: logicalPlanFromWire(wirePlan.LogicalPlan.fromJSON(found.plan)),
        estimates: await runEstimates(db, { projectId: project, workflowId: workflow.id }),
      };
    }
    case undefined:
      throw invalid('Nothing to compile: give "plan" or "workflow".');
  }
}

const operatorTypeToWire = ({ type, summary, group, inputs, outputs, settings }: OperatorDefinition) => ({
  type,
  summary,
  group,
  inputPorts: typeof inputs === "number" ? inputs : -1,
  outputPorts: typeof outputs === "number" ? outputs : -1,
  propertiesSchema: z.toJSONSchema(settings, { io: "input" }),
});
