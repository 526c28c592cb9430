// `postern plan`: what a workflow compiles to, without running it.
import type { Command } from "commander";
import { CompileResponse } from "../contract/postern/v1/compile.js";
import type { PhysicalLink, PhysicalOperator, PhysicalPlan } from "../contract/postern/v1/plan.js";
import { invalid } from "../core/app-error.js";
import { diagnosticFromWire } from "../rpc/plan-codec.js";
import { type Cli, examples, wholeNumber, withServer } from "./command.js";
import { EXIT } from "./exit-code.js";
import { print, printJson, printTable } from "./output.js";
import { portName } from "./outputs.js";
import { diagnosticLines } from "./report-error.js";
import { columnsText } from "./result-table.js";
import type { Terminal } from "./terminal.js";
import { counted, paintFor, printable } from "./text.js";
import { readWorkflowFile } from "./workflow-file.js";

interface Options {
  workflow?: string;
  version?: number;
  sql?: boolean;
}

export function addPlanCommand(program: Command, cli: Cli): void {
  const { terminal } = cli;
  program
    .command("plan [file]")
    .description("compile a workflow file, or a stored workflow, and print the physical plan")
    .option("--workflow <id>", "a stored workflow instead of a file")
    .option("--version <n>", "which version of it (default: the newest)", wholeNumber(1))
    .option("--sql", "print the queries too")
    .addHelpText(
      "after",
      examples("postern plan examples/flights-delays.json", "postern plan --workflow flights-delays"),
    )
    .action(
      withServer<Options, [string | undefined]>(cli, async (api, options, path) => {
        const reply = await api.call(api.compiler, "compile", {
          projectId: api.connection.project(),
          source: await sourceOf(options, path, terminal),
        });
        if (!reply.plan) cli.exitCode = EXIT.badInput;
        if (options.json) return printJson(terminal, CompileResponse.toJSON(reply));
        printFindings(reply, terminal);
        if (reply.plan) printPlan(reply.plan, options.sql === true, terminal);
      }),
    );
}

async function sourceOf({ workflow, version = 0 }: Options, path: string | undefined, terminal: Terminal) {
  if ((path === undefined) === (workflow === undefined))
    throw invalid("Name either a workflow file or, with --workflow, a stored workflow.");
  if (workflow !== undefined) return { $case: "workflow" as const, value: { workflowId: workflow, version } };
  const { plan } = await readWorkflowFile(path!, terminal.cwd);
  return { $case: "plan" as const, value: plan };
}

function printFindings({ plan, diagnostics }: CompileResponse, { err, env }: Terminal): void {
  const paint = paintFor(err, env);
  if (!plan) err.write(`${paint("red", "error:")} The plan cannot run:\n`);
  for (const line of diagnosticLines(diagnostics.map(diagnosticFromWire))) err.write(`${line}\n`);
}

function printPlan(plan: PhysicalPlan, sql: boolean, terminal: Terminal): void {
  const paint = paintFor(terminal.out, terminal.env);
  const title = (text: string) => print(terminal, `\n${paint("bold", text)}`);
  const { operators, regions, links } = plan;
  const regionOf = (operator: PhysicalOperator) =>
    regions.find((region) =>
      region.operators.some((o) => o.operatorId === operator.operatorId && o.layer === operator.layer),
    );
  title(`${counted(operators.length, "operator")} in ${counted(regions.length, "region")}`);
  printTable(terminal, {
    head: ["OPERATOR", "TYPE", "REGION", "LEVEL", "OUTPUT"],
    right: [false, false, true, true],
    rows: operators.map((operator) => {
      const region = regionOf(operator);
      return [
        operator.layer === "main" ? operator.operatorId : `${operator.operatorId} (${operator.layer})`,
        operator.type,
        `${region?.id ?? ""}`,
        `${region?.level ?? ""}`,
        operator.outputs.map(({ schema }) => columnsText(schema)).join(" | "),
      ];
    }),
  });
  const written = operators.flatMap(({ outputs }) => outputs).filter(({ materialized }) => materialized);
  title(`${counted(written.length, "result")} written to storage`);
  printTable(terminal, {
    head: ["PORT", "VIEWED", "BLOCKING", "FINGERPRINT"],
    rows: written.map((port) => [
      portName(port.key),
      port.viewed ? "yes" : "no",
      port.blocking ? "yes" : "no",
      port.subdagHash ? port.subdagHash.slice(0, 12) : `none: ${port.uncacheableReason}`,
    ]),
  });
  const cut = links.filter(({ materialized }) => materialized);
  if (cut.length > 0) {
    title("Links between regions");
    printTable(terminal, { head: ["FROM", "TO", "WHY"], rows: cut.map(linkRow) });
  }
  if (sql) printQueries(operators, terminal, title);
}

const linkRow = ({ from, to, why }: PhysicalLink) => [portName(from), portName(to), why];

function printQueries(operators: PhysicalOperator[], terminal: Terminal, title: (text: string) => void): void {
  for (const { operatorId, implementation } of operators) {
    if (implementation?.$case !== "query") continue;
    title(operatorId);
    for (const line of implementation.value.sql.split("\n")) print(terminal, `  ${printable(line)}`);
  }
}
