// `postern demo`: the whole product at work once, as anybody could use it: three processes, a real dataset, a workflow
// with user code, run twice, the second time after an edit.
import { once } from "node:events";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Command } from "commander";
import type { LogicalPlan } from "../contract/postern/v1/plan.js";
import { AppError } from "../core/app-error.js";
import type { Stack } from "../dev/stack.js";
import { type Api, openApi } from "./api.js";
import { reuseLine } from "./cache-use.js";
import { type Cli, examples, optionsOf } from "./command.js";
import { findConnection } from "./connection.js";
import { describeVersion, putDataset } from "./dataset.js";
import { editWorkflow } from "./demo-edit.js";
import { demoEnding } from "./demo-ending.js";
import { exitCodeOf } from "./exit-code.js";
import { print } from "./output.js";
import { packageRoot, publicDatasets } from "./package-files.js";
import { printFailure, printResults, viewedResults } from "./run.js";
import { queueExecution, superviseUntil } from "./run-execution.js";
import { interruptSignal, type Terminal } from "./terminal.js";
import { paintFor } from "./text.js";
import { putWorkflow } from "./workflow.js";
import { readWorkflowFile } from "./workflow-file.js";

/** Datasets the demo's workflow reads, and the files of the public package that hold them. */
const DATASETS = { flights: "flights-3m.parquet", airports: "airports.csv" };
const WORKFLOW = "flights-delays";
const DEMO_DIR = join(".postern", "demo");

export function addDemoCommand(program: Command, cli: Cli): void {
  program
    .command("demo")
    .description("start everything, run a workflow over public data twice, show the results, stop everything")
    .addHelpText("after", examples("postern demo", "postern demo --dir /tmp/postern-demo"))
    .action(async (_, command: Command) => {
      const { terminal } = cli;
      const { dir } = optionsOf(command);
      const { signal, release } = interruptSignal(terminal);
      try {
        await runDemo({ dir: resolve(terminal.cwd, dir ?? DEMO_DIR), terminal, signal });
      } catch (error) {
        if (!signal.aborted) throw error;
        cli.exitCode = exitCodeOf(signal.reason);
        terminal.err.write("\nInterrupted: everything has been stopped, no process is left.\n");
      } finally {
        release();
      }
    });
}

interface Demo {
  dir: string;
  terminal: Terminal;
  signal: AbortSignal;
}

async function runDemo({ dir, terminal, signal }: Demo): Promise<void> {
  const { startStack } = await import("../dev/stack.js");
  const data = publicDatasets();
  headline(terminal, "Starting Postgres, a server and an executor: three processes");
  const stack = await startStack({
    dir,
    executors: 1,
    listen: "127.0.0.1:0",
    datasetRoots: [data],
    log: (line) => print(terminal, `  ${line}`),
    signal,
  });
  try {
    const api = openApi(await findConnection({ dir }, { ...terminal, env: {} }));
    const played = playDemo(api, stack, data, { dir, terminal, signal });
    try {
      await Promise.race([played, troubleOf(stack), abortOf(signal)]);
    } finally {
      // What is on the screen is put down before we go on below it; a call that hears no signal is not waited for.
      await Promise.race([played.catch(() => {}), delay(500, undefined, { ref: false })]);
      api.close();
    }
  } finally {
    print(terminal, "\nStopping executor, server and Postgres …");
    await stack.stop();
  }
  print(terminal, "Stopped; no process is left.");
}

/** Rejects when a part of the stack ends by itself. */
async function troubleOf(stack: Stack): Promise<never> {
  throw new AppError("internal", "STACK_BROKEN", await stack.broken);
}

/** Rejects when somebody presses Ctrl-C, wherever the demo is. */
async function abortOf(signal: AbortSignal): Promise<never> {
  if (!signal.aborted) await once(signal, "abort");
  throw signal.reason;
}

async function playDemo(api: Api, stack: Stack, data: string, demo: Demo): Promise<void> {
  const { terminal } = demo;
  headline(terminal, "Registering public data in place (npm package vega-datasets)");
  for (const [name, file] of Object.entries(DATASETS)) {
    const { version } = await putDataset(api, name, join(data, file), { inPlace: true });
    print(terminal, `  ${describeVersion(version)}`);
  }

  const path = join(packageRoot(), "examples", `${WORKFLOW}.json`);
  const { plan } = await readWorkflowFile(path, terminal.cwd);
  headline(terminal, `Running examples/${WORKFLOW}.json: ${plan.operators.length} operators`);
  await runOnce(api, plan, "as it comes", demo);

  const edit = editWorkflow(plan);
  headline(terminal, `Running it again after an edit near the end: ${edit.what}`);
  const executionId = await runOnce(api, edit.plan, edit.what, demo);

  const { ports } = await api.call(api.ports, "listPorts", { executionId });
  for (const line of await demoEnding({ stack, ports, dir: demo.dir })) print(terminal, line);
}

async function runOnce(api: Api, plan: LogicalPlan, comment: string, { terminal, signal }: Demo): Promise<string> {
  const { version } = await putWorkflow(api, { workflowId: WORKFLOW, plan, comment });
  const request = { workflowId: WORKFLOW, version: version.version, name: "demo" };
  const execution = await queueExecution(api, request, terminal, false);
  const view = await superviseUntil(api, execution, terminal, { signal });
  if (view.state !== "COMPLETED") {
    printFailure(terminal, view);
    throw new AppError("internal", "DEMO_FAILED", `The demo's workflow ended ${view.state}; the reason is above.`);
  }
  const ended = await api.call(api.executions, "getExecution", { executionId: execution.id });
  const line = ended.execution && reuseLine(ended.execution, ended.reuse);
  if (line) print(terminal, `  ${line}`);
  printResults(terminal, await viewedResults(api, execution.id, 20));
  return execution.id;
}

const headline = (terminal: Terminal, text: string) =>
  print(terminal, `\n${paintFor(terminal.out, terminal.env)("bold", text)}`);
