// Progress as lines: a picture that is redrawn on a terminal, or one line per change where there is none. Pure.
import type { RunState } from "../core/execution-state.js";
import { type ConsoleLine, type ExecutionView, isOver, type OperatorView } from "./execution-view.js";
import {
  type Colour,
  count,
  counted,
  duration,
  type Paint,
  padEnd,
  padStart,
  plain,
  printable,
  truncate,
  widthOf,
} from "./text.js";

export interface Canvas {
  columns: number;
  rows: number;
  paint?: Paint;
  /** Milliseconds since the epoch. */
  now: number;
}

const SPINNER = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const GLYPHS: Record<RunState, [glyph: string, colour: Colour]> = {
  READY: ["·", "dim"],
  RUNNING: ["⠋", "cyan"],
  PAUSED: ["‖", "yellow"],
  COMPLETED: ["✔", "green"],
  FAILED: ["✖", "red"],
  KILLED: ["■", "yellow"],
  COMPLETED_FROM_CACHE: ["◆", "green"],
};
const DONE: ReadonlySet<RunState> = new Set(["COMPLETED", "COMPLETED_FROM_CACHE"]);

/** The picture of an execution: a head line and one line per operator, none wider than the canvas. */
export function renderProgress(view: ExecutionView, canvas: Canvas): string[] {
  const { columns, rows } = canvas;
  const shown = choose(view.operators, Math.max(1, rows - 3));
  const hidden = view.operators.length - shown.length;
  const lines = [headLine(view, canvas), ...operatorLines(shown, canvas)];
  if (hidden > 0) lines.push(truncate(`  … and ${counted(hidden, "operator")} more`, columns));
  return lines;
}

function headLine(view: ExecutionView, { columns, now, paint = plain }: Canvas): string {
  const done = view.operators.filter(({ state }) => DONE.has(state)).length;
  const parts = [view.workflow || view.executionId, view.attempt > 1 ? `try ${view.attempt}` : ""];
  if (view.operators.length > 0) parts.push(`${done} of ${view.operators.length} operators done`);
  parts.push(elapsed(view, now));
  const colour: Colour = view.state === "FAILED" ? "red" : view.state === "COMPLETED" ? "green" : "cyan";
  const rest = parts.filter(Boolean).map(printable).join(" · ");
  return `${paint(colour, view.state)} ${truncate(rest, Math.max(1, columns - view.state.length - 1))}`;
}

function elapsed({ startedAt, endedAt }: ExecutionView, now: number): string {
  return startedAt ? duration((endedAt?.getTime() ?? now) - startedAt.getTime()) : "";
}

/** When not all fit, what runs or failed is worth most, what is done least. */
function choose(operators: OperatorView[], room: number): OperatorView[] {
  if (operators.length <= room) return operators;
  const worth = (state: RunState) => (DONE.has(state) ? 2 : state === "READY" ? 1 : 0);
  const chosen = new Set(operators.toSorted((a, b) => worth(a.state) - worth(b.state)).slice(0, room));
  return operators.filter((operator) => chosen.has(operator));
}

function operatorLines(operators: OperatorView[], { columns, now, paint = plain }: Canvas): string[] {
  const cells = operators.map((operator) => {
    const input = rows(operator.inputRows, operator.estimatedInputRows);
    const output = rows(operator.outputRows, operator.estimatedOutputRows);
    return {
      operator,
      title: printable(operator.title),
      // Operators fused into one query may know only one of the two; half an arrow tells nothing.
      input: input === "" || output === "" ? "" : `${input} → `,
      output,
      percent: percentOf(operator),
      time: operator.busyMs > 0 ? duration(operator.busyMs) : "",
    };
  });
  const widest = (column: "title" | Figure) => Math.max(0, ...cells.map((cell) => widthOf(cell[column])));
  const titleWidth = widest("title");
  const widths = { input: widest("input"), output: widest("output"), percent: widest("percent"), time: widest("time") };
  const room = () =>
    columns - MARGIN - FIGURES.reduce((sum, figure) => sum + (widths[figure] ? widths[figure] + GAP.length : 0), 0);
  for (const figure of LEAST_TELLING_FIRST) if (room() < Math.min(titleWidth, 16)) widths[figure] = 0;
  const title = Math.max(1, Math.min(titleWidth, room()));
  return cells.map((cell) => {
    const [glyph, colour] = GLYPHS[cell.operator.state];
    const running = cell.operator.state === "RUNNING";
    const mark = running ? SPINNER[Math.floor(now / 80) % SPINNER.length]! : glyph;
    const figures = FIGURES.filter((figure) => widths[figure]).map((figure) => padStart(cell[figure], widths[figure]));
    return [`  ${paint(colour, mark)} ${padEnd(truncate(cell.title, title), title)}`, ...figures].join(GAP).trimEnd();
  });
}

const FIGURES = ["input", "output", "percent", "time"] as const;
type Figure = (typeof FIGURES)[number];
/** What a narrow terminal goes without. */
const LEAST_TELLING_FIRST: readonly Figure[] = ["input", "time", "percent", "output"];
const GAP = "  ";
/** Two columns before the mark, the mark, one behind it. */
const MARGIN = 4;

/** A count, or an estimate marked as one. */
const rows = (counted: bigint | undefined, estimated: bigint | undefined): string =>
  counted !== undefined ? count(counted) : estimated !== undefined ? `~${count(estimated)}` : "";

function percentOf({ state, progress }: OperatorView): string {
  if (DONE.has(state) || progress === undefined || state === "READY") return "";
  return `${Math.floor(Math.min(1, Math.max(0, progress)) * 100)} %`;
}

/** What changed from one view to the next, as plain lines; empty when nothing worth a line did. */
export function changeLines(before: ExecutionView, after: ExecutionView): string[] {
  const lines: string[] = [];
  const former = new Map(before.operators.map((o) => [`${o.operatorId}/${o.layer}`, o.state]));
  const head = () => {
    const name = printable(after.workflow || after.executionId);
    const attempt = after.attempt > 1 ? `, try ${after.attempt}` : "";
    const time = isOver(after) && after.startedAt ? `, ${elapsed(after, after.startedAt.getTime())}` : "";
    return `${name}: ${after.state}${attempt}${time}`;
  };
  const started = before.lastNumber === undefined && after.lastNumber !== undefined;
  const moved = started || before.state !== after.state || before.attempt !== after.attempt;
  if (moved && !isOver(after)) lines.push(head());
  for (const operator of after.operators) {
    const state = former.get(`${operator.operatorId}/${operator.layer}`) ?? "READY";
    if (operator.state !== state && operator.state !== "READY") lines.push(`  ${operatorChange(operator)}`);
  }
  if (moved && isOver(after)) lines.push(head());
  return lines;
}

function operatorChange(operator: OperatorView): string {
  const figures = [
    operator.outputRows === undefined ? "" : counted(operator.outputRows, "row"),
    operator.busyMs > 0 ? duration(operator.busyMs) : "",
  ].filter(Boolean);
  const tail = operator.state === "RUNNING" || figures.length === 0 ? "" : ` (${figures.join(", ")})`;
  return `${printable(operator.title)}: ${operator.state}${tail}`;
}

/** A line of user code as people see it. */
export function consoleText(
  { operator, level, text }: Pick<ConsoleLine, "operator" | "level" | "text">,
  paint: Paint = plain,
): string {
  const colour: Colour = level === "error" ? "red" : "dim";
  return `${paint("dim", `[${printable(operator)}]`)} ${level === "output" ? printable(text) : paint(colour, printable(text))}`;
}
