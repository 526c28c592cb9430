// The two long-lived programs, each configured by its own environment variables.
import type { Command } from "commander";
import { exitWhenParentDies } from "../process/parent-pipe.js";
import { type Cli, examples, optionsOf } from "./command.js";
import type { Terminal } from "./terminal.js";

export function addProgramCommands(program: Command, cli: Cli): void {
  program
    .command("server")
    .description("run a server; it is configured by POSTERN_… variables (docs/cli.md)")
    .addHelpText("after", examples("POSTERN_DATABASE_URL=postgres://postern@db/postern … postern server"))
    .action(async () => {
      exitWhenParentDies();
      const { main } = await import("../server/main.js");
      await main();
      adoptExitCode(cli);
    });
  program
    .command("executor")
    .description("run an executor; --server and --token-file (a serve token) or POSTERN_… variables (docs/cli.md)")
    .addHelpText(
      "after",
      examples(
        "postern token --serve --computing-unit local > serve.token",
        "postern executor --server 127.0.0.1:7700 --token-file serve.token",
      ),
    )
    .action(async (_, command: Command) => {
      const { server, tokenFile } = optionsOf(command);
      setVariable(cli.terminal.env, "POSTERN_SERVER", server);
      setVariable(cli.terminal.env, "POSTERN_TOKEN_FILE", tokenFile);
      exitWhenParentDies();
      const { main } = await executorProgram();
      await main();
      adoptExitCode(cli);
    });
}

/** Loaded only when it is needed: it brings DuckDB with it. */
export const executorProgram = () => import("../executor/main.js");

function setVariable(env: Terminal["env"], name: string, value: string | undefined): void {
  if (value !== undefined) env[name] = value;
}

/** A program that sets the process's exit code has the last word. */
function adoptExitCode(cli: Cli): void {
  if (typeof process.exitCode === "number") cli.exitCode = process.exitCode;
}
