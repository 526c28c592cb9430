// CompileService: from a drawing to a physical plan, storing nothing.
import { z } from "zod";
import type { CompileRequest, CompileServiceServer } from "../../contract/postern/v1/compile.js";
import * as wirePlan from "../../contract/postern/v1/plan.js";
import { invalid, notFound } from "../../core/app-error.js";
import { projectId, workflowId } from "../../core/ids.js";
import { OPERATOR_TYPES } from "../../core/operators/catalogue.js";
import type { OperatorDefinition } from "../../core/operators/operator.js";
import type { DatasetScan, LogicalPlan } from "../../core/plan.js";
import type { ServiceMethods } from "../../rpc/handlers.js";
import { diagnosticToWire, logicalPlanFromWire, physicalPlanToWire } from "../../rpc/plan-codec.js";
import { describe, requireResource, requireUser, visibleProject } from "../access/authorization.js";
import type { CallContext, Caller } from "../access/caller.js";
import type { CompilePlan } from "../binding/plan-compiler.js";
import type { Queryable } from "../database/database.js";
import { versionNumber } from "../request-fields.js";

interface Deps {
  db: Queryable;
  compile: CompilePlan;
  /** The version a reference means; undefined when it is absent or the caller may not read it. */
  resolveDataset(db: Queryable, caller: Caller, projectId: string, reference: string): Promise<DatasetScan | undefined>;
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
      const compilation = await deps.compile(
        await requestedPlan(deps, request, caller),
        (reference) => deps.resolveDataset(deps.db, caller, project, reference),
        signal,
      );
      return {
        plan: compilation.ok ? physicalPlanToWire(compilation.plan) : undefined,
        planDigest: compilation.ok ? compilation.planDigest : "",
        diagnostics: compilation.diagnostics.map(diagnosticToWire),
      };
    },

    async listOperatorTypes() {
      return { operatorTypes };
    },
  };
}

/** The plan in the request, or the stored one it names, if the caller may read it. */
async function requestedPlan(
  { db, workflowVersion }: Deps,
  request: CompileRequest,
  caller: Caller,
): Promise<LogicalPlan> {
  const project = projectId(request.projectId);
  const { source } = request;
  switch (source?.$case) {
    case "plan":
      await visibleProject(db, caller, project);
      return logicalPlanFromWire(source.value);
    case "workflow": {
      const workflow = { projectId: project, kind: "WORKFLOW", id: workflowId(source.value.workflowId) } as const;
      const version = versionNumber(source.value.version);
      await requireResource(db, caller, workflow, "READ");
      const found = await workflowVersion(db, { projectId: project, workflowId: workflow.id, version });
      if (!found) throw notFound(`version ${version} of ${describe(workflow)}`);
      return logicalPlanFromWire(wirePlan.LogicalPlan.fromJSON(found.plan));
    }
    case undefined:
      throw invalid('Nothing to compile: give "plan" or "workflow".');
  }
}

const operatorTypeToWire = ({ type, summary, inputs, outputs, settings }: OperatorDefinition) => ({
  type,
  summary,
  inputPorts: inputs,
  outputPorts: outputs,
  propertiesSchema: z.toJSONSchema(settings, { io: "input" }),
});
