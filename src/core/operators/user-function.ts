// User code as an operator: what its settings say about calls, ports and columns. docs/user-functions.md is for authors.
import { z } from "zod";
import { foldName } from "../names.js";
import { ATTRIBUTE_TYPES, FUNCTION_CALLS, type Language, type Schema } from "../plan.js";
import { chanceInCode } from "./code-chance.js";
import { type FunctionForm, formOf, noForm } from "./function-form.js";
import { defineOperator, type Finding, type OperatorExample } from "./operator.js";
import { columnName, repeatedNames } from "./settings.js";

const MOST_OUTPUTS = 16;

const columns = z
  .array(z.strictObject({ name: columnName, type: z.enum(ATTRIBUTE_TYPES).describe("Type of the column.") }))
  .max(1_000)
  .default([]);
const retain = z.boolean().default(true);

const settings = z.strictObject({
  code: z
    .string()
    .min(1)
    .max(1_000_000)
    .refine((text) => !text.includes("\0"), "The code holds the character U+0000; remove it.")
    .describe("The source text."),
  call: z
    .enum(FUNCTION_CALLS)
    .optional()
    .describe(
      "How the function is called: once per row (tuple), per batch of rows, per input with all its rows (table), or once to make rows (source). When absent, the name of what the code defines tells.",
    ),
  inputs: z
    .int()
    .min(0)
    .max(2)
    .optional()
    .describe("Number of input ports; 1 when absent, and none for a source. Of two, port 0 is read to its end first."),
  outputColumns: columns.describe("Columns the function adds, or whose type it changes."),
  retainInputColumns: retain.describe(
    "Whether the result has the input's columns too; called per row, each output row then starts as a copy of its input row.",
  ),
  retainedInput: z
    .int()
    .min(0)
    .max(1)
    .optional()
    .describe("Of two inputs, the port whose columns the result has; the last when absent."),
  outputs: z
    .array(
      z.strictObject({
        name: z.string().max(255).optional().describe("What the port is for, for people."),
        columns: columns.describe('As "outputColumns", of this port.'),
        retainInputColumns: retain.describe("Of this port."),
      }),
    )
    .min(1)
    .max(MOST_OUTPUTS)
    .optional()
    .describe(
      'The output ports, when there are several; instead of "outputColumns" and "retainInputColumns". Rows go to port 0 unless the function says otherwise with to_output(port, row) or toOutput(port, row).',
    ),
  environment: z
    .record(z.string(), z.string())
    .default({})
    .describe("What else the result depends on, such as package versions; a change here is a change of the function."),
  deterministic: z
    .boolean()
    .optional()
    .describe(
      "False when the same rows may give different results; such results are never reused. When absent, the code is taken to be so if it names chance or the clock.",
    ),
});
type Settings = z.output<typeof settings>;

/** One output port as its author describes it. */
interface Output {
  /** Path of its settings, with a dot at the end; empty for the only one. */
  path: string;
  columns: Schema;
  columnsPath: string;
  retainInputColumns: boolean;
}

function outputsOf({ outputs, outputColumns, retainInputColumns }: Settings): Output[] {
  if (outputs === undefined)
    return [{ path: "", columns: outputColumns, columnsPath: "outputColumns", retainInputColumns }];
  return outputs.map((output, i) => ({ ...output, path: `outputs.${i}.`, columnsPath: `outputs.${i}.columns` }));
}

function userFunction(type: string, language: Language, summary: string, example: OperatorExample) {
  return defineOperator({
    type,
    summary,
    group: "code",
    inputs: 'none for a source; else 1, or 2 as "inputs" says',
    outputs: '1, or as many as "outputs" lists',
    settings,
    example,
    describe: (read) => {
      const { code, call, environment, deterministic } = read;
      const form = formOf(code, language, call);
      const inputs = read.inputs ?? (form?.call === "source" ? 0 : 1);
      const outputs = outputsOf(read);
      const retained = read.retainedInput ?? inputs - 1;
      return {
        inputs,
        outputs: outputs.length,
        dependsOn: (port) => (port === 1 ? [0] : []),
        nondeterminism: () => chanceOf(code, language, deterministic),
        findings: findingsOf(read, { language, form, inputs, outputs }),
        body: {
          kind: "user-function",
          userFunction: {
            language,
            code,
            environment,
            call: "tuple",
            entryPoint: "",
            ...form,
            retainInputColumns: form?.call === "tuple" && outputs.some(({ retainInputColumns }) => retainInputColumns),
          },
          outputSchemas: (schemas) =>
            outputs.map((output) =>
              output.retainInputColumns ? merged(schemas[retained] ?? [], output.columns) : output.columns,
            ),
        },
      };
    },
  });
}

