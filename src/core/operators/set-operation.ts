// What intersect, difference and symmetric difference share: two inputs with the same columns, matched by name in the
// order of input 0, as sets: equal rows count once, and a null equals a null.
import { z } from "zod";
import type { Schema } from "../plan.js";
import { exampleRows } from "./example-rows.js";
import { differingColumns } from "./matching-columns.js";
import { defineOperator, type OperatorDefinition } from "./operator.js";
import { columnOf } from "./settings.js";

export function setOperation(definition: {
  type: string;
  summary: string;
  /** Names of the example's result, out of a, b, b and c in input 0, and b, c and d in input 1. */
  result: string[];
  /** From the SELECT of each input. */
  sql(first: string, second: string): string;
}): OperatorDefinition {
  const { type, summary, result, sql } = definition;
  return defineOperator({
    type,
    summary,
    group: "combine",
    inputs: 2,
    settings: z.strictObject({}),
    example: {
      properties: {},
      inputs: [
        exampleRows({ name: "string" }, ["a"], ["b"], ["b"], ["c"]),
        exampleRows({ name: "string" }, ["b"], ["c"], ["d"]),
      ],
      outputs: [exampleRows({ name: "string" }, ...result.map((name) => [name]))],
    },
    describe: () => ({
      blocking: true,
      partition: (_, input) => ({ kind: "hash", attributes: input.map(({ name }) => name) }),
      check: ([first, second]) => differingColumns(first!, second!, 1),
      body: { kind: "query", sql: (inputs) => sql(selectOf(inputs, 0), selectOf(inputs, 1)) },
    }),
  });
}

const selectOf = (inputs: readonly Schema[], port: number): string =>
  `SELECT ${inputs[0]!.map(({ name }) => columnOf(port, inputs[port]!, name)).join(", ")} FROM input${port}`;
