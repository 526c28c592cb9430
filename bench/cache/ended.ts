// Waits for executions to end, through WatchExecution.
import {
  type ExecutionServiceClient,
  ExecutionState,
  type WatchExecutionResponse,
} from "../../src/contract/postern/v1/execution.js";
import { bearer, serverStream } from "../../src/rpc/channel.js";

const ENDS: readonly ExecutionState[] = [
  ExecutionState.EXECUTION_STATE_COMPLETED,
  ExecutionState.EXECUTION_STATE_FAILED,
  ExecutionState.EXECUTION_STATE_KILLED,
];

/** Resolves when the execution has COMPLETED; rejects when it ended otherwise. */
export async function completed(client: ExecutionServiceClient, token: string, executionId: string): Promise<void> {
  const watch = client.watchExecution({ executionId }, bearer(token));
  for await (const { item } of serverStream<WatchExecutionResponse>(watch)) {
    const [state, failure] = stateIn(item);
    if (state === undefined || !ENDS.includes(state)) continue;
    if (state === ExecutionState.EXECUTION_STATE_COMPLETED) return;
    throw new Error(`Execution ${executionId} ended ${ExecutionState[state]}: ${failure ?? "nobody said why"}.`);
  }
  throw new Error(`The watch of execution ${executionId} ended before it did.`);
}

function stateIn(item: WatchExecutionResponse["item"]): [ExecutionState?, string?] {
  if (item?.$case === "snapshot") return [item.value.execution?.state, item.value.execution?.failure?.message];
  if (item?.$case !== "event" || item.value.kind?.$case !== "executionState") return [];
  return [item.value.kind.value.state, item.value.kind.value.failure?.message];
}
