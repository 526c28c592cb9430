// Executions that exist: follow them, and ask something of them.
import type { Command } from "commander";
import { WatchExecutionResponse } from "../contract/postern/v1/execution.js";
import { type Cli, examples, executionArgument, withServer } from "./command.js";
import { addExecutionOrders } from "./execution-orders.js";
import { findExecution } from "./execution-reference.js";
import { printJsonLine } from "./output.js";
import { exitCodeOfRun, printFailure } from "./run.js";
import { superviseUntil } from "./run-execution.js";
import { Interrupted } from "./terminal.js";

export function addExecutionCommands(program: Command, cli: Cli): void {
  const { terminal } = cli;
  program
    .command("watch")
    .description("follow an execution until it ends; exits like `postern run`")
    .addArgument(executionArgument())
    .addHelpText(
      "after",
      `${examples("postern watch flights-delays", "postern watch EXECUTION --json | jq .")}\nCtrl-C leaves; the execution goes on.\n`,
    )
    .action(
      withServer<object, [string]>(cli, async (api, { json }, reference) => {
        const execution = await findExecution(api, reference);
        const leave = new AbortController();
        const release = terminal.onInterrupt(() => {
          leave.abort(new Interrupted(`Left; the execution goes on. To stop it: postern cancel ${execution.id}`));
        });
        try {
          const view = await superviseUntil(api, execution, terminal, {
            signal: leave.signal,
            quiet: json === true,
            ...(json ? { onItem: (item) => printJsonLine(terminal, WatchExecutionResponse.toJSON(item)) } : {}),
          });
          if (!json) printFailure(terminal, view);
          cli.exitCode = exitCodeOfRun(view, false);
        } finally {
          release();
        }
      }),
    );
  addExecutionOrders(program, cli);
}
