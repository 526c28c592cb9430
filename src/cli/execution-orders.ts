// What people ask of an execution that exists: pause, resume, cancel.
import type { Command } from "commander";
import { Execution } from "../contract/postern/v1/execution.js";
import { executionStateFromWire } from "../rpc/state-codec.js";
import type { Api } from "./api.js";
import { type Cli, examples, executionArgument, withServer } from "./command.js";
import { findExecution } from "./execution-reference.js";
import { printEither } from "./output.js";

interface Order {
  name: string;
  description: string;
  /** What has been asked for, as in "has been asked to stop". */
  verb: string;
  examples: string[];
  send(api: Api, request: { executionId: string; reason: string; force: boolean }): Promise<{ execution?: Execution }>;
}

const ORDERS: Order[] = [
  {
    name: "pause",
    description: "ask for a running execution to be paused",
    verb: "pause",
    examples: ["postern pause flights-delays --reason 'the disk is busy'"],
    send: (api, { executionId, reason }) => api.call(api.executions, "pauseExecution", { executionId, reason }),
  },
  {
    name: "resume",
    description: "ask for a paused execution to go on",
    verb: "go on",
    examples: ["postern resume flights-delays"],
    send: (api, { executionId, reason }) => api.call(api.executions, "resumeExecution", { executionId, reason }),
  },
  {
    name: "cancel",
    description: "ask for an execution to be stopped",
    verb: "stop",
    examples: ["postern cancel flights-delays --reason 'wrong dataset'", "postern cancel EXECUTION --force"],
    send: (api, request) => api.call(api.executions, "cancelExecution", request),
  },
];

export function addExecutionOrders(program: Command, cli: Cli): void {
  for (const order of ORDERS) addOrder(program, cli, order);
}

function addOrder(program: Command, cli: Cli, { name, description, verb, examples: lines, send }: Order): void {
  const command = program
    .command(name)
    .description(description)
    .addArgument(executionArgument())
    .option("--reason <text>", "why, for people", "")
    .addHelpText("after", examples(...lines));
  if (name === "cancel") command.option("--force", "at once, without letting the executor end its work in order");
  command.action(
    withServer<{ reason: string; force?: boolean }, [string]>(cli, async (api, options, reference) => {
      const { id } = await findExecution(api, reference);
      const request = { executionId: id, reason: options.reason, force: options.force === true };
      const { execution = Execution.create({ id }) } = await send(api, request);
      printEither(
        cli.terminal,
        options,
        () => ({ execution: Execution.toJSON(execution) }),
        () => {
          const state = executionStateFromWire(execution.state);
          const over = execution.endedAt !== undefined;
          return over ? `execution ${id} is ${state}` : `execution ${id} is ${state} and has been asked to ${verb}`;
        },
      );
    }),
  );
}
