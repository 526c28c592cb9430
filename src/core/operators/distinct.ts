import { z } from "zod";
import { defineOperator } from "./operator.js";

/** Drops repeated rows. */
export const distinct = defineOperator({
  type: "distinct",
  summary: "Keeps one of each set of equal rows.",
  inputs: 1,
  settings: z.strictObject({}),
  describe: () => ({
    blocking: true,
    partition: (_, input) => ({ kind: "hash", attributes: input.map(({ name }) => name) }),
    body: { kind: "query", sql: () => "SELECT DISTINCT * FROM input0" },
  }),
});
