import { z } from "zod";
import { MALFORMED_ROWS } from "../plan.js";
import { defineOperator } from "./operator.js";
import { columnName, listOf, repeatedNames } from "./settings.js";

/** Reads a version of a dataset; the compiler pins it. */
export const scan = defineOperator({
  type: "scan",
  summary: "Reads a dataset.",
  group: "read",
  inputs: 0,
  settings: z.strictObject({
    dataset: z
      .string()
      .min(1)
      .max(300)
      .describe('Which dataset: "name" for the newest version, "name@3", or "project/name@3" of another project.'),
    columns: listOf(columnName).optional().describe("The columns to read, in this order; all when absent."),
    offset: z.int().min(0).default(0).describe("How many rows of the file are passed over first."),
    limit: z.int().min(0).optional().describe("How many rows are read at most; all when absent."),
    malformedRows: z
      .enum(MALFORMED_ROWS)
      .default("fail")
      .describe(
        "What becomes of rows of a text file that do not fit its columns. fail: the run fails and names the line; skip: they are left out and counted.",
      ),
  }),
  example: {
    properties: { dataset: "airports", columns: ["iata", "city"], offset: 1, limit: 2 },
    inputs: [
      {
        schema: [
          { name: "iata", type: "string" },
          { name: "city", type: "string" },
          { name: "runways", type: "long" },
        ],
        rows: [
          ["SEA", "Seattle", 3],
          ["SFO", "San Francisco", 4],
          ["LAX", "Los Angeles", 4],
          ["JFK", "New York", 4],
        ],
      },
    ],
    outputs: [
      {
        schema: [
          { name: "iata", type: "string" },
          { name: "city", type: "string" },
        ],
        rows: [
          ["SFO", "San Francisco"],
          ["LAX", "Los Angeles"],
        ],
      },
    ],
  },
  describe: ({ dataset, columns, offset, limit, malformedRows }) => ({
    body: {
      kind: "scan",
      reference: dataset,
      columns,
      rows: {
        offset: BigInt(offset),
        limit: limit === undefined ? undefined : BigInt(limit),
        malformedRows,
      },
    },
    findings: repeatedNames(columns ?? [], (i) => `columns.${i}`),
  }),
});
