// `postern import texera`: a workflow exported from Apache Texera as a workflow of ours, with an account of what became
// of each operator. Nothing is written while an operator cannot be imported, unless somebody insists.
import { readFile, writeFile } from "node:fs/promises";
import { basename, extname, resolve } from "node:path";
import type { Command } from "commander";
import { CompileRequest } from "../contract/postern/v1/compile.js";
import { LogicalPlan } from "../contract/postern/v1/plan.js";
import { invalid } from "../core/app-error.js";
import { parseDatasetReference } from "../core/dataset-reference.js";
import { didYouMean, listNames } from "../core/names.js";
import type { Language } from "../core/plan.js";
import { datasetChoices, filesOf, type GivenDataset, meansPath } from "../core/texera/dataset-choices.js";
import { type ExportedWorkflow, isExportedWorkflow, readExportedWorkflow } from "../core/texera/exported-workflow.js";
import { type Import, importWorkflow } from "../core/texera/import-workflow.js";
import type { MappedCode } from "../core/texera/mapped-code.js";
import { diagnosticFromWire } from "../rpc/plan-codec.js";
import { withApi } from "./api.js";
import { type Cli, examples, optionsOf } from "./command.js";
import type { GlobalOptions } from "./connection.js";
import { EXIT } from "./exit-code.js";
import { importDocument, printImport, workflowText } from "./import-report.js";
import { printJson } from "./output.js";
import { diagnosticLines } from "./report-error.js";
import type { Terminal } from "./terminal.js";
import { paintFor } from "./text.js";
import { readJsonFile } from "./workflow-file.js";

interface Options extends GlobalOptions {
  map?: string[];
  dataset?: string[];
  output?: string;
  check?: boolean;
  force?: boolean;
}

export function addImportCommand(program: Command, cli: Cli): void {
  const group = program.command("import").description("workflows of other systems");
  const command = group
    .command("texera <file>")
    .description("turn a workflow exported from Apache Texera into one of Postern")
    .option("--map <type=file>", "a user function (.py, .js) that stands for an operator type or id; repeatable", every)
    .option("--dataset <file=dataset>", "the dataset that stands for a file of the workflow; repeatable", every)
    .option("-o, --output <file>", "write the workflow there (default: to standard output)")
    .option("--check", "let the server compile it, and show what it finds")
    .option("--force", "write it although something cannot be imported: that is disabled in it")
    .addHelpText(
      "after",
      `${examples(
        "postern import texera exported.json -o workflow.json",
        "postern import texera exported.json --dataset sales.csv=sales@2 --map HuggingFaceSpamSMSDetection=spam.py",
        "postern import texera exported.json --json > report.json",
      )}\nExit codes: 0 all imported, 3 something cannot be. docs/texera.md tells what becomes of what.\n`,
    )
    .action(async (file: string) => importTexera(cli, file, optionsOf<Options>(command)));
}

const every = (value: string, former: string[] | undefined): string[] => [...(former ?? []), value];

async function importTexera(cli: Cli, file: string, options: Options): Promise<void> {
  const { terminal } = cli;
  const json = await readJsonFile(file, terminal.cwd);
  if (!isExportedWorkflow(json))
    throw invalid(`${file} is no workflow exported from Apache Texera: export one there, as JSON, and name that file.`);
  const workflow = readExportedWorkflow(json, file, { keepDisabled: true, purpose: "imported" });
  const mapped = await readMapped(options.map ?? [], workflow, terminal);
  const files = filesOf(workflow);
  const choices = datasetChoices(files, readDatasets(options.dataset ?? [], files));
  const imported = importWorkflow(workflow, { mapped, ...choices });
  const datasets = files.map((path) => ({ path, ...choices.datasetFor(path) }));
  const complete = isComplete(imported);
  const written = complete || options.force === true;
  if (!complete) cli.exitCode = EXIT.refused;
  if (written && options.output !== undefined) await writeWorkflow(options.output, imported, terminal);
  const findings = written && options.check ? await compile(imported, options, terminal) : undefined;
  if (findings?.ok === false) cli.exitCode = EXIT.badInput;
  if (options.json)
    return printJson(
      terminal,
      importDocument(imported, { withWorkflow: written && options.output === undefined, datasets, compiled: findings }),
    );
  if (written && options.output === undefined) terminal.out.write(workflowText(imported.plan));
  printImport(imported, { file, written, output: options.output, datasets }, terminal);
  if (findings === undefined) return;
  const { err } = terminal;
  if (!findings.ok) err.write(`${paintFor(err, terminal.env)("red", "error:")} The plan cannot run:\n`);
  for (const line of diagnosticLines(findings.diagnostics)) err.write(`${line}\n`);
  if (findings.ok) err.write("The server compiles it.\n");
}

