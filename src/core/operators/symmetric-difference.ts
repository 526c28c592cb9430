import { setOperation } from "./set-operation.js";

/** Rows of either input, but not of both. */
export const symmetricDifference = setOperation({
  type: "symmetric-difference",
  summary: "Keeps the rows that are in one input and not in the other, each once.",
  result: ["a", "d"],
  sql: (first, second) => `(${first} EXCEPT ${second}) UNION ALL (${second} EXCEPT ${first})`,
});
