import { z } from "zod";
import { foldName } from "../names.js";
import { ATTRIBUTE_TYPES, type Language, type Schema } from "../plan.js";
import { chanceInCode } from "./code-chance.js";
import { defineOperator } from "./operator.js";
import { columnName, repeatedNames } from "./settings.js";

const settings = z
  .strictObject({
    code: z
      .string()
      .min(1)
      .max(1_000_000)
      .refine((text) => !text.includes("\0"), "The code holds the character U+0000; remove it.")
      .describe("The source text."),
    outputColumns: z
      .array(z.strictObject({ name: columnName, type: z.enum(ATTRIBUTE_TYPES) }))
      .max(1_000)
      .default([])
      .describe("Columns the function adds, or whose type it changes."),
    retainInputColumns: z
      .boolean()
      .default(true)
      .describe("Whether each output row starts as a copy of its input row."),
    environment: z
      .record(z.string(), z.string())
      .default({})
      .describe(
        "What else the result depends on, such as package versions; a change here is a change of the function.",
      ),
    deterministic: z
      .boolean()
      .optional()
      .describe(
        "False when the same rows may give different results; such results are never reused. When absent, the code is taken to be so if it names chance or the clock.",
      ),
  })
  .refine(({ retainInputColumns, outputColumns }) => retainInputColumns || outputColumns.length > 0, {
    path: ["outputColumns"],
    message: '"outputColumns" must not be empty when "retainInputColumns" is false: the result would have no column.',
  });

function userFunction(type: string, language: Language, entryPoint: string, summary: string) {
  return defineOperator({
    type,
    summary,
    inputs: 1,
    settings,
    describe: ({ code, outputColumns, retainInputColumns, environment, deterministic }) => ({
      nondeterminism: () => chanceOf(code, language, deterministic),
      findings: [
        ...repeatedNames(
          outputColumns.map(({ name }) => name),
          (i) => `outputColumns.${i}.name`,
        ),
        // The code is never run here; a function of that name cannot exist unless the name occurs.
        ...(code.includes(entryPoint)
          ? []
          : [{ property: "code", message: `The code defines no function ${entryPoint}; it is called once per row.` }]),
      ],
      body: {
        kind: "user-function",
        userFunction: { language, code, entryPoint, retainInputColumns, environment },
        outputSchema: (input) => (retainInputColumns ? merged(input, outputColumns) : outputColumns),
      },
    }),
  });
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

/** Calls Python once per row. */
export const pythonFunction = userFunction(
  "python-function",
  "python",
  "process_tuple",
  "Calls process_tuple(tuple_) once per row, in a Python process of its own.",
);

/** Calls JavaScript once per row. */
export const javascriptFunction = userFunction(
  "javascript-function",
  "javascript",
  "processTuple",
  "Calls processTuple(tuple) once per row, in a JavaScript process of its own.",
);
