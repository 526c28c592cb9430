// Shows an execution while it runs: redrawn in place on a terminal, plain lines elsewhere, nothing when asked.
import { createLogUpdate } from "log-update";
import type { WatchExecutionResponse } from "../contract/postern/v1/execution.js";
import { applyItem, consoleLineOf, type ExecutionView } from "./execution-view.js";
import { changeLines, consoleText, renderProgress } from "./progress-lines.js";
import type { Terminal } from "./terminal.js";
import { paintFor } from "./text.js";

export interface Progress {
  /** Takes one item in; returns what is known now. */
  apply(item: WatchExecutionResponse): ExecutionView;
  view(): ExecutionView;
  /** Replaces what is known, for example with the final figures. */
  replace(view: ExecutionView): void;
  /** Prints a line that stays. */
  note(line: string): void;
  /** Leaves the last picture where it is. Calling it again is harmless. */
  done(): void;
}

const REDRAW_MS = 80;

/** Progress on standard error. `quiet` shows nothing, not even notes. */
export function showProgress(terminal: Terminal, first: ExecutionView, { quiet }: { quiet: boolean }): Progress {
  if (quiet) return silent(first);
  return terminal.err.isTTY && terminal.env.TERM !== "dumb" ? redrawn(terminal, first) : lineByLine(terminal, first);
}

function silent(first: ExecutionView): Progress {
  let view = first;
  return {
    apply: (item) => (view = applyItem(view, item)),
    view: () => view,
    replace: (next) => (view = next),
    note() {},
    done() {},
  };
}

function lineByLine({ err, env }: Terminal, first: ExecutionView): Progress {
  const paint = paintFor(err, env);
  let view = first;
  const move = (next: ExecutionView) => {
    for (const line of changeLines(view, next)) err.write(`${line}\n`);
    view = next;
    return view;
  };
  return {
    apply(item) {
      const line = consoleLineOf(view, item);
      if (line) err.write(`  ${consoleText(line, paint)}\n`);
      return move(applyItem(view, item));
    },
    view: () => view,
    replace: (next) => (view = next),
    note: (line) => err.write(`${line}\n`),
    done() {},
  };
}

function redrawn({ err, env }: Terminal, first: ExecutionView): Progress {
  const paint = paintFor(err, env);
  const draw = createLogUpdate(err as NodeJS.WriteStream);
  let view = first;
  let over = false;
  const picture = () => {
    const canvas = { columns: err.columns ?? 80, rows: err.rows ?? 24, paint, now: Date.now() };
    return renderProgress(view, canvas).join("\n");
  };
  const redraw = () => {
    if (!over) draw(picture());
  };
  const timer = setInterval(redraw, REDRAW_MS);
  const keep = (line: string) => {
    draw.clear();
    err.write(`${line}\n`);
    redraw();
  };
  return {
    apply(item) {
      const line = consoleLineOf(view, item);
      if (line) keep(consoleText(line, paint));
      view = applyItem(view, item);
      return view;
    },
    view: () => view,
    replace: (next) => (view = next),
    note: keep,
    done() {
      if (over) return;
      redraw();
      over = true;
      clearInterval(timer);
      draw.done();
    },
  };
}
