// What a run says while it runs, turned into events of its session.
//
// P1  States and ports always arrive: saying them waits while the outbox is full.
// P2  Statistics go about every half second per operator, latest wins; console lines go within a budget. What is left
//     out, for want of budget or of room, is counted, and a gap in the console is marked by a note that always arrives.
// P3  Every figure but estimates, and every line, told or not, also goes to the files of the run (statistics-log.ts,
//     console-log.ts).
import {
  ConsoleMessage_Level,
  type DroppedEvents,
  type ExecutionState,
  type Failure,
  type OperatorStatistics,
  type RunState,
} from "../../contract/postern/v1/execution.js";
import type { PortResult } from "../../contract/postern/v1/port_registry.js";
import { CONSOLE_TEXT_BYTES } from "../../core/event-limits.js";
import type { PhysicalOperatorKey } from "../../core/plan.js";
import type { EventKind, ExecutorSession } from "../../executor-session/session-api.js";
import { consoleBudget } from "./console-budget.js";
import { latestWins } from "./statistics-throttle.js";

export interface Report {
  executionState(state: ExecutionState): Promise<void>;
  regionState(regionId: number, state: RunState): Promise<void>;
  operatorState(operator: PhysicalOperatorKey, state: RunState, failure?: Failure): Promise<void>;
  port(result: PortResult): Promise<void>;
  statistics(figures: OperatorStatistics): void;
  console(operatorId: string, level: ConsoleMessage_Level, text: string): void;
  /** Says what still waits; no figures and lines are said afterwards. */
  finish(): Promise<void>;
  /** Ends the timer, when the run ended without `finish`. */
  stop(): void;
  dropped(): DroppedEvents;
}

/** A little less than the half second that is promised: a figure that is due waits for the next look. */
const STATISTICS_EVERY_MS = 400;
const LOOK_EVERY_MS = 100;
const keyOf = ({ operatorId, layer }: PhysicalOperatorKey): string => `${operatorId}/${layer}`;

export function createReport(deps: { session: Pick<ExecutorSession, "report" | "offer">; now: () => number }): Report {
  const { session, now } = deps;
  const figures = latestWins<OperatorStatistics>(STATISTICS_EVERY_MS);
  const budgets = new Map<string, ReturnType<typeof consoleBudget>>();

  const offerFigures = (value: OperatorStatistics) => session.offer({ $case: "operatorStatistics", value });
  const timer = setInterval(() => {
    figures.drain(now(), offerFigures);
    for (const [operatorId, budget] of budgets) if (budget.isQuiet(now())) tellGap(operatorId);
  }, LOOK_EVERY_MS);
  timer.unref();

  const lineOf = (operatorId: string, level: ConsoleMessage_Level, text: string): EventKind => ({
    $case: "consoleMessage",
    value: { operatorId, worker: 0, level, text },
  });

  function budgetOf(operatorId: string) {
    const known = budgets.get(operatorId);
    if (known) return known;
    const fresh = consoleBudget();
    budgets.set(operatorId, fresh);
    return fresh;
  }

  function gapOf(operatorId: string): EventKind | undefined {
    const count = budgetOf(operatorId).untold();
    if (count === 0) return undefined;
    const lines = `${count.toLocaleString("en-US")} ${count === 1 ? "line" : "lines"}`;
    return lineOf(operatorId, ConsoleMessage_Level.LEVEL_NOTE, `${lines} dropped here; the console file has more.`);
  }

  /** False when there is a gap that could not be told. */
  function tellGap(operatorId: string): boolean {
    const gap = gapOf(operatorId);
    if (!gap) return true;
    if (!session.offer(gap)) return false;
    budgetOf(operatorId).told();
    return true;
  }

  return {
    executionState: (state) =>
      session.report({ $case: "executionState", value: { state, failure: undefined, comment: "" } }),
    regionState: (regionId, state) => session.report({ $case: "regionState", value: { regionId, state } }),
    operatorState({ operatorId, layer }, state, failure) {
      // Who hears that it has ended has its last figures by then.
      figures.drainKey(keyOf({ operatorId, layer }), offerFigures);
      return session.report({ $case: "operatorState", value: { operatorId, layer, state, failure } });
    },
    // Without its columns, which the plan and the manifest have: those of a wide table fit into no event.
    port: (value) => session.report({ $case: "portResult", value: { ...value, schema: undefined } }),
    statistics(value) {
      figures.put(keyOf(value), value);
      figures.drain(now(), offerFigures);
    },
    console(operatorId, level, text) {
      // No database takes U+0000 in text.
      // The console file has the whole line.
      const line = cutToBytes(text.replaceAll("\0", "\uFFFD"), CONSOLE_TEXT_BYTES);
      const budget = budgetOf(operatorId);
      if (!budget.admit(Buffer.byteLength(line), now())) return;
      // A line after a gap comes after the note about it, or not at all.
      if (!tellGap(operatorId) || !session.offer(lineOf(operatorId, level, line))) budget.leaveOut();
    },
    async finish() {
      clearInterval(timer);
      figures.drainAll(offerFigures);
      for (const [operatorId, budget] of budgets) {
        const gap = gapOf(operatorId);
        if (!gap) continue;
        budget.told();
        await session.report(gap);
      }
    },
    stop: () => clearInterval(timer),
    dropped: () => ({
      statistics: BigInt(figures.replaced() + figures.waiting()),
      consoleLines: BigInt([...budgets.values()].reduce((sum, budget) => sum + budget.dropped(), 0)),
    }),
  };
}

/** The longest beginning of whole characters that fits. */
export function cutToBytes(text: string, bytes: number): string {
  if (text.length * 3 <= bytes || Buffer.byteLength(text) <= bytes) return text;
  const mark = " …";
  const whole = Buffer.from(text);
  let end = bytes - Buffer.byteLength(mark);
  // A byte 10xxxxxx goes on with a character that began before it.
  while (((whole[end] ?? 0) & 0xc0) === 0x80) end--;
  return whole.toString("utf8", 0, end) + mark;
}
