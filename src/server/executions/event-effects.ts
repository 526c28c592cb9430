// What events of an executor change beside the log: the execution's state, operators, ports. Checked against the plan
// the server issued before anything is stored.
import type { ExecutionEvent } from "../../contract/postern/v1/execution.js";
import type { PortResult } from "../../contract/postern/v1/port_registry.js";
import { illegalTransition, invalid } from "../../core/app-error.js";
import { type ExecutionState, isTerminal, mayMove, type RunState } from "../../core/execution-state.js";
import { operatorKey, type PhysicalPlan } from "../../core/plan.js";
import { executionStateFromWire, runStateFromWire } from "../../rpc/state-codec.js";
import { portOffer } from "../cache/port-offer.js";
import type { PortOffer } from "../repositories/cache-commits.js";
import type { OperatorStatisticsRow } from "../repositories/operator-statistics.js";
import type { PortRow, ReusedPort } from "../repositories/ports.js";
import type { ReportedEvent } from "./event-batch.js";
import { statisticsFromWire } from "./execution-wire.js";
import { portRows, reusedPort } from "./port-registration.js";

/** One attempt as reports about it are checked. */
export interface ReportedAttempt {
  executionId: string;
  attempt: number;
  /** Every URI must lie below it. */
  prefix: string;
  plan: PhysicalPlan;
}

/** Of each operator and port the last word counts. */
export interface EventEffects {
  /** States the execution went through, in order. */
  states: ExecutionState[];
  operatorStates: Map<string, { executionId: string; operatorId: string; layer: string; state: RunState }>;
  statistics: Map<string, OperatorStatisticsRow & { executionId: string }>;
  ports: Map<string, Omit<PortRow, "registeredAt">>;
  /** Ports whose rows are another execution's; none of them is among `ports`. */
  reused: Map<string, ReusedPort>;
  /** Ports among `ports` that are to be remembered. */
  offers: Map<string, Omit<PortOffer, "epoch">>;
}

/** Gathers what events change; undefined when it is nothing. Refuses what contradicts the plan. */
export function effectsOf(attempt: ReportedAttempt, events: ReportedEvent[]): EventEffects | undefined {
  let effects: EventEffects | undefined;
  for (const { value } of events) {
    if (value === undefined || value.$case === "regionState") continue;
    effects ??= { states: [], operatorStates: new Map(), statistics: new Map(), ...noPorts() };
    addEffect(attempt, effects, value);
  }
  return effects;
}

const noPorts = (): Pick<EventEffects, "ports" | "reused" | "offers"> => ({
  ports: new Map(),
  reused: new Map(),
  offers: new Map(),
});

function addEffect(attempt: ReportedAttempt, effects: EventEffects, kind: NonNullable<ExecutionEvent["kind"]>): void {
  const { executionId } = attempt;
  switch (kind.$case) {
    case "executionState": {
      const to = reportedState(executionStateFromWire(kind.value.state));
      const from = effects.states.at(-1);
      if (from !== undefined && from !== to && !mayMove(from, to)) throw illegalTransition(from, to);
      effects.states.push(to);
      break;
    }
    case "operatorState": {
      const { operatorId, layer } = kind.value;
      const key = plannedOperator(attempt, kind.value);
      const state = runStateFromWire(kind.value.state);
      effects.operatorStates.set(key, { executionId, operatorId, layer, state });
      const figures = effects.statistics.get(key);
      if (figures) effects.statistics.set(key, { ...figures, state });
      break;
    }
    case "operatorStatistics":
      effects.statistics.set(plannedOperator(attempt, kind.value), { ...statisticsFromWire(kind.value), executionId });
      break;
    case "portResult":
      addPort(attempt, effects, kind.value);
      break;
  }
}

function addPort(attempt: ReportedAttempt, effects: EventEffects, port: PortResult): void {
  if (port.reused) {
    const row = reusedPort(attempt, port);
    effects.reused.set(row.globalPortId, row);
    effects.ports.delete(row.globalPortId);
    effects.offers.delete(row.globalPortId);
    return;
  }
  for (const row of portRows(attempt, [port])) {
    effects.ports.set(row.globalPortId, row);
    effects.reused.delete(row.globalPortId);
    if (port.reservation !== 0n) effects.offers.set(row.globalPortId, portOffer(attempt, row.globalPortId, port));
  }
}

/** Joins what two runs of events of one stream change; the later one has the last word. */
export function joinEffects(
  earlier: EventEffects | undefined,
  later: EventEffects | undefined,
): EventEffects | undefined {
  if (!earlier || !later) return earlier ?? later;
  const statistics = new Map(earlier.statistics);
  for (const [key, { state }] of later.operatorStates) {
    const figures = statistics.get(key);
    if (figures) statistics.set(key, { ...figures, state });
  }
  for (const [key, figures] of later.statistics) statistics.set(key, figures);
  return {
    states: [...earlier.states, ...later.states],
    operatorStates: new Map([...earlier.operatorStates, ...later.operatorStates]),
    statistics,
    ports: new Map([...without(earlier.ports, later.reused), ...later.ports]),
    reused: new Map([...without(earlier.reused, later.ports), ...later.reused]),
    offers: new Map([...without(earlier.offers, later.reused), ...later.offers]),
  };
}

const without = <Value>(some: Map<string, Value>, others: Map<string, unknown>): [string, Value][] =>
  [...some].filter(([id]) => !others.has(id));

/** Operators of each plan, by printed key: looked up for every figure. */
const operatorsOf = new WeakMap<PhysicalPlan, Set<string>>();

function plannedOperator({ plan }: ReportedAttempt, operator: { operatorId: string; layer: string }): string {
  let known = operatorsOf.get(plan);
  if (!known) {
    known = new Set(plan.operators.map(operatorKey));
    operatorsOf.set(plan, known);
  }
  const key = operatorKey(operator);
  if (known.has(key)) return key;
  throw invalid(`The plan has no operator ${key.slice(0, 300)}.`);
}

function reportedState(state: ExecutionState): ExecutionState {
  if (isTerminal(state))
    throw invalid(`An execution ends with its manifest; send Complete instead of the state ${state}.`);
  if (state === "QUEUED" || state === "PREPARED") throw illegalTransition("held by an executor", state);
  return state;
}
