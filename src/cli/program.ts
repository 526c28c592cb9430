// The command line: what commands there are, how they fail, what the process ends with.
import { Command, CommanderError } from "commander";
import { type AppError, invalid } from "../core/app-error.js";
import { didYouMean, listNames } from "../core/names.js";
import { release } from "../process/release.js";
import { addCacheCommands } from "./cache.js";
import { addCallCommand } from "./call.js";
import type { Cli } from "./command.js";
import { addConformanceCommand } from "./conformance.js";
import { addConsoleCommand } from "./console.js";
import { addDatasetCommands } from "./dataset.js";
import { addDemoCommand } from "./demo.js";
import { addDevCommand } from "./dev.js";
import { addDoctorCommand } from "./doctor.js";
import { addExecutionCommands } from "./execution.js";
import { EXIT, exitCodeOf } from "./exit-code.js";
import { addImportCommand } from "./import.js";
import { addOperatorCommands } from "./operators.js";
import { addOutputCommands } from "./outputs.js";
import { addPlanCommand } from "./plan.js";
import { addProgramCommands } from "./programs.js";
import { reportError } from "./report-error.js";
import { addRunCommand } from "./run.js";
import type { Terminal } from "./terminal.js";
import { addTokenCommand } from "./token.js";
import { addWorkflowCommands } from "./workflow.js";

/** Runs one command line; resolves to the exit code, whatever happens. */
export async function runCli(args: readonly string[], terminal: Terminal): Promise<number> {
  const cli: Cli = { terminal, exitCode: EXIT.ok };
  try {
    await createProgram(cli, { json: isJson(args) }).parseAsync(args, { from: "user" });
    return cli.exitCode;
  } catch (error) {
    const failure = error instanceof CommanderError ? usageFailure(error) : error;
    if (failure === undefined) return EXIT.ok;
    // People have read what is wrong already: commander says it, with a hint or the help.
    if (failure === error || isJson(args)) reportError(terminal, failure, isJson(args));
    return exitCodeOf(failure);
  }
}

const isJson = (args: readonly string[]): boolean => args.includes("--json");

/** A usage error as one of ours; undefined when help or the release was asked for. */
function usageFailure({ code, exitCode, message }: CommanderError): AppError | undefined {
  if (exitCode === 0) return undefined;
  if (code === "commander.help") return invalid("Name a command: `postern help` lists them, with their subcommands.");
  return invalid(message.replace(/^error: /, ""));
}

function createProgram(cli: Cli, { json }: { json: boolean }): Command {
  const { out, err } = cli.terminal;
  const program = new Command("postern")
    .description("Run dataflow workflows on executors that hold no database credential.")
    .option("--server <host:port>", "the server (POSTERN_SERVER)")
    .option("--token-file <file>", "file with your token (POSTERN_TOKEN_FILE, or the token itself in POSTERN_TOKEN)")
    .option("--project <id>", "the project (POSTERN_PROJECT)")
    .option("--computing-unit <id>", "where to run (POSTERN_COMPUTING_UNIT)")
    .option("--dir <dir>", "directory of `postern dev`, which tells what is not given (POSTERN_DIR, .postern/dev)")
    .option("--tls-ca <file>", "connect with TLS and trust this authority (POSTERN_TLS_CA_FILE)")
    .option("--json", "print JSON instead of tables")
    .version(release(), "-V", "print the release")
    .configureHelp({ showGlobalOptions: true })
    .helpCommand("help [command]", "explain a command") // of groups: they inherit it
    .helpCommand(false) // addHelpCommand
    .showHelpAfterError("(add --help for the options)")
    .addHelpText("after", FIRST_STEPS);
  addRunCommand(program, cli);
  addExecutionCommands(program, cli);
  addOutputCommands(program, cli);
  addConsoleCommand(program, cli);
  addPlanCommand(program, cli);
  addOperatorCommands(program, cli);
  addCacheCommands(program, cli);
  addWorkflowCommands(program, cli);
  addImportCommand(program, cli);
  addDatasetCommands(program, cli);
  addTokenCommand(program, cli);
  addCallCommand(program, cli);
  addDoctorCommand(program, cli);
  addConformanceCommand(program, cli);
  addDemoCommand(program, cli);
  addDevCommand(program, cli);
  addProgramCommands(program, cli);
  addHelpCommand(program);
  for (const command of allCommands(program)) {
    command.exitOverride();
    command.configureOutput({
      writeOut: (text) => void out.write(text),
      // With --json the error is told as a document instead.
      writeErr: (text) => void (json || err.write(text)),
    });
  }
  return program;
}

/** `help`, for commands within commands too. */
function addHelpCommand(program: Command): void {
  program
    .command("help [command...]")
    .description("explain a command")
    .helpOption(false)
    .action((names: string[]) => {
      let subject = program;
      for (const name of names) {
        const next = subject.commands.find((one) => one.name() === name || one.aliases().includes(name));
        const known = subject.commands.map((one) => one.name());
        if (!next)
          throw invalid(
            `There is no command ${JSON.stringify(name)} in \`${pathOf(subject)}\`${didYouMean(name, known)}` +
              (known.length > 0 ? ` There are: ${listNames(known)}.` : ""),
          );
        subject = next;
      }
      subject.help();
    });
}

const pathOf = (command: Command): string =>
  command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();

const allCommands = (command: Command): Command[] => [command, ...command.commands.flatMap(allCommands)];

const FIRST_STEPS = `
First steps:
  postern demo                       see everything at work once
  postern dev                        start a server and an executor on this machine
  postern run examples/flights-delays.json
  postern doctor                     find out what is missing

Exit codes: 0 done, 1 the run failed, 2 bad input, 3 refused, 4 not found, 5 server unavailable, 130 interrupted.
`;
