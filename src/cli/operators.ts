// `postern operators`: the operator types the server knows, and the settings of one.
import type { Command } from "commander";
import { OperatorType } from "../contract/postern/v1/compile.js";
import { AppError } from "../core/app-error.js";
import { didYouMean, listNames } from "../core/names.js";
import { type SettingSchema, settingLines } from "../core/operators/setting-lines.js";
import { type Cli, examples, withServer } from "./command.js";
import type { GlobalOptions } from "./connection.js";
import { print, printEither, printJson } from "./output.js";
import { wrapped } from "./records.js";
import type { Terminal } from "./terminal.js";
import { counted, paintFor, printable } from "./text.js";

export function addOperatorCommands(program: Command, cli: Cli): void {
  program
    .command("operators [type]")
    .description("list the operator types of a workflow, or the settings of one")
    .addHelpText(
      "after",
      `${examples("postern operators", "postern operators join", "postern operators join --json")}\nEach has an example in docs/operators.md.\n`,
    )
    .action(
      withServer<object, [string | undefined]>(cli, async (api, options, type) => {
        const { operatorTypes } = await api.call(api.compiler, "listOperatorTypes", {});
        if (type === undefined) return listTypes(operatorTypes, options, cli.terminal);
        const found = operatorTypes.find((one) => one.type === type);
        if (!found) throw noType(type, operatorTypes);
        if (options.json) printJson(cli.terminal, OperatorType.toJSON(found));
        else showType(found, cli.terminal);
      }),
    );
}

function noType(type: string, known: readonly OperatorType[]): AppError {
  const names = known.map((one) => one.type);
  const meant = didYouMean(type, names);
  return new AppError(
    "not-found",
    "OPERATOR_TYPE_NOT_FOUND",
    `There is no operator type ${JSON.stringify(type)}${meant} There are: ${listNames(names)}.`,
  );
}

function listTypes(types: readonly OperatorType[], options: GlobalOptions, terminal: Terminal): void {
  printEither(
    terminal,
    options,
    () => ({ operatorTypes: types.map(OperatorType.toJSON) }),
    () => ({
      head: ["TYPE", "GROUP", "INPUTS", "OUTPUTS", "WHAT IT DOES"],
      right: [false, false, true, true],
      rows: types.map(({ type, group, inputPorts, outputPorts, summary }) => [
        type,
        group,
        portsCell(inputPorts),
        portsCell(outputPorts),
        summary,
      ]),
    }),
  );
}

const INDENT = "    ";
const LEAST_WIDTH = 40;

/** -1: its settings decide. */
const portsCell = (ports: number): string => (ports < 0 ? "any" : String(ports));

function showType(
  { type, summary, inputPorts, outputPorts, propertiesSchema }: OperatorType,
  terminal: Terminal,
): void {
  const ports = (count: number, noun: string) =>
    count < 0 ? `${noun}s as its settings say` : count === 0 ? `no ${noun}` : counted(count, noun);
  print(terminal, printable(`${type}: ${summary}`));
  print(terminal, `${ports(inputPorts, "input")}, ${ports(outputPorts, "output")}\n`);
  const lines = settingLines((propertiesSchema ?? {}) as SettingSchema);
  if (lines.length === 0) print(terminal, "It has no settings.");
  const { out, env } = terminal;
  const width = Math.max(LEAST_WIDTH, (out.isTTY ? (out.columns ?? 80) : Number.POSITIVE_INFINITY) - INDENT.length);
  const paint = paintFor(out, env);
  for (const { path, kind, byDefault, description } of lines) {
    const standing = byDefault === "" || byDefault === "required" ? byDefault : `default ${byDefault}`;
    print(terminal, `${paint("bold", printable(path))}${standing && `  ${paint("dim", printable(standing))}`}`);
    for (const text of [kind, description].filter(Boolean))
      for (const line of wrapped(printable(text), width)) print(terminal, `${INDENT}${line}`);
  }
}
