import { z } from "zod";
import { defineOperator } from "./operator.js";
import { columnName, listOf, repeatedNames } from "./settings.js";

/** Reads a version of a dataset; the compiler pins it. */
export const scan = defineOperator({
  type: "scan",
  summary: "Reads a dataset.",
  inputs: 0,
  settings: z.strictObject({
    dataset: z
      .string()
      .min(1)
      .max(300)
      .describe('Which dataset: "name" for the newest version, "name@3", or "project/name@3" of another project.'),
    columns: listOf(columnName).optional().describe("The columns to read, in this order; all when absent."),
  }),
  describe: ({ dataset, columns }) => ({
    body: { kind: "scan", reference: dataset, columns },
    findings: repeatedNames(columns ?? [], (i) => `columns.${i}`),
  }),
});
