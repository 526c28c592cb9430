// Python written in Texera: it runs as it is, against the pytexera that our executor brings along.
import { ATTRIBUTE_TYPES, type AttributeType, type Json, type Schema } from "../plan.js";
import {
  becomes,
  type Fragment,
  type ImportedOperator,
  type ImportRule,
  type Refusal,
  refused,
  settings,
} from "./import-rule.js";
import type { ReadProperties } from "./texera-properties.js";

const ONE_WORKER =
  "It had several workers in Texera and runs in one process here: what it keeps between rows is shared by all rows.";

/** What a user function of ours is made from. */
export interface FunctionSettings {
  type: "python-function" | "javascript-function";
  code: string;
  inputs: number;
  outputColumns: Schema;
  retainInputColumns: boolean;
  /** Of two inputs, the one whose columns the result has. */
  retainedInput?: number;
}

export function functionFragment(
  { type, code, inputs, outputColumns, retainInputColumns, retainedInput }: FunctionSettings,
  differences: string[],
): Fragment {
  return becomes(
    type,
    settings({
      code,
      inputs: inputs === 1 ? undefined : inputs,
      outputColumns: outputColumns as unknown as Json,
      retainInputColumns,
      retainedInput: inputs === 2 && retainInputColumns ? retainedInput : undefined,
    }),
    { inputs, differences },
  );
}

function attributeType(properties: ReadProperties, name: string): AttributeType {
  const type = properties.choice(name, ["string", ...ATTRIBUTE_TYPES]);
  return type;
}

/** Columns as Texera lists them. */
const columnsOf = (list: readonly ReadProperties[]): Schema =>
  list.map((column) => ({ name: column.text("attributeName"), type: attributeType(column, "attributeType") }));

/** `retainedInput`: in Texera the one-input and the two-input operator disagree on whose columns are kept. */
const pythonFunction =
  (retainedInput: number) =>
  ({ properties, sources, outputs }: ImportedOperator): Fragment | Refusal => {
    if (sources.length > 2)
      return refused(
        `A user function here has at most 2 input ports and this has ${sources.length}; join or unite some of them before it.`,
      );
    if (outputs > 1)
      return refused(
        `Texera gives rows to the first of its ${outputs} output ports only; remove the others in Texera and export again.`,
      );
    const differences = properties.number("workers", 1) > 1 ? [ONE_WORKER] : [];
    return functionFragment(
      {
        type: "python-function",
        code: properties.text("code"),
        inputs: sources.length,
        outputColumns: columnsOf(properties.list("outputColumns")),
        retainInputColumns: properties.flag("retainInputColumns", false),
        retainedInput,
      },
      differences,
    );
  };

const LAMBDA_HEAD = `from pytexera import *
class ProcessTupleOperator(UDFOperatorV2):
    @overrides
    def process_tuple(self, tuple_: Tuple, port: int) -> Iterator[Optional[TupleLike]]:
`;

/** One column after the other, each from an expression that sees what was set before it. */
function lambdaFunction({ properties }: ImportedOperator): Fragment | Refusal {
  const units = properties.list("lambdaAttributeUnits").map((unit) => {
    const existing = unit.text("attributeName");
    const added = existing.toLowerCase() === "add new column";
    return {
      name: added ? unit.text("newAttributeName") : existing,
      type: attributeType(unit, "attributeType"),
      expression: unit.text("expression"),
    };
  });
  if (units.length === 0) return refused("It sets no column; add one in Texera, or remove the operator.");
  const lines = units.map(({ name, expression }) => `        tuple_[${JSON.stringify(name)}] = ${expression}\n`);
  return functionFragment(
    {
      type: "python-function",
      code: `${LAMBDA_HEAD}${lines.join("")}        yield tuple_\n`,
      inputs: 1,
      outputColumns: units.map(({ name, type }) => ({ name, type })),
      retainInputColumns: true,
    },
    [],
  );
}

const REDUCER_HEAD = `from pytexera import *
class ProcessTableOperator(UDFTableOperator):
    @overrides
    def process_table(self, table: Table, port: int) -> Iterator[Optional[TableLike]]:
`;

function tableReducer({ properties }: ImportedOperator): Fragment | Refusal {
  const units = properties.list("lambdaAttributeUnits").map((unit) => ({
    name: unit.text("attributeName"),
    type: attributeType(unit, "attributeType"),
    expression: unit.text("expression"),
  }));
  if (units.length === 0) return refused("It gives no column; add one in Texera, or remove the operator.");
  const items = units.map(({ name, expression }) => `${JSON.stringify(name)}: ${expression}`);
  return functionFragment(
    {
      type: "python-function",
      code: `${REDUCER_HEAD}        yield {${items.join(", ")}}\n`,
      inputs: 1,
      outputColumns: units.map(({ name, type }) => ({ name, type })),
      retainInputColumns: false,
    },
    [],
  );
}

function pythonSource({ properties }: ImportedOperator): Fragment {
  return functionFragment(
    {
      type: "python-function",
      code: properties.text("code"),
      inputs: 0,
      outputColumns: columnsOf(properties.list("columns")),
      retainInputColumns: false,
    },
    properties.number("workers", 1) > 1 ? [ONE_WORKER] : [],
  );
}

export const USER_FUNCTION_RULES: readonly ImportRule[] = [
  {
    types: ["PythonUDFV2"],
    uses: ["python-function"],
    summary: "its code, unchanged; of two inputs the columns of the first are kept",
    differences: [ONE_WORKER],
    apply: pythonFunction(0),
  },
  {
    types: ["DualInputPortsPythonUDFV2"],
    uses: ["python-function"],
    summary: "its code, unchanged; the columns of the second input are kept",
    differences: [ONE_WORKER],
    apply: pythonFunction(1),
  },
  {
    types: ["PythonUDFSourceV2"],
    uses: ["python-function"],
    summary: "its code, unchanged, as a source",
    differences: [ONE_WORKER],
    apply: pythonSource,
  },
  {
    types: ["PythonLambdaFunction"],
    uses: ["python-function"],
    summary: "the same code as Texera makes of its expressions",
    differences: [],
    apply: lambdaFunction,
  },
  {
    types: ["PythonTableReducer"],
    uses: ["python-function"],
    summary: "the same code as Texera makes of its expressions",
    differences: [],
    apply: tableReducer,
  },
];
