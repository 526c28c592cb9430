// `postern plan`: what a workflow compiles to and how it is scheduled, without running it. A workflow of our own, file or
// stored, is compiled by the server; one exported from Apache Texera is planned here and needs none.
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { Command } from "commander";
import type { CompileRequest, CompileResponse } from "../contract/postern/v1/compile.js";
import { Diagnostic, type PhysicalPlan } from "../contract/postern/v1/plan.js";
import { AppError, invalid } from "../core/app-error.js";
import { isExportedWorkflow } from "../core/texera/exported-workflow.js";
import { diagnosticFromWire } from "../rpc/plan-codec.js";
import { withApi } from "./api.js";
import { explainPlan, printExplanation } from "./cache-explanation.js";
import { type Cli, examples, optionsOf, wholeNumber } from "./command.js";
import type { GlobalOptions } from "./connection.js";
import { EXIT } from "./exit-code.js";
import { print, printJson, printTable } from "./output.js";
import { portName } from "./outputs.js";
import { planSvg } from "./plan/drawing/plan-svg.js";
import { type CompiledDocument, compiledDocument } from "./plan/native-plan.js";
import type { PlanDocument } from "./plan/plan-document.js";
import { costLine, printPlan, printTitle } from "./plan/print-plan.js";
import { choiceToWire, type ScheduleChoice, withScheduleOptions } from "./plan/schedule-choice.js";
import { texeraPlan } from "./plan/texera-plan.js";
import { diagnosticLines } from "./report-error.js";
import { columnsText } from "./result-table.js";
import type { Terminal } from "./terminal.js";
import { counted, paintFor, printable } from "./text.js";
import { readJsonFile, workflowIdOf, workflowPlan } from "./workflow-file.js";

interface Options extends ScheduleChoice, GlobalOptions {
  workflow?: string;
  version?: number;
  sql?: boolean;
  /** True: to standard output. */
  svg?: string | true;
  whatIf?: boolean;
}

export function addPlanCommand(program: Command, cli: Cli): void {
  const command = program
    .command("plan [file]")
    .description("compile a workflow file, or a stored workflow, and print the physical plan and its schedule")
    .option("--workflow <id>", "a stored workflow instead of a file")
    .option("--version <n>", "which version of it (default: the newest)", wholeNumber(1));
  withScheduleOptions(command)
    .option("--sql", "print the queries too")
    .option("--what-if", "tell which remembered results the file would invalidate (of --workflow, or of its own name)")
    .option("--svg [out]", "draw the plan as SVG, to a file or to standard output")
    .addHelpText(
      "after",
      `${examples(
        "postern plan examples/flights-delays.json",
        "postern plan --workflow flights-delays --cost bytes",
        "postern plan examples/flights-delays.json --svg plan.svg",
        "postern plan edited.json --what-if --workflow flights-delays",
        "postern plan exported-from-texera.json --json",
      )}\nA workflow exported from Apache Texera is planned without a server.\n`,
    )
    .action(async (file: string | undefined) => planWorkflow(cli, optionsOf<Options>(command), file));
}

async function planWorkflow(cli: Cli, options: Options, file: string | undefined): Promise<void> {
  const { terminal } = cli;
  const { workflow, version = 0 } = options;
  if (options.svg !== undefined && (options.json || options.whatIf))
    throw invalid("Choose one form: --svg draws the plan, --json and --what-if do not.");
  if (options.whatIf) return tellWhatIf(options, file, terminal);
  if (typeof options.svg === "string" && file === undefined && workflow === undefined)
    throw invalid("Name the workflow file before --svg: what stands behind --svg is where the picture goes.");
  if ((file === undefined) === (workflow === undefined))
    throw invalid("Name either a workflow file or, with --workflow, a stored workflow.");
  if (file === undefined)
    return planCompiled(cli, options, { $case: "workflow", value: { workflowId: workflow!, version } });
  const json = await readJsonFile(file, terminal.cwd);
  if (!isExportedWorkflow(json)) return planCompiled(cli, options, { $case: "plan", value: workflowPlan(json, file) });
  const { document, notes } = texeraPlan(json, file, options);
  if (!options.json) for (const note of [...meaningless(options), ...notes]) terminal.err.write(`${printable(note)}\n`);
  const name = { title: "NAME", cell: ({ displayName }: { displayName: string }) => displayName };
  if (options.svg !== undefined) return drawPlan(document, options.svg, terminal);
  if (options.json) return printJson(terminal, { ...document, ...(notes.length > 0 ? { notes } : {}) });
  printPlan(document, name, terminal);
}

