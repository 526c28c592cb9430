// docs/operators.md: every operator with its settings and its example, as their definitions have them.
import { z } from "zod";
import {
  type ExampleRows,
  OPERATOR_GROUPS,
  type OperatorDefinition,
  type OperatorGroup,
} from "../core/operators/operator.js";
import { type SettingSchema, settingLines } from "../core/operators/setting-lines.js";
import type { Json } from "../core/plan.js";

const TITLES: Record<OperatorGroup, string> = {
  read: "Reading",
  rows: "Choosing rows",
  columns: "Columns",
  combine: "Combining inputs",
  group: "Groups",
  order: "Order",
  code: "Code of your own",
  show: "Showing",
};

const HEAD = `# Operators

<!-- Made from src/core/operators by \`make operators\`; change the definitions, not this file. -->

Every operator, its settings and an example that the tests run. [workflows.md](workflows.md) tells how operators make a
workflow, and what expressions are; \`postern operators TYPE\` prints the same for the server you use.

Settings within settings are written with a dot, and \`[]\` stands for each entry of a list: \`by[].column\`. A setting
without a default may be left out unless it is required; one that does not exist is an error. Timestamps in examples are
UTC, binary is hexadecimal. Where an operator gives no order, its rows come in any.

The result of an operator is the same in every run and on any number of threads, unless it says otherwise; only sums
and averages of \`double\` columns, and deviations, may differ in their last digits, because they are rounded in the order
in which rows are added.
`;

/** The whole page. */
export function operatorsPage(definitions: readonly OperatorDefinition[]): string {
  const groups = OPERATOR_GROUPS.map((group) => ({ group, members: definitions.filter((one) => one.group === group) }));
  const filled = groups.filter(({ members }) => members.length > 0);
  const contents = filled.map(
    ({ group, members }) => `* ${TITLES[group]}: ${members.map(({ type }) => `[${type}](#${type})`).join(", ")}`,
  );
  const sections = filled.map(
    ({ group, members }) => `## ${TITLES[group]}\n\n${members.map(operatorSection).join("\n")}`,
  );
  return [HEAD, `${contents.join("\n")}\n`, ...sections].join("\n");
}

function operatorSection({ type, summary, inputs, outputs, settings, example }: OperatorDefinition): string {
  const ports = `${portsText(inputs, "input")}; ${portsText(outputs, "output")}.`;
  const parts = [`### ${type}`, summary, `${ports[0]!.toUpperCase()}${ports.slice(1)}`];
  const lines = settingLines(z.toJSONSchema(settings, { io: "input" }) as SettingSchema);
  if (lines.length > 0)
    parts.push(
      markdownTable(
        ["setting", "what it is", "default", "meaning"],
        lines.map((line) => [
          `\`${line.path}\``,
          line.kind.replaceAll(/"[^"]*"/g, "`$&`"),
          line.byDefault === "" || line.byDefault === "required" ? line.byDefault : `\`${line.byDefault}\``,
          line.description,
        ]),
      ),
    );
  else parts.push("It has no settings.");
  parts.push(`\`\`\`json\n${jsonText({ type, properties: example.properties })}\n\`\`\``);
  for (const [i, rows] of example.inputs.entries()) parts.push(rowsText(`Input ${i}`, rows));
  for (const [i, rows] of example.outputs.entries()) parts.push(rowsText(`Output ${i}`, rows));
  return `${parts.join("\n\n")}\n`;
}

function portsText(ports: number | string, noun: string): string {
  if (typeof ports === "string") return `${noun}s: ${ports}`;
  return ports === 0 ? `no ${noun}` : `${ports} ${noun}${ports === 1 ? "" : "s"}`;
}

function rowsText(title: string, { schema, rows }: ExampleRows): string {
  const head = schema.map(({ name, type }) => `${name} (${type})`);
  if (schema.length === 0) return `${title}: no columns.`;
  const cells = rows.map((row) => row.map((value, i) => cellText(value, schema[i]?.type === "any")));
  return `${title}${rows.length === 0 ? ", no rows" : ""}:\n\n${markdownTable(head, cells)}`;
}

/** A null is shown as nothing else is. */
function cellText(value: Json, isJson: boolean): string {
  if (value === null) return "*null*";
  if (isJson) return `\`${JSON.stringify(value)}\``;
  return value === "" ? "*empty*" : String(value);
}

function markdownTable(head: readonly string[], rows: readonly string[][]): string {
  const cell = (text: string) => text.replaceAll("\\", "\\\\").replaceAll("|", "\\|").replaceAll("\n", "<br>");
  const line = (cells: readonly string[]) => `| ${cells.map(cell).join(" | ")} |`;
  return [line(head), `|${head.map(() => "---").join("|")}|`, ...rows.map(line)].join("\n");
}

const WIDTH = 100;

/** JSON with what fits on one line on one line. */
function jsonText(value: Json, indent = ""): string {
  const flat = inline(value);
  if (typeof value !== "object" || value === null || indent.length + flat.length <= WIDTH) return flat;
  const inner = `${indent}  `;
  if (Array.isArray(value)) return `[\n${value.map((one) => inner + jsonText(one, inner)).join(",\n")}\n${indent}]`;
  const members = Object.entries(value).map(([key, one]) => `${inner}${JSON.stringify(key)}: ${jsonText(one, inner)}`);
  return `{\n${members.join(",\n")}\n${indent}}`;
}

function inline(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(inline).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const members = Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${inline(one)}`);
  return members.length === 0 ? "{}" : `{ ${members.join(", ")} }`;
}