const isComplete = ({ operators, findings }: Import): boolean =>
  findings.length === 0 && operators.every(({ outcome }) => outcome !== "refused");

/** The two sides of NAME=VALUE; the last = counts, because names may hold one. */
function sides(option: string, text: string, example: string): [name: string, value: string] {
  const at = text.lastIndexOf("=");
  if (at > 0 && at < text.length - 1) return [text.slice(0, at), text.slice(at + 1)];
  throw invalid(`${option} ${JSON.stringify(text.slice(0, 140))} has no two sides: write it as ${example}.`);
}

const LANGUAGES: Record<string, Language> = { ".py": "python", ".js": "javascript", ".mjs": "javascript" };

async function readMapped(
  given: readonly string[],
  { operators }: ExportedWorkflow,
  { cwd }: Terminal,
): Promise<Map<string, MappedCode>> {
  const mapped = new Map<string, MappedCode>();
  const known = new Set(operators.flatMap(({ id, type }) => [type, id]));
  for (const text of given) {
    const [name, path] = sides("--map", text, "--map Type=function.py");
    if (!known.has(name)) {
      const types = [...new Set(operators.map(({ type }) => type))];
      throw invalid(
        `The workflow has no operator of the type or id ${JSON.stringify(name.slice(0, 140))}${didYouMean(name, known)} Its types are ${listNames(types)}.`,
      );
    }
    if (mapped.has(name)) throw invalid(`--map names ${name} twice: give one function for it.`);
    const language = LANGUAGES[extname(path).toLowerCase()];
    if (language === undefined) throw invalid(`${path} is no user function: name a file that ends in .py or .js.`);
    const code = await readFile(resolve(cwd, path), "utf8").catch((error: NodeJS.ErrnoException) => {
      throw invalid(`${path} cannot be read (${error.code}): check the path behind --map ${name}=.`, error);
    });
    mapped.set(name, { fileName: basename(path), language, code: code.replace(/^\uFEFF/, "") });
  }
  return mapped;
}

function readDatasets(given: readonly string[], files: readonly string[]): GivenDataset[] {
  const read = given.map((text): GivenDataset => {
    const [file, dataset] = sides("--dataset", text, "--dataset sales.csv=sales");
    if (parseDatasetReference(dataset, "any") === undefined)
      throw invalid(
        `${JSON.stringify(dataset.slice(0, 140))} names no dataset: write NAME, NAME@VERSION or PROJECT/NAME@VERSION.`,
      );
    if (!files.some((path) => meansPath(file, path)))
      throw invalid(
        `The workflow reads no file ${JSON.stringify(file.slice(0, 140))}${didYouMean(file, files)} It reads ${listNames(files)}.`,
      );
    return { file, dataset };
  });
  const repeated = read.find(({ file }, i) => read.findIndex((one) => one.file === file) < i);
  if (repeated) throw invalid(`--dataset names ${repeated.file} twice: give one dataset for it.`);
  return read;
}

async function writeWorkflow(path: string, { plan }: Import, { cwd }: Terminal): Promise<void> {
  await writeFile(resolve(cwd, path), workflowText(plan)).catch((error: NodeJS.ErrnoException) => {
    throw invalid(`${path} cannot be written (${error.code}): name another file.`, error);
  });
}

/** What the server's compiler says of the imported plan. */
async function compile({ plan }: Import, options: Options, terminal: Terminal) {
  const reply = await withApi(options, terminal, (api) =>
    api.call(
      api.compiler,
      "compile",
      CompileRequest.create({
        projectId: api.connection.project(),
        source: { $case: "plan", value: LogicalPlan.fromJSON(plan) },
      }),
    ),
  );
  return { ok: reply.plan !== undefined, diagnostics: reply.diagnostics.map(diagnosticFromWire) };
}