/** A note about the options that say nothing of a file from Texera. */
function meaningless({ sql, version }: Options): string[] {
  const given = [...(sql ? ["--sql"] : []), ...(version === undefined ? [] : ["--version"])];
  const says = given.length === 1 ? "says" : "say";
  return given.length === 0 ? [] : [`${given.join(" and ")} ${says} nothing of a workflow exported from Texera.`];
}

/** Which results of an edited workflow, file or stored version, the cache could not give any more. */
async function tellWhatIf(options: Options, file: string | undefined, terminal: Terminal): Promise<void> {
  const { workflow, version = 0 } = options;
  if (file === undefined && workflow === undefined)
    throw invalid(
      "Name a workflow file, a stored workflow with --workflow, or both: the edited file and whose results.",
    );
  const json = file === undefined ? undefined : await readJsonFile(file, terminal.cwd);
  if (isExportedWorkflow(json))
    throw invalid("--what-if asks a server's cache: it takes workflows of Postern, not one exported from Texera.");
  const plan = file === undefined ? undefined : workflowPlan(json, file);
  const workflowId = workflow ?? workflowIdOf(file!);
  const reply = await withApi(options, terminal, (api) => explainPlan(api, { workflowId, plan, version, file }));
  printExplanation(reply, options.json, terminal);
}

async function planCompiled(cli: Cli, options: Options, source: CompileRequest["source"]): Promise<void> {
  const { terminal } = cli;
  const reply = await withApi(options, terminal, (api) =>
    api.call(api.compiler, "compile", { projectId: api.connection.project(), source, ...choiceToWire(options) }),
  );
  if (reply.plan && !reply.schedule)
    throw new AppError(
      "precondition",
      "NO_SCHEDULE",
      "The server is of an older release and tells no schedule: upgrade it.",
    );
  const document = compiledDocument(reply);
  if (document === undefined) cli.exitCode = EXIT.badInput;
  if (options.json)
    return printJson(terminal, {
      ...document,
      ...(reply.planDigest ? { planDigest: reply.planDigest } : {}),
      diagnostics: reply.diagnostics.map(Diagnostic.toJSON),
    });
  printFindings(reply, terminal);
  if (document === undefined) return;
  if (options.svg !== undefined) return drawPlan(document, options.svg, terminal);
  printCompiled(document, reply.plan!, options.sql === true, terminal);
}

async function drawPlan(document: PlanDocument, out: string | true, terminal: Terminal): Promise<void> {
  const title = `${counted(document.operators.length, "operator")} in ${counted(document.regions.length, "region")}, ${costLine(document)}`;
  const svg = planSvg(document, title);
  if (out === true) return void terminal.out.write(svg);
  await writeFile(resolve(terminal.cwd, out), svg).catch((error: NodeJS.ErrnoException) => {
    throw invalid(`${out} cannot be written (${error.code}): name another file.`, error);
  });
  terminal.err.write(`${out} written\n`);
}

function printFindings({ plan, diagnostics }: CompileResponse, { err, env }: Terminal): void {
  const paint = paintFor(err, env);
  if (!plan) err.write(`${paint("red", "error:")} The plan cannot run:\n`);
  for (const line of diagnosticLines(diagnostics.map(diagnosticFromWire))) err.write(`${line}\n`);
}

function printCompiled(
  document: CompiledDocument,
  { operators }: PhysicalPlan,
  sql: boolean,
  terminal: Terminal,
): void {
  const columns = new Map(
    document.operators.map(({ id }, i) => [
      id,
      operators[i]!.outputs.map(({ schema }) => columnsText(schema)).join(" | "),
    ]),
  );
  printPlan(document, { title: "OUTPUT", cell: ({ id }) => columns.get(id)! }, terminal);
  const written = operators.flatMap(({ outputs }) => outputs).filter(({ materialized }) => materialized);
  printTitle(terminal, `${counted(written.length, "result")} written to storage`);
  printTable(terminal, {
    head: ["PORT", "VIEWED", "BLOCKING", "FINGERPRINT"],
    rows: written.map((port) => [
      portName(port.key),
      port.viewed ? "yes" : "no",
      port.blocking ? "yes" : "no",
      port.subdagHash ? port.subdagHash.slice(0, 12) : `none: ${port.uncacheableReason}`,
    ]),
  });
  if (sql) printQueries(operators, terminal);
}

function printQueries(operators: PhysicalPlan["operators"], terminal: Terminal): void {
  for (const { operatorId, implementation } of operators) {
    if (implementation?.$case !== "query") continue;
    printTitle(terminal, operatorId);
    for (const line of implementation.value.sql.split("\n")) print(terminal, `  ${printable(line)}`);
  }
}
