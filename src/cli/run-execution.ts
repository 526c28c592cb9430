// One run from a stored workflow version to its end: prepare, follow, cancel on request, tell how it went.
import { randomUUID } from "node:crypto";
import { CostModel } from "../contract/postern/v1/compile.js";
import type { CacheUse, Execution } from "../contract/postern/v1/execution.js";
import { AppError } from "../core/app-error.js";
import { diagnosticFromWire } from "../rpc/plan-codec.js";
import type { Api } from "./api.js";
import { applyExecution, type ExecutionView, emptyView } from "./execution-view.js";
import { type Progress, showProgress } from "./progress.js";
import { diagnosticLines } from "./report-error.js";
import { Interrupted, type Terminal } from "./terminal.js";
import { printable } from "./text.js";
import { type WatchOptions, watchToEnd } from "./watch-execution.js";

export interface RunRequest {
  workflowId: string;
  /** 0 for the newest. */
  version: number;
  name: string;
  /** How to use the cache; absent: reuse and remember. */
  cache?: CacheUse | undefined;
}

/** Queues an execution on the computing unit of the connection; the request is safe to send twice. */
export async function queueExecution(
  api: Api,
  run: RunRequest,
  terminal: Terminal,
  quiet: boolean,
): Promise<Execution> {
  const reply = await api.call(api.executions, "prepareExecution", {
    requestId: randomUUID(),
    projectId: api.connection.project(),
    workflowId: run.workflowId,
    workflowVersion: run.version,
    computingUnitId: api.connection.computingUnit(),
    name: run.name,
    queue: true,
    maxAttempts: 0,
    cache: run.cache,
    costModel: CostModel.COST_MODEL_UNSPECIFIED,
  });
  if (!reply.execution) throw new AppError("internal", "INTERNAL", "The server prepared nothing: see its log.");
  if (!quiet)
    for (const line of diagnosticLines(reply.diagnostics.map(diagnosticFromWire))) terminal.err.write(`${line}\n`);
  return reply.execution;
}

/**
 * Follows an execution to its end. The first Ctrl-C asks for it to be cancelled, the second leaves it alone and rejects
 * with `Interrupted`.
 */
export async function superviseExecution(
  api: Api,
  execution: Execution,
  terminal: Terminal,
  { quiet }: { quiet: boolean },
): Promise<{ view: ExecutionView; interrupted: boolean }> {
  const progress = progressOf(execution, terminal, { quiet });
  const ctrlC = cancelThenLeave(api, execution.id, terminal, progress);
  try {
    return { view: await watch(api, execution, progress, ctrlC.leave), interrupted: ctrlC.pressed() };
  } finally {
    ctrlC.release();
  }
}

/** Follows an execution to its end, or until the signal aborts. */
export async function superviseUntil(
  api: Api,
  execution: Execution,
  terminal: Terminal,
  { signal, quiet = false, onItem }: { signal: AbortSignal; quiet?: boolean; onItem?: WatchOptions["onItem"] },
): Promise<ExecutionView> {
  return watch(api, execution, progressOf(execution, terminal, { quiet }), signal, onItem);
}

/** The snapshot comes with the watch; until then no event has been seen. */
const progressOf = (execution: Execution, terminal: Terminal, { quiet }: { quiet: boolean }): Progress =>
  showProgress(terminal, { ...applyExecution(emptyView(execution.id), execution), lastNumber: undefined }, { quiet });

async function watch(
  api: Api,
  { id, computingUnitId }: Execution,
  progress: Progress,
  signal: AbortSignal,
  onItem?: WatchOptions["onItem"],
): Promise<ExecutionView> {
  try {
    return await watchToEnd(api, id, { progress, signal, computingUnitId, ...(onItem ? { onItem } : {}) });
  } finally {
    progress.done();
  }
}

function cancelThenLeave(api: Api, executionId: string, terminal: Terminal, progress: Progress) {
  const leave = new AbortController();
  let pressed = 0;
  const release = terminal.onInterrupt(() => {
    pressed++;
    if (pressed === 1) {
      progress.note("Cancelling … (Ctrl-C again leaves without waiting)");
      api
        .call(api.executions, "cancelExecution", { executionId, reason: "Ctrl-C", force: false })
        .catch((error) => progress.note(`It could not be cancelled: ${error.message}`));
    } else {
      leave.abort(
        new Interrupted(`Left execution ${executionId}; it may still be ending: postern watch ${executionId}`),
      );
    }
  });
  return { leave: leave.signal, pressed: () => pressed > 0, release };
}

/** Why an execution failed, for people: the sentence, then the detail. */
export function failureLines({ failure, operators }: ExecutionView): string[] {
  if (!failure) return ["It failed, and the server does not know why: see the executor's log."];
  const operator = operators.find(({ operatorId }) => operatorId === failure.operatorId)?.title ?? failure.operatorId;
  const head = `${operator ? `${printable(operator)}: ` : ""}${printable(failure.message)} (${printable(failure.reason)})`;
  const detail = failure.detail.trimEnd();
  return [head, ...(detail ? detail.split("\n").map((line) => `  ${printable(line)}`) : [])];
}
