import { z } from "zod";
import { exampleRows } from "./example-rows.js";
import { defineOperator } from "./operator.js";
import { withoutNul } from "./settings.js";

/** An author's SELECT. What it may hold the server checks when it compiles (src/server/binding/statement-syntax.ts). */
export const sql = defineOperator({
  type: "sql",
  summary: "Runs one SELECT over its inputs, the tables input0, input1 and so on.",
  group: "code",
  inputs: 'as many as "inputs" says',
  settings: z.strictObject({
    inputs: z.int().min(0).max(16).default(1).describe("Number of input ports; each takes one link."),
    statement: z
      .string()
      .min(1)
      .max(50_000)
      .refine(withoutNul, "The statement holds the character U+0000, which no SQL can; remove it.")
      .transform(withoutEnd)
      .describe(
        "One SELECT (DuckDB) over input0, input1, …; common table expressions, subqueries, unnest, range and generate_series are allowed, files and settings are not. Its rows come in no promised order.",
      ),
  }),
  example: {
    properties: {
      inputs: 2,
      statement:
        "SELECT a.city, count(*) AS flights\nFROM input0 f JOIN input1 a ON f.origin = a.iata\nGROUP BY a.city\nHAVING count(*) > 1",
    },
    inputs: [
      exampleRows({ origin: "string" }, ["SEA"], ["SEA"], ["LAX"]),
      exampleRows({ iata: "string", city: "string" }, ["SEA", "Seattle"], ["LAX", "Los Angeles"]),
    ],
    outputs: [exampleRows({ city: "string", flights: "long" }, ["Seattle", 2])],
  },
  describe: ({ inputs, statement }) => ({
    inputs,
    blocking: true,
    statements: [{ path: "statement", sql: statement }],
    partition: () => ({ kind: "single" }),
    body: { kind: "query", sql: () => `SELECT * FROM (${statement}\n)` },
  }),
});

/** Semicolons at the end mean nothing, and would end the statement this one becomes part of. */
function withoutEnd(text: string): string {
  let statement = text.trimEnd();
  while (statement.endsWith(";")) statement = statement.slice(0, -1).trimEnd();
  return statement;
}
