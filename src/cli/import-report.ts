// What became of an imported workflow, for people and for programs.
import type { Diagnostic } from "../core/app-error.js";
import { groupBy } from "../core/group-by.js";
import type { Json, LogicalPlan } from "../core/plan.js";
import type { Import, OperatorAccount } from "../core/texera/import-workflow.js";
import { tableText } from "./output.js";
import type { TableContent } from "./table.js";
import type { Terminal } from "./terminal.js";
import { counted, paintFor, printable } from "./text.js";

/** The plan as a workflow file: what has its usual value is left out. */
export function workflowText({ operators, links }: LogicalPlan): string {
  const document = {
    operators: operators.map(({ id, type, displayName, properties, disabled, viewResult }) => ({
      id,
      type,
      ...(displayName === "" ? {} : { displayName }),
      properties,
      ...(disabled ? { disabled } : {}),
      ...(viewResult ? { viewResult } : {}),
    })),
    links: links.map(({ from, fromPort, to, toPort }) => ({
      from,
      ...(fromPort === 0 ? {} : { fromPort }),
      to,
      ...(toPort === 0 ? {} : { toPort }),
    })),
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

/** The report as one document. */
export function importDocument(
  { plan, operators, findings }: Import,
  more: {
    withWorkflow: boolean;
    datasets: readonly FileDataset[];
    /** Undefined when the server was not asked. */
    compiled: { ok: boolean; diagnostics: readonly Diagnostic[] } | undefined;
  },
): object {
  return {
    ...(more.withWorkflow ? { workflow: JSON.parse(workflowText(plan)) as Json } : {}),
    operators,
    findings,
    datasets: more.datasets,
    ...(more.compiled === undefined ? {} : { compiled: more.compiled }),
  };
}

export interface ImportFacts {
  file: string;
  /** Whether the workflow was written at all. */
  written: boolean;
  /** Undefined: to standard output. */
  output: string | undefined;
  datasets: readonly FileDataset[];
}

/** The dataset that stands for a file of the workflow, and whether somebody said so. */
export interface FileDataset {
  path: string;
  dataset: string;
  given: boolean;
}

/** The report on standard error, where it disturbs no file. */
export function printImport(
  { operators, findings }: Import,
  { file, written, output, datasets }: ImportFacts,
  terminal: Terminal,
): void {
  const { err, env } = terminal;
  const paint = paintFor(err, env);
  const line = (text = "") => void err.write(`${text}\n`);
  const section = (title: string, items: readonly string[]) => {
    if (items.length === 0) return;
    line();
    line(paint("bold", title));
    for (const item of items) line(`  ${printable(item)}`);
  };
  line(tableText(err, terminal, accountTable(operators)));
  const refused = operators.filter(({ outcome }) => outcome === "refused");
  section(
    "Cannot be imported",
    [...groupBy(refused, ({ texeraType, problem }) => `${texeraType}: ${problem}`)].map(([what, some]) =>
      some.length === 1 ? `${labelOf(some[0]!)}, ${what}` : `${counted(some.length, "operator")}, ${what}`,
    ),
  );
  section("Cannot run as it is drawn", findings);
  const told = operators.flatMap((account) => account.differences.map((sentence) => ({ sentence, account })));
  section(
    "What is different here",
    [...groupBy(told, ({ sentence }) => sentence)].map(
      ([sentence, some]) => `${sentence} (${labels(some.map(({ account }) => account))})`,
    ),
  );
  line();
  const imported = operators.filter(({ outcome }) => outcome === "imported").length;
  const sum = `${imported} of ${counted(operators.length, "operator")} imported from ${printable(file)}`;
  if (!written) {
    line(`${sum}; nothing is written. Settle what is named above, or give --force to have it disabled.`);
    return;
  }
  line(output === undefined ? `${sum}.` : `${sum} to ${printable(output)}.`);
  for (const { path, dataset } of datasets.filter(({ given }) => !given))
    line(
      `Store ${printable(path)} first: postern dataset put ${dataset} FILE, or name another dataset with --dataset.`,
    );
  if (refused.length === 0 && findings.length === 0 && output !== undefined)
    line(`Run it: postern run ${printable(output)}`);
}

const accountTable = (operators: readonly OperatorAccount[]): TableContent => ({
  head: ["OPERATOR", "TYPE IN TEXERA", "BECOMES", "ID"],
  rows: operators.map((account) => [
    labelOf(account),
    account.texeraType,
    account.outcome === "imported" ? account.types.join(" + ") : account.outcome,
    account.id,
  ]),
});

const labelOf = ({ name, texeraId }: OperatorAccount): string => (name === "" ? texeraId : name);

/** Names of operators, each once with how often it occurs. */
const labels = (some: readonly OperatorAccount[]): string =>
  [...groupBy(some, labelOf)].map(([label, { length }]) => (length > 1 ? `${length} × ${label}` : label)).join(", ");
