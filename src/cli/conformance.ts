// `postern conformance`: plays faults against an executor of the user's and says which promises it keeps.
import { type Command, Option } from "commander";
import { runConformance, selectScenarios, type Verdict } from "../conformance/run-conformance.js";
import type { Scenario } from "../conformance/scenario.js";
import type { Mode } from "../conformance/stage.js";
import { invalid } from "../core/app-error.js";
import { type Cli, examples, optionsOf, several, wholeNumber } from "./command.js";
import { EXIT } from "./exit-code.js";
import { print, printJsonLine } from "./output.js";
import { interruptSignal, type Terminal } from "./terminal.js";
import { paintFor, printable } from "./text.js";

interface Options {
  executor?: string;
  mode: Mode;
  core?: boolean;
  strict?: boolean;
  only?: string[];
  list?: boolean;
  timeout: number;
  lease: number;
  jobs: number;
  verbose?: boolean;
}

export function addConformanceCommand(program: Command, cli: Cli): void {
  const { terminal } = cli;
  program
    .command("conformance")
    .description("play a server with faults against an executor; exits with 1 when it breaks a core promise")
    .option("--executor <command>", "how to start the executor, for the shell")
    .addOption(
      new Option("--mode <mode>", "pool: it serves a computing unit; single: POSTERN_SPEC_FILE names its execution")
        .choices(["pool", "single"])
        .default("pool"),
    )
    .option("--core", "play only what every executor must do")
    .option("--strict", "count the recommended promises too")
    .option("--only <name>", "play only this scenario (repeatable)", several)
    .option("--list", "list the scenarios and end")
    .option("--timeout <seconds>", "how long one scenario may take", wholeNumber(1, 600), 30)
    .option("--lease <ms>", "the lease the server gives", wholeNumber(300, 60_000), 1_500)
    .option("--jobs <n>", "scenarios played side by side", wholeNumber(1, 16), 1)
    .option("--verbose", "show what the executor writes")
    .addHelpText(
      "after",
      examples(
        "postern conformance --executor 'postern executor'",
        "postern conformance --executor 'python my_executor.py' --mode single --core",
        "postern conformance --list",
      ),
    )
    .action(async (_, command: Command) => {
      const options = optionsOf<Options>(command);
      const scenarios = selectScenarios(options);
      if (options.list) return list(terminal, scenarios, options.json);
      if (!options.executor) throw invalid("Name the executor: --executor '<command>'.");
      const { signal, release } = interruptSignal(terminal);
      const verdicts: Verdict[] = [];
      const stage = {
        command: options.executor,
        mode: options.mode,
        leaseMs: options.lease,
        timeoutMs: options.timeout * 1_000,
        env: terminal.env,
        cwd: terminal.cwd,
        onOutput: (text: string) => void (options.verbose && terminal.err.write(text)),
        signal,
        jobs: options.jobs,
      };
      try {
        for await (const verdict of runConformance(scenarios, stage)) {
          verdicts.push(verdict);
          tell(terminal, verdict, options.json);
        }
      } finally {
        release();
      }
      if (!conclude(terminal, verdicts, options)) cli.exitCode = EXIT.failed;
    });
}

function list(terminal: Terminal, scenarios: Scenario[], json: boolean | undefined): void {
  const width = Math.max(...scenarios.map(({ name }) => name.length));
  for (const { name, level, promise } of scenarios)
    if (json) printJsonLine(terminal, { name, level, promise });
    else print(terminal, `${name.padEnd(width)}  ${level.padEnd(11)}  ${promise}`);
}

function tell(terminal: Terminal, verdict: Verdict, json: boolean | undefined): void {
  if (json) return void printJsonLine(terminal, verdict);
  const { name, level, passed, reason, ms } = verdict;
  const paint = paintFor(terminal.out, terminal.env);
  const mark = passed ? paint("green", "✓") : paint(level === "core" ? "red" : "yellow", "✗");
  const which = level === "core" ? "" : " (recommended)";
  print(terminal, `${mark} ${name}${which}  ${(ms / 1_000).toFixed(1)} s${reason ? `\n    ${printable(reason)}` : ""}`);
}

/** Prints the summary; true when every promise that counts was kept. */
function conclude(
  terminal: Terminal,
  verdicts: Verdict[],
  { json, strict = false }: Options & { json?: boolean },
): boolean {
  const failed = verdicts.filter(({ passed }) => !passed);
  const passed = !failed.some(({ level }) => strict || level === "core");
  const count = (level: Verdict["level"]) => {
    const of = verdicts.filter((verdict) => verdict.level === level);
    return { passed: of.filter((verdict) => verdict.passed).length, of: of.length };
  };
  const [core, recommended] = [count("core"), count("recommended")];
  const ms = verdicts.reduce((sum, verdict) => sum + verdict.ms, 0);
  if (json) printJsonLine(terminal, { summary: { passed, core, recommended, ms } });
  else {
    const parts = [
      core.of > 0 && `core ${core.passed} of ${core.of}`,
      recommended.of > 0 && `recommended ${recommended.passed} of ${recommended.of}`,
    ];
    print(
      terminal,
      `${passed ? "passed" : "failed"}: ${parts.filter(Boolean).join(", ")} (${(ms / 1_000).toFixed(1)} s)`,
    );
  }
  return passed;
}
