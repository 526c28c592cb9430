// What a watcher knows of an execution: a pure fold over the items of WatchExecution.
import {
  ConsoleMessage_Level,
  type Execution,
  type ExecutionEvent,
  type Failure,
  type OperatorStatistics,
  type WatchExecutionResponse,
} from "../contract/postern/v1/execution.js";
import type { PhysicalOperator } from "../contract/postern/v1/plan.js";
import { type ExecutionState, isTerminal, type RunState } from "../core/execution-state.js";
import { executionStateFromWire, runStateFromWire } from "../rpc/state-codec.js";

export interface OperatorView {
  operatorId: string;
  layer: string;
  /** What people see. */
  title: string;
  type: string;
  state: RunState;
  inputRows: bigint | undefined;
  outputRows: bigint | undefined;
  /** Where rows are not counted, while it runs. */
  estimatedInputRows: bigint | undefined;
  estimatedOutputRows: bigint | undefined;
  /** 0 to 1. */
  progress: number | undefined;
  busyMs: number;
}

export interface ExecutionView {
  executionId: string;
  workflow: string;
  state: ExecutionState;
  attempt: number;
  createdAt: Date | undefined;
  startedAt: Date | undefined;
  endedAt: Date | undefined;
  failure: Failure | undefined;
  operators: OperatorView[];
  /** Number of the last event seen: where to watch on from. */
  lastNumber: bigint | undefined;
}

/** Before anything is known. */
export const emptyView = (executionId: string, workflow = ""): ExecutionView => ({
  executionId,
  workflow,
  state: "QUEUED",
  attempt: 1,
  createdAt: undefined,
  startedAt: undefined,
  endedAt: undefined,
  failure: undefined,
  operators: [],
  lastNumber: undefined,
});

export const isOver = (view: ExecutionView): boolean => isTerminal(view.state);

/** The view after one more item; the former view is left as it was. */
export function applyItem(view: ExecutionView, { item }: WatchExecutionResponse): ExecutionView {
  switch (item?.$case) {
    case "snapshot": {
      const { execution, operators, plan } = item.value;
      if (!execution) return view;
      const fresh = (plan?.operators ?? []).map(waitingOperator);
      return applyStatistics({ ...applyExecution(view, execution), operators: fresh }, operators);
    }
    case "event":
      return { ...applyEvent(view, item.value), lastNumber: item.value.number };
    case "caughtUp":
      return { ...view, lastNumber: item.value.number };
    default:
      return view;
  }
}

/** The view with an execution as the server has it now. */
export function applyExecution(view: ExecutionView, execution: Execution): ExecutionView {
  return {
    ...view,
    executionId: execution.id,
    workflow: `${execution.workflowId} version ${execution.workflowVersion}`,
    state: executionStateFromWire(execution.state),
    attempt: execution.attempt,
    createdAt: execution.createdAt,
    startedAt: execution.startedAt,
    endedAt: execution.endedAt,
    failure: execution.failure,
    lastNumber: execution.lastEventNumber,
  };
}

/** The view with figures of some operators; the others keep theirs. */
export function applyStatistics(view: ExecutionView, statistics: readonly OperatorStatistics[]): ExecutionView {
  const fresh = new Map(statistics.map((figures) => [keyOf(figures), figures]));
  return {
    ...view,
    operators: view.operators.map((operator) => {
      const figures = fresh.get(keyOf(operator));
      return figures ? withFigures(operator, figures) : operator;
    }),
  };
}

function applyEvent(view: ExecutionView, event: ExecutionEvent): ExecutionView {
  const current = event.attempt > view.attempt ? nextAttempt(view, event.attempt) : view;
  switch (event.kind?.$case) {
    case "executionState": {
      const { state: wireState, failure } = event.kind.value;
      const state = executionStateFromWire(wireState);
      return {
        ...current,
        state,
        failure: failure ?? current.failure,
        startedAt: current.startedAt ?? (state === "RUNNING" ? event.occurredAt : undefined),
        endedAt: isTerminal(state) ? event.occurredAt : current.endedAt,
      };
    }
    case "operatorState": {
      const { state } = event.kind.value;
      const key = keyOf(event.kind.value);
      return {
        ...current,
        operators: current.operators.map((operator) =>
          keyOf(operator) === key ? inState(operator, runStateFromWire(state)) : operator,
        ),
      };
    }
    case "operatorStatistics":
      return applyStatistics(current, [event.kind.value]);
    default:
      return current;
  }
}

/** A new try starts from nothing. */
function nextAttempt(view: ExecutionView, attempt: number): ExecutionView {
  const operators = view.operators.map((operator) => ({
    ...operator,
    state: "READY" as const,
    ...NO_FIGURES,
  }));
  return { ...view, attempt, operators };
}

const keyOf = ({ operatorId, layer }: { operatorId: string; layer: string }) => `${operatorId}/${layer}`;

function waitingOperator({ operatorId, layer, type, displayName }: PhysicalOperator): OperatorView {
  const name = displayName || operatorId;
  return {
    operatorId,
    layer,
    title: layer === "main" || layer === "" ? name : `${name} (${layer})`,
    type,
    state: "READY",
    ...NO_FIGURES,
  };
}

const NO_ESTIMATES = { estimatedInputRows: undefined, estimatedOutputRows: undefined };
const NO_FIGURES = { inputRows: undefined, outputRows: undefined, ...NO_ESTIMATES, progress: undefined, busyMs: 0 };

/** What was estimated ends with the work, also when the last figures did not come. */
const inState = (operator: OperatorView, state: RunState): OperatorView => ({
  ...operator,
  state,
  ...(state === "RUNNING" || state === "PAUSED" ? {} : NO_ESTIMATES),
});

function withFigures(operator: OperatorView, figures: OperatorStatistics): OperatorView {
  const { estimatedInputRows, estimatedOutputRows } = figures;
  const known = {
    ...operator,
    inputRows: figures.inputRows ?? operator.inputRows,
    outputRows: figures.outputRows ?? operator.outputRows,
    estimatedInputRows,
    estimatedOutputRows,
    progress: figures.progress ?? operator.progress,
    busyMs: Number(figures.busyMs),
  };
  // A figure without a state says nothing about it.
  return inState(known, figures.state === 0 ? operator.state : runStateFromWire(figures.state));
}

/** A line user code wrote, or a note about such lines. */
export interface ConsoleLine {
  /** Its number in the execution's log. */
  number: string;
  at: Date | undefined;
  operatorId: string;
  /** What people see of the operator. */
  operator: string;
  worker: number;
  level: "output" | "error" | "note";
  text: string;
}

/** The console line an item holds, if it holds one. */
export function consoleLineOf(view: ExecutionView, { item }: WatchExecutionResponse): ConsoleLine | undefined {
  if (item?.$case !== "event" || item.value.kind?.$case !== "consoleMessage") return undefined;
  const { number, occurredAt: at } = item.value;
  const { operatorId, worker, level, text } = item.value.kind.value;
  const operator = view.operators.find((o) => o.operatorId === operatorId)?.title ?? operatorId;
  return { number: number.toString(), at, operatorId, operator, worker, level: LEVELS.get(level) ?? "output", text };
}

const LEVELS = new Map<ConsoleMessage_Level, ConsoleLine["level"]>([
  [ConsoleMessage_Level.LEVEL_ERROR, "error"],
  [ConsoleMessage_Level.LEVEL_NOTE, "note"],
]);
