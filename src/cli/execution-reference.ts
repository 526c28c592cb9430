import type { Execution } from "../contract/postern/v1/execution.js";
import { notFound } from "../core/app-error.js";
import type { Api } from "./api.js";

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The execution an argument means: its id, or a workflow's id for the latest one of it. */
export async function findExecution(api: Api, reference: string): Promise<Execution> {
  const found = UUID.test(reference)
    ? await api.call(api.executions, "getExecution", { executionId: reference })
    : await api.call(api.executions, "getLatestExecution", {
        projectId: api.connection.project(),
        workflowId: reference,
        computingUnitId: "",
      });
  if (!found.execution) throw notFound(`execution ${JSON.stringify(reference)}`);
  return found.execution;
}
