// `postern run`: a workflow file or a stored workflow, from submission to the result on the screen.
import type { Command } from "commander";
import { Execution, PortReuse } from "../contract/postern/v1/execution.js";
import { AppError, notFound } from "../core/app-error.js";
import type { Api } from "./api.js";
import { type CacheOptions, cacheUseOf, inOptionWords, reuseLine, withCacheOptions } from "./cache-use.js";
import { type Cli, examples, wholeNumber, withServer } from "./command.js";
import type { GlobalOptions } from "./connection.js";
import type { ExecutionView } from "./execution-view.js";
import { EXIT } from "./exit-code.js";
import { print, printJson, printTable } from "./output.js";
import { portName, readPort, resultDocument } from "./outputs.js";
import { resultTable, rowsShown } from "./result-table.js";
import { failureLines, queueExecution, type RunRequest, superviseExecution } from "./run-execution.js";
import type { Terminal } from "./terminal.js";
import { paintFor } from "./text.js";
import { putWorkflow } from "./workflow.js";
import { meansFile, readWorkflowFile } from "./workflow-file.js";

interface Options extends CacheOptions {
  version?: number;
  workflow?: string;
  name: string;
  detach?: boolean;
  result: boolean;
  limit: number;
}

export function addRunCommand(program: Command, cli: Cli): void {
  const command = program
    .command("run <workflow>")
    .description("run a workflow file (stored as a new version) or a stored workflow, and show its result")
    .option("--version <n>", "which version of a stored workflow (default: the newest)", wholeNumber(1))
    .option("--workflow <id>", "store the file under this id (default: the file's name)")
    .option("--name <text>", "what to call this run", "")
    .option("--detach", "queue it and leave")
    .option("--no-result", "do not print the result")
    .option("--limit <n>", "rows of each result to print", wholeNumber(1, 10_000), 20);
  withCacheOptions(command)
    .addHelpText(
      "after",
      `${examples(
        "postern run examples/flights-delays.json",
        "postern run flights-delays --version 2 --limit 50",
        "postern run flights-delays --detach",
        "postern run flights-delays --cache read-only --cache-operator top=refresh",
        "postern run flights-delays --json > result.json",
      )}\nCtrl-C asks for the run to be cancelled; a second one leaves without waiting.\n`,
    )
    .action(
      withServer<Options, [string]>(cli, async (api, options, workflow) => {
        const { terminal } = cli;
        const request = await storeWhenFile(api, workflow, options, terminal);
        const queued = await queueExecution(api, request, terminal, options.json === true).catch((error) => {
          throw inOptionWords(error);
        });
        if (options.detach) return printDetached(terminal, options, queued);
        if (!options.json) terminal.err.write(`execution ${queued.id}\n`);
        const { view, interrupted } = await superviseExecution(api, queued, terminal, { quiet: options.json === true });
        cli.exitCode = exitCodeOfRun(view, interrupted);
        await printEnd(api, view, options, terminal);
      }),
    );
}

/** 130 only when Ctrl-C had its way. */
export function exitCodeOfRun({ state }: ExecutionView, interrupted: boolean): number {
  if (state === "COMPLETED") return EXIT.ok;
  return state === "KILLED" && interrupted ? EXIT.interrupted : EXIT.failed;
}

async function storeWhenFile(api: Api, workflow: string, options: Options, terminal: Terminal): Promise<RunRequest> {
  const { name } = options;
  const cache = cacheUseOf(options);
  if (!meansFile(workflow)) return { workflowId: workflow, version: options.version ?? 0, name, cache };
  if (options.version !== undefined)
    throw new AppError(
      "invalid",
      "INVALID_REQUEST",
      "A file is stored as a version of its own: leave --version away, or name the stored workflow.",
    );
  const file = await readWorkflowFile(workflow, terminal.cwd);
  const workflowId = options.workflow ?? file.workflowId;
  const { version } = await putWorkflow(api, { workflowId, plan: file.plan, comment: "" });
  return { workflowId, version: version.version, name, cache };
}

function printDetached(terminal: Terminal, { json }: GlobalOptions, execution: Execution): void {
  if (json) printJson(terminal, { execution: Execution.toJSON(execution) });
  else {
    print(terminal, execution.id);
    terminal.err.write(`Queued. Follow it with: postern watch ${execution.id}\n`);
  }
}

/** How it ended, and what came of it. */
async function printEnd(api: Api, view: ExecutionView, options: Options & GlobalOptions, terminal: Terminal) {
  const { executionId, state } = view;
  const results = options.result && state === "COMPLETED" ? await viewedResults(api, executionId, options.limit) : [];
  const { execution, reuse } = await api.call(api.executions, "getExecution", { executionId });
  if (!execution) throw notFound(`execution ${JSON.stringify(executionId)}`);
  if (options.json)
    return printJson(terminal, {
      execution: Execution.toJSON(execution),
      reuse: reuse.map(PortReuse.toJSON),
      ...(options.result ? { results: results.map(({ port, reply }) => ({ port, ...resultDocument(reply) })) } : {}),
    });
  printFailure(terminal, view);
  printResults(terminal, results);
  const line = reuseLine(execution, reuse, options);
  if (line !== undefined) terminal.err.write(`${line}\n`);
  if (state === "COMPLETED") terminal.err.write(`More: postern outputs ${executionId}\n`);
}

/** Says why it failed, or that it was killed; nothing when it went well. */
export function printFailure(terminal: Terminal, view: ExecutionView): void {
  const { err, env } = terminal;
  const paint = paintFor(err, env);
  if (view.state === "KILLED") err.write("The run was cancelled.\n");
  if (view.state !== "FAILED") return;
  const [head, ...detail] = failureLines(view);
  err.write(`${paint("red", "failed:")} ${head}\n${detail.map((line) => `${line}\n`).join("")}`);
}

export interface ViewedResult {
  /** As people write it. */
  port: string;
  reply: Awaited<ReturnType<typeof readPort>>;
}

/** The first rows of every port people asked to see. */
export async function viewedResults(api: Api, executionId: string, limit: number): Promise<ViewedResult[]> {
  const { ports } = await api.call(api.ports, "listPorts", { executionId });
  const results: ViewedResult[] = [];
  for (const port of ports.filter(({ viewed }) => viewed)) {
    const window = { offset: 0n, limit, columns: [] };
    const reply = await readPort(api, executionId, { by: { $case: "globalPortId", value: port.globalPortId } }, window);
    results.push({ port: portName(port.key), reply });
  }
  return results;
}

export function printResults(terminal: Terminal, results: ViewedResult[]): void {
  const paint = paintFor(terminal.out, terminal.env);
  for (const { port, reply } of results) {
    print(terminal, `\n${paint("bold", port)} (${rowsShown(reply, { offset: 0n })})`);
    printTable(terminal, resultTable(reply));
  }
}
