// What a run says while it runs, turned into numbered events of the outbox.
//
// P1  States and ports always arrive: saying them waits while the outbox is full.
// P2  Statistics go at most twice a second per operator, latest wins; console lines go within a budget. What is left
//     out is counted, and a gap in the console is marked by a note.
// P3  Every figure and every line, told or not, also goes to the files of the run (statistics-log.ts, console-log.ts).
import {
  ConsoleMessage_Level,
  type DroppedEvents,
  type ExecutionState,
  type Failure,
  type OperatorStatistics,
  type RunState,
} from "../../contract/postern/v1/execution.js";
import type { PortResult } from "../../contract/postern/v1/port_registry.js";
import type { PhysicalOperatorKey } from "../../core/plan.js";
import type { Outbox } from "../stream/outbox.js";
import { consoleBudget } from "./console-budget.js";
import { latestWins } from "./statistics-throttle.js";

export interface Report {
  executionState(state: ExecutionState): Promise<void>;
  regionState(regionId: number, state: RunState): Promise<void>;
  operatorState(operator: PhysicalOperatorKey, state: RunState, failure?: Failure): Promise<void>;
  port(result: PortResult): Promise<void>;
  statistics(figures: OperatorStatistics): void;
  console(operatorId: string, level: ConsoleMessage_Level, text: string): void;
  /** Sends what still waits; nothing is said afterwards. */
  finish(): void;
  dropped(): DroppedEvents;
}

const STATISTICS_EVERY_MS = 500;
/** Longest line on the stream, in bytes; the console file has the whole one. */
const LINE_BYTES = 8_192;

export function createReport(deps: { outbox: Outbox; now: () => number }): Report {
  const { outbox, now } = deps;
  const figures = latestWins<OperatorStatistics>(STATISTICS_EVERY_MS);
  const budgets = new Map<string, ReturnType<typeof consoleBudget>>();

  const offerFigures = (value: OperatorStatistics) => outbox.offer({ $case: "operatorStatistics", value });
  const timer = setInterval(() => figures.drain(now(), offerFigures), STATISTICS_EVERY_MS / 2);
  timer.unref();

  const say = (operatorId: string, level: ConsoleMessage_Level, text: string) =>
    outbox.offer({ $case: "consoleMessage", value: { operatorId, worker: 0, level, text } });

  function budgetOf(operatorId: string) {
    const known = budgets.get(operatorId);
    if (known) return known;
    const fresh = consoleBudget();
    budgets.set(operatorId, fresh);
    return fresh;
  }

  function tellGap(operatorId: string): void {
    const budget = budgetOf(operatorId);
    const count = budget.untold();
    if (count === 0) return;
    const lines = `${count.toLocaleString("en-US")} ${count === 1 ? "line" : "lines"}`;
    if (say(operatorId, ConsoleMessage_Level.LEVEL_NOTE, `${lines} dropped here; the console file has more.`))
      budget.told();
  }

  return {
    executionState: (state) =>
      outbox.append({ $case: "executionState", value: { state, failure: undefined, comment: "" } }),
    regionState: (regionId, state) => outbox.append({ $case: "regionState", value: { regionId, state } }),
    operatorState: ({ operatorId, layer }, state, failure) =>
      outbox.append({ $case: "operatorState", value: { operatorId, layer, state, failure } }),
    port: (value) => outbox.append({ $case: "portResult", value }),
    statistics(value) {
      figures.put(`${value.operatorId}/${value.layer}`, value);
      figures.drain(now(), offerFigures);
    },
    console(operatorId, level, text) {
      // No database takes U+0000 in text.
      const line = cutToBytes(text.replaceAll("\0", "\uFFFD"), LINE_BYTES);
      const budget = budgetOf(operatorId);
      if (!budget.admit(Buffer.byteLength(line), now())) return;
      tellGap(operatorId);
      if (!say(operatorId, level, line)) budget.leaveOut();
    },
    finish() {
      clearInterval(timer);
      figures.drainAll(offerFigures);
      for (const operatorId of budgets.keys()) tellGap(operatorId);
    },
    dropped: () => ({
      statistics: BigInt(figures.replaced()),
      consoleLines: BigInt([...budgets.values()].reduce((sum, budget) => sum + budget.dropped(), 0)),
    }),
  };
}

/** The longest beginning of whole characters that fits. */
export function cutToBytes(text: string, bytes: number): string {
  if (text.length * 3 <= bytes || Buffer.byteLength(text) <= bytes) return text;
  const mark = " …";
  const cut = Buffer.from(text).subarray(0, bytes - Buffer.byteLength(mark));
  // A character that was cut in the middle decodes to U+FFFD.
  return cut.toString("utf8").replace(/�+$/, "") + mark;
}
