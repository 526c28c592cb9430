// What user code printed: replayed from the execution's log, and followed while it runs.
import { setTimeout as delay } from "node:timers/promises";
import type { Command } from "commander";
import type { WatchExecutionResponse } from "../contract/postern/v1/execution.js";
import type { Api } from "./api.js";
import { type Cli, examples, executionArgument, withServer } from "./command.js";
import { findExecution } from "./execution-reference.js";
import { applyItem, type ConsoleLine, consoleLineOf, emptyView, isOver } from "./execution-view.js";
import { followExecution } from "./follow-execution.js";
import { print, printJsonLine } from "./output.js";
import { interruptSignal, type Terminal } from "./terminal.js";
import { count, type Paint, paintFor, plain, printable } from "./text.js";
import { watchOnce } from "./watch-execution.js";

interface ConsoleOptions {
  follow?: boolean;
  errors?: boolean;
}

export function addConsoleCommand(program: Command, cli: Cli): void {
  program
    .command("console")
    .description("print what the user functions of an execution have printed")
    .addArgument(executionArgument())
    .argument("[operator]", "only this operator")
    .option("-f, --follow", "go on until the execution ends")
    .option("--errors", "only error output and notes")
    .addHelpText(
      "after",
      examples(
        "postern console flights-delays",
        "postern console flights-delays comfort --follow",
        "postern console EXECUTION --json | jq -r .text",
      ),
    )
    .action(
      withServer<ConsoleOptions, [string, string | undefined]>(cli, async (api, options, reference, operator) => {
        const { id } = await findExecution(api, reference);
        const { terminal } = cli;
        const paint = paintFor(terminal.out, terminal.env);
        const { signal, release } = interruptSignal(terminal);
        try {
          let shown = 0;
          for await (const line of consoleLines(api, id, { follow: options.follow === true, signal })) {
            if (operator !== undefined && line.operatorId !== operator) continue;
            if (options.errors && line.level === "output") continue;
            shown++;
            if (options.json) printJsonLine(terminal, line);
            else print(terminal, lineText(line, paint));
          }
          if (options.json) return;
          if (shown === 0) terminal.err.write("Nothing was printed.\n");
          await tellWhereTheRestIs(api, id, operator, terminal);
        } finally {
          release();
        }
      }),
    );
}

/** The lines in the log, oldest first; with `follow` until the execution has ended. */
async function* consoleLines(
  api: Api,
  executionId: string,
  { follow, signal }: { follow: boolean; signal: AbortSignal },
): AsyncGenerator<ConsoleLine> {
  let view = emptyView(executionId);
  // From the first event on; the snapshot would leave out what was said before it.
  view = { ...view, lastNumber: 0n };
  const items: AsyncIterable<WatchExecutionResponse> = followExecution({
    watch: (after) => watchOnce(api, executionId, after, signal),
    isOver: () => isOver(view),
    lastNumber: () => view.lastNumber,
    onLost: () => {},
    delay: (ms) => delay(ms, undefined, { signal }),
    signal,
  });
  for await (const item of items) {
    view = applyItem(view, item);
    const line = consoleLineOf(view, item);
    if (line) yield line;
    if (!follow && item.item?.$case === "caughtUp") return;
  }
}

function lineText({ at, operator, worker, level, text }: ConsoleLine, paint: Paint = plain): string {
  const time = at ? at.toISOString().slice(11, 23) : "";
  const name = worker === 0 ? operator : `${operator} #${worker}`;
  const said = level === "output" ? printable(text) : paint(level === "error" ? "red" : "dim", printable(text));
  return `${paint("dim", `${time} [${printable(name)}]`)} ${said}`;
}

/** The log has what was told live, within its budget; the console files have every line. */
async function tellWhereTheRestIs(api: Api, executionId: string, operator: string | undefined, { err }: Terminal) {
  const { consoles } = await api.call(api.ports, "listPorts", { executionId });
  for (const { operatorId, lineCount, uri } of consoles)
    if (operator === undefined || operatorId === operator)
      err.write(`Every line of ${printable(operatorId)}, ${count(lineCount)} in all: ${uri}\n`);
}