function findingsOf(
  { call, inputs: given, outputs: listed, outputColumns, retainedInput }: Settings,
  found: { language: Language; form: FunctionForm | undefined; inputs: number; outputs: Output[] },
): Finding[] {
  const { language, form, inputs, outputs } = found;
  const findings: Finding[] = [];
  if (form === undefined) findings.push({ property: "code", message: noForm(language, call) });
  if (form?.call === "source" && inputs > 0)
    findings.push({ property: "inputs", message: `A source has no input; leave "inputs" out, or set it to 0.` });
  if (form !== undefined && form.call !== "source" && inputs === 0)
    findings.push({
      property: "inputs",
      message: `${form.entryPoint} is given rows, so it needs an input; set "inputs" to ${given === 0 ? "1 or 2" : "1"}.`,
    });
  if (retainedInput !== undefined && retainedInput >= inputs)
    findings.push({ property: "retainedInput", message: `There is no input port ${retainedInput}; leave it out.` });
  if (listed !== undefined && outputColumns.length > 0)
    findings.push({
      property: "outputColumns",
      message: `With "outputs", columns are listed there; leave "outputColumns" out.`,
    });
  for (const { columns, columnsPath, retainInputColumns } of outputs) {
    const names = columns.map(({ name }) => name);
    findings.push(...repeatedNames(names, (i) => `${columnsPath}.${i}.name`));
    if (columns.length === 0 && (inputs === 0 || !retainInputColumns))
      findings.push({
        property: columnsPath,
        message:
          inputs === 0
            ? `"${columnsPath}" must not be empty for a source: the result would have no column.`
            : `"${columnsPath}" must not be empty when "retainInputColumns" is false: the result would have no column.`,
      });
  }
  return findings;
}

/** What the author says counts; when nothing is said, the code is looked at. */
function chanceOf(code: string, language: Language, deterministic: boolean | undefined): string | undefined {
  if (deterministic === true) return undefined;
  if (deterministic === false) return "Its author says its result is not determined by its input.";
  const words = chanceInCode(code, language);
  if (words === undefined) return undefined;
  return `Its code holds ${JSON.stringify(words)}, which differs from run to run; set "deterministic" to true if the result does not depend on it.`;
}

/** The input's columns with the function's over them, as its result is merged over the input row. */
function merged(input: Schema, output: Schema): Schema {
  const types = new Map(output.map((column) => [foldName(column.name), column.type]));
  const existing = new Set(input.map(({ name }) => foldName(name)));
  return [
    ...input.map(({ name, type }) => ({ name, type: types.get(foldName(name)) ?? type })),
    ...output.filter(({ name }) => !existing.has(foldName(name))),
  ];
}

const FLIGHTS: Schema = [
  { name: "flight", type: "string" },
  { name: "delay", type: "integer" },
];

/** The same function in both languages. */
const example = (code: string): OperatorExample => ({
  properties: { code, outputColumns: [{ name: "late", type: "boolean" }] },
  inputs: [
    {
      schema: FLIGHTS,
      rows: [
        ["AA1", 5],
        ["BA2", 40],
      ],
    },
  ],
  outputs: [
    {
      schema: [...FLIGHTS, { name: "late", type: "boolean" }],
      rows: [
        ["AA1", 5, false],
        ["BA2", 40, true],
      ],
    },
  ],
});

/** Calls Python code. */
export const pythonFunction = userFunction(
  "python-function",
  "python",
  "Calls a Python function per row, per batch or per table, or to make rows, in a process of its own.",
  example('def process_tuple(tuple_):\n    return {"late": tuple_["delay"] > 15}\n'),
);

/** Calls JavaScript code. */
export const javascriptFunction = userFunction(
  "javascript-function",
  "javascript",
  "Calls a JavaScript function per row, per batch or per table, or to make rows, in a process of its own.",
  example("function processTuple(tuple) {\n  return { late: tuple.delay > 15 };\n}\n"),
);
