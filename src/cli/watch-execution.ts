// Watching one execution to its end, with everything a person wants to be told on the way.
import { setTimeout as delay } from "node:timers/promises";
import type { WatchExecutionResponse } from "../contract/postern/v1/execution.js";
import { bearer, serverStream } from "../rpc/channel.js";
import type { Api } from "./api.js";
import { applyStatistics, type ExecutionView, isOver } from "./execution-view.js";
import { followExecution } from "./follow-execution.js";
import type { Progress } from "./progress.js";
import { counted } from "./text.js";

/** How long an execution may be QUEUED before we look whether anybody is there to take it. */
const PATIENCE_MS = 3_000;

export interface WatchOptions {
  progress: Progress;
  signal: AbortSignal;
  /** Told every item. */
  onItem?: (item: WatchExecutionResponse) => void;
  /** Where it runs, for the hint that nobody is there. */
  computingUnitId: string;
}

/** Resolves to the last view once the execution has ended; rejects with the signal's reason when that comes first. */
export async function watchToEnd(api: Api, executionId: string, options: WatchOptions): Promise<ExecutionView> {
  const { progress, signal, onItem } = options;
  const hint = hintWhenNobodyTakesIt(api, options);
  try {
    const items = followExecution({
      watch: (after) => watchOnce(api, executionId, after, signal),
      isOver: () => isOver(progress.view()),
      lastNumber: () => progress.view().lastNumber,
      onLost: (error, tries) => {
        if (tries === 2) progress.note(`The connection is lost, trying again … ${error?.message ?? ""}`.trimEnd());
      },
      delay: (ms) => delay(ms, undefined, { signal }),
      signal,
    });
    for await (const item of items) {
      progress.apply(item);
      onItem?.(item);
    }
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    hint.stop();
  }
  const { operators } = await api.call(api.executions, "getOperatorStatistics", {
    of: { $case: "executionId", value: executionId },
  });
  progress.replace(applyStatistics(progress.view(), operators));
  return progress.view();
}

/** One WatchExecution call, as long as it lasts. */
export async function* watchOnce(api: Api, executionId: string, after: bigint | undefined, signal: AbortSignal) {
  const metadata = bearer(await api.connection.token());
  const call = api.executionStreams.watchExecution({ executionId, after }, metadata);
  const cancel = () => call.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    yield* serverStream(call);
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

/** Says why nothing happens when an execution stays QUEUED. */
function hintWhenNobodyTakesIt(api: Api, { progress, computingUnitId, signal }: WatchOptions): { stop(): void } {
  const look = async () => {
    if (progress.view().state !== "QUEUED") return;
    const { computingUnits } = await api.call(
      api.access,
      "listComputingUnits",
      { projectId: api.connection.project() },
      { signal },
    );
    const unit = computingUnits.find(({ id }) => id === computingUnitId);
    if (progress.view().state !== "QUEUED") return;
    if (!unit || unit.connectedExecutors === 0)
      progress.note(
        `Still QUEUED: no executor is connected to computing unit ${computingUnitId}. Start one with \`postern executor\`; the execution waits for it.`,
      );
    else if (unit.freeSlots === 0)
      progress.note(
        `Still QUEUED: ${counted(unit.connectedExecutors, "executor")} of computing unit ${computingUnitId} connected, all busy. The execution waits its turn.`,
      );
  };
  // Only a hint: when it cannot be found out, the state on the screen still tells the truth.
  const timer = setTimeout(() => void look().catch(() => {}), PATIENCE_MS);
  return { stop: () => clearTimeout(timer) };
}
