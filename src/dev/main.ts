// `postern dev`: the whole product on a laptop in one command, until Ctrl-C.
import { AppError } from "../core/app-error.js";
import { commandText } from "./child-program.js";
import { type Stack, type StackOptions, startStack } from "./stack.js";

export interface DevOptions extends Omit<StackOptions, "log"> {
  /** True when the command line finds the directory without being told. */
  isDefaultDir: boolean;
  /** Told, a line each, what is going on and where things are. */
  say: (line: string) => void;
  /** Called once everything runs. */
  onReady?: (stack: Stack) => void;
}

/** Starts the stack and keeps it until the signal aborts; rejects when a part of it ends by itself. */
export async function main(options: DevOptions): Promise<void> {
  const { say, signal, onReady } = options;
  const stack = await startStack({ ...options, log: say });
  let trouble: string | undefined;
  try {
    for (const line of introduction(stack, options.isDefaultDir)) say(line);
    onReady?.(stack);
    trouble = await Promise.race([stack.broken, abortOf(signal)]);
    say("stopping …");
  } finally {
    await stack.stop();
  }
  say("stopped; no process is left");
  if (trouble) throw new AppError("internal", "STACK_BROKEN", trouble);
}

function abortOf(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
}

function introduction({ dir, resultRoot }: Stack, isDefaultDir: boolean): string[] {
  const postern = commandText();
  const inDir = isDefaultDir ? "" : ` --dir ${dir}`;
  return [
    "",
    "Ready. In another terminal, in this directory:",
    `  ${postern} dataset put NAME FILE${inDir}    store a CSV, JSON or Parquet file`,
    `  ${postern} run WORKFLOW.json${inDir}        run a workflow and see its result`,
    "",
    `Results are in ${resultRoot}, logs and the rest in ${dir}.`,
    "Press Ctrl-C to stop.",
  ];
}
