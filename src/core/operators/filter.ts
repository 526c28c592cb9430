import { z } from "zod";
import { defineOperator } from "./operator.js";
import { embedded, expression } from "./settings.js";

/** Keeps some rows. */
export const filter = defineOperator({
  type: "filter",
  summary: "Keeps the rows for which a predicate is true.",
  inputs: 1,
  settings: z.strictObject({ predicate: expression }),
  describe: ({ predicate }) => ({
    expressions: [{ path: "predicate", sql: predicate, expect: "boolean" }],
    ordering: ([ordering]) => ordering,
    body: { kind: "query", sql: () => `SELECT * FROM input0 WHERE ${embedded(predicate)}` },
  }),
});
