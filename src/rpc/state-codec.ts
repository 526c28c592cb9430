// States of executions, regions and operators ⇄ the wire.

import { ExecutionState as WireExecutionState, RunState as WireRunState } from "../contract/postern/v1/execution.js";
import type { ExecutionState, RunState } from "../core/execution-state.js";
import { enumCodec } from "./enum-codec.js";

const executionStates = enumCodec<ExecutionState, WireExecutionState>("execution state", {
  QUEUED: WireExecutionState.EXECUTION_STATE_QUEUED,
  PREPARED: WireExecutionState.EXECUTION_STATE_PREPARED,
  RUNNING: WireExecutionState.EXECUTION_STATE_RUNNING,
  PAUSING: WireExecutionState.EXECUTION_STATE_PAUSING,
  PAUSED: WireExecutionState.EXECUTION_STATE_PAUSED,
  RESUMING: WireExecutionState.EXECUTION_STATE_RESUMING,
  COMPLETING: WireExecutionState.EXECUTION_STATE_COMPLETING,
  COMPLETED: WireExecutionState.EXECUTION_STATE_COMPLETED,
  FAILED: WireExecutionState.EXECUTION_STATE_FAILED,
  KILLED: WireExecutionState.EXECUTION_STATE_KILLED,
});

const runStates = enumCodec<RunState, WireRunState>("run state", {
  READY: WireRunState.RUN_STATE_READY,
  RUNNING: WireRunState.RUN_STATE_RUNNING,
  PAUSED: WireRunState.RUN_STATE_PAUSED,
  COMPLETED: WireRunState.RUN_STATE_COMPLETED,
  FAILED: WireRunState.RUN_STATE_FAILED,
  KILLED: WireRunState.RUN_STATE_KILLED,
  COMPLETED_FROM_CACHE: WireRunState.RUN_STATE_COMPLETED_FROM_CACHE,
});

export const executionStateToWire = executionStates.toWire;
/** Refuses UNSPECIFIED and unknown numbers. */
export const executionStateFromWire = executionStates.fromWire;
export const runStateToWire = runStates.toWire;
/** Refuses UNSPECIFIED and unknown numbers. */
export const runStateFromWire = runStates.fromWire;
