// Rows of executions, their figures, ports and events ⇄ the wire.
import * as wire from "../../contract/postern/v1/execution.js";
import type { ConsoleResult, PortResult } from "../../contract/postern/v1/port_registry.js";
import type { PhysicalOperator } from "../../core/plan.js";
import { portKeyToWire, schemaToWire } from "../../rpc/plan-codec.js";
import { executionStateToWire, runStateFromWire, runStateToWire } from "../../rpc/state-codec.js";
import type { CommandRow } from "../repositories/execution-commands.js";
import type { ExecutionRow, FailureRecord } from "../repositories/executions.js";
import type { OperatorStatisticsRow } from "../repositories/operator-statistics.js";
import type { ConsoleRow, PortRow } from "../repositories/ports.js";
import { storableText } from "../request-fields.js";

/** Longest text of a failure that is stored; the rest is in the console file. */
const FAILURE_TEXT_LIMIT = 16_384;

/** An execution; `reuse` where it is asked for and known. */
export const executionToWire = (row: ExecutionRow, reuse?: wire.ReuseSummary): wire.Execution => ({
  id: row.id,
  projectId: row.projectId,
  workflowId: row.workflowId,
  workflowVersion: row.workflowVersion,
  computingUnitId: row.computingUnitId,
  name: row.name,
  state: executionStateToWire(row.state),
  attempt: row.attempt,
  maxAttempts: row.maxAttempts,
  epoch: row.epoch,
  createdBy: row.createdBy,
  createdAt: row.createdAt,
  startedAt: row.startedAt ?? undefined,
  endedAt: row.endedAt ?? undefined,
  failure: row.failure ?? undefined,
  logUri: row.logUri,
  statisticsUri: row.statisticsUri,
  lastEventNumber: row.lastEventNumber,
  cancelRequested: row.cancelRequested,
  queued: row.queued,
  planDigest: row.planDigest,
  executorId: row.executorId,
  reuse,
});

/** A failure as the executor tells it, cut to what is stored. */
export const failureFromWire = (failure: wire.Failure | undefined): FailureRecord | null =>
  failure === undefined
    ? null
    : {
        reason: storableText(failure.reason, 128),
        operatorId: storableText(failure.operatorId, 128),
        message: storableText(failure.message, FAILURE_TEXT_LIMIT),
        detail: storableText(failure.detail, FAILURE_TEXT_LIMIT),
      };

export const statisticsToWire = (row: OperatorStatisticsRow): wire.OperatorStatistics => ({
  operatorId: row.operatorId,
  layer: row.layer,
  state: runStateToWire(row.state),
  inputRows: row.inputRows ?? undefined,
  outputRows: row.outputRows ?? undefined,
  outputBytes: row.outputBytes,
  busyMs: row.busyMs,
  progress: row.progress ?? undefined,
  peakMemoryBytes: row.peakMemoryBytes,
  malformedRows: row.malformedRows,
});

export const statisticsFromWire = (figures: wire.OperatorStatistics): OperatorStatisticsRow => ({
  operatorId: figures.operatorId,
  layer: figures.layer,
  state: runStateFromWire(figures.state),
  inputRows: figures.inputRows ?? null,
  outputRows: figures.outputRows ?? null,
  outputBytes: figures.outputBytes,
  busyMs: figures.busyMs,
  progress: figures.progress ?? null,
  peakMemoryBytes: figures.peakMemoryBytes,
  malformedRows: figures.malformedRows,
});

/** Figures of every operator of the plan, in plan order; those that never reported are READY with none. */
export function statisticsInPlanOrder(
  operators: PhysicalOperator[],
  rows: OperatorStatisticsRow[],
): wire.OperatorStatistics[] {
  const reported = new Map(rows.map((row) => [`${row.operatorId}/${row.layer}`, row]));
  return operators.map(({ operatorId, layer }) => {
    const row = reported.get(`${operatorId}/${layer}`);
    return row
      ? statisticsToWire(row)
      : wire.OperatorStatistics.fromPartial({ operatorId, layer, state: wire.RunState.RUN_STATE_READY });
  });
}

export const portToWire = (row: PortRow): PortResult => ({
  key: portKeyToWire(row),
  globalPortId: row.globalPortId,
  uri: row.uri,
  rowCount: row.rowCount,
  byteCount: row.byteCount,
  schema: schemaToWire(row.schema),
  subdagHash: row.subdagHash,
  registeredAt: row.registeredAt,
  viewed: row.viewed,
  computeMs: row.computeMs,
  reservation: 0n,
  // What an execution writes lies below its own prefix (result-location.ts).
  reused: !row.uri.includes(`/${row.executionId}/`),
});

export const consoleToWire = (row: ConsoleRow): ConsoleResult => ({ ...row });

const commandKinds = {
  CANCEL: wire.CommandKind.COMMAND_KIND_CANCEL,
  PAUSE: wire.CommandKind.COMMAND_KIND_PAUSE,
  RESUME: wire.CommandKind.COMMAND_KIND_RESUME,
  KILL: wire.CommandKind.COMMAND_KIND_KILL,
} as const;

export const commandToWire = ({ commandId, kind, reason }: Pick<CommandRow, "commandId" | "kind" | "reason">) =>
  wire.Command.fromPartial({ commandId, kind: commandKinds[kind], reason });
