import { setOperation } from "./set-operation.js";

/** Rows of one input only. */
export const difference = setOperation({
  type: "difference",
  summary: "Keeps the rows of input 0 that are not in input 1, each once.",
  result: ["a"],
  sql: (first, second) => `${first} EXCEPT ${second}`,
});
