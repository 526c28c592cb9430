// What every command file shares: the context it runs in, and how its options are read.
import { Argument, type Command, InvalidArgumentError } from "commander";
import { type Api, withApi } from "./api.js";
import type { GlobalOptions } from "./connection.js";
import type { Terminal } from "./terminal.js";

export interface Cli {
  terminal: Terminal;
  /** What the process ends with unless an error says otherwise. */
  exitCode: number;
}

/** The options of a command with those of the program. */
export const optionsOf = <Own extends object>(command: Command): Own & GlobalOptions => command.optsWithGlobals();

/** An action that talks to the server: it gets the services, its options and its arguments. */
export function withServer<Own extends object, Args extends unknown[]>(
  cli: Cli,
  action: (api: Api, options: Own & GlobalOptions, ...args: Args) => Promise<void>,
): (...given: unknown[]) => Promise<void> {
  return async (...given) => {
    const command = given.at(-1) as Command; // commander passes arguments, options, command
    const options = optionsOf<Own>(command);
    await withApi(options, cli.terminal, (api) => action(api, options, ...(given.slice(0, -2) as Args)));
  };
}

/** An option's whole number from `least` on. */
export const wholeNumber =
  (least: number, most = Number.MAX_SAFE_INTEGER) =>
  (value: string): number => {
    const number = /^\d+$/.test(value) ? Number(value) : Number.NaN;
    if (number >= least && number <= most) return number;
    const range = most === Number.MAX_SAFE_INTEGER ? `${least} or more` : `${least} to ${most}`;
    throw new InvalidArgumentError(`Give a whole number, ${range}.`);
  };

/** Values of an option that may be given several times, or with commas. */
export const several = (value: string, former: string[] | undefined): string[] => [
  ...(former ?? []),
  ...value.split(",").filter(Boolean),
];

export const executionArgument = () =>
  new Argument("<execution>", "an execution's id, or a workflow's id for its latest execution");

/** Text below a command's help. */
export const examples = (...lines: string[]): string => `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}\n`;
