import { z } from "zod";
import { foldName, listNames } from "../names.js";
import type { Schema } from "../plan.js";
import { defineOperator, type Finding } from "./operator.js";
import { columnOf, findColumn, isNumeric } from "./settings.js";

/** Puts rows of several inputs together, columns matched by name, in the order of input 0. Equal rows stay. */
export const union = defineOperator({
  type: "union",
  summary: "Puts the rows of several inputs with the same columns together.",
  inputs: 2,
  settings: z.strictObject({
    inputs: z.int().min(2).max(16).default(2).describe("Number of input ports; each takes one link."),
  }),
  describe: ({ inputs: ports }) => ({
    inputs: ports,
    check: ([first, ...others]) => others.flatMap((other, i) => differences(first!, other, i + 1)),
    body: {
      kind: "query",
      sql: (inputs) =>
        inputs
          .map(
            (input, i) => `SELECT ${inputs[0]!.map(({ name }) => columnOf(i, input, name)).join(", ")} FROM input${i}`,
          )
          .join(" UNION ALL "),
    },
  }),
});

function differences(first: Schema, other: Schema, port: number): Finding[] {
  const findings: Finding[] = [];
  const add = (message: string) => findings.push({ property: "", message });
  const missing = first.filter(({ name }) => !findColumn(other, name));
  const names = new Set(first.map(({ name }) => foldName(name)));
  const extra = other.filter(({ name }) => !names.has(foldName(name)));
  const quoted = (columns: Schema) => listNames(columns.map(({ name }) => JSON.stringify(name)));
  if (missing.length > 0)
    add(`Input ${port} lacks columns of input 0: ${quoted(missing)}; make them equal with a project or derive.`);
  if (extra.length > 0)
    add(`Input ${port} has columns that input 0 lacks: ${quoted(extra)}; make them equal with a project.`);
  for (const a of first) {
    const b = findColumn(other, a.name);
    if (b && a.type !== b.type && !(isNumeric(a.type) && isNumeric(b.type)))
      add(
        `Column ${JSON.stringify(a.name)} is ${a.type} in input 0 and ${b.type} in input ${port}; convert one in a derive.`,
      );
  }
  return findings;
}
