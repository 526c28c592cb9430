// `postern doctor`: what this machine and the server are fit for, one line each, with the next step where there is one.
import type { Command } from "commander";
import { withApi } from "./api.js";
import { type Cli, examples, optionsOf } from "./command.js";
import { directoryOf, findConnection, type GlobalOptions } from "./connection.js";
import { EXIT } from "./exit-code.js";
import { type Finding, warn } from "./finding.js";
import { checkMachine } from "./machine-checks.js";
import { printEither } from "./output.js";
import { checkServer } from "./server-checks.js";
import type { Terminal } from "./terminal.js";
import { type Colour, paintFor, printable } from "./text.js";

const COLOURS: Record<Finding["verdict"], Colour> = { ok: "green", warn: "yellow", fail: "red" };

export function addDoctorCommand(program: Command, cli: Cli): void {
  const { terminal } = cli;
  program
    .command("doctor")
    .description("check this machine and the server; exits with 1 when something must be mended")
    .addHelpText("after", examples("postern doctor", "postern doctor --server postern.example.com:443 --json"))
    .action(async (_, command: Command) => {
      const options = optionsOf(command);
      const findings = [...(await checkMachine(directoryOf(options, terminal))), ...(await server(options, terminal))];
      if (findings.some(({ verdict }) => verdict === "fail")) cli.exitCode = EXIT.failed;
      const paint = paintFor(terminal.out, terminal.env);
      printEither(
        terminal,
        options,
        () => ({ findings }),
        () =>
          findings
            .map(({ what, verdict, found, next }) => {
              const line = `${paint(COLOURS[verdict], verdict.padEnd(4))}  ${what}: ${printable(found)}`;
              return next ? `${line}\n      → ${printable(next)}` : line;
            })
            .join("\n"),
      );
    });
}

async function server(options: GlobalOptions, terminal: Terminal): Promise<Finding[]> {
  const known = await findConnection(options, terminal).catch((error: Error) => error);
  if (known instanceof Error) return [warn("server", "none is known", known.message)];
  return withApi(options, terminal, checkServer);
}
