import { setOperation } from "./set-operation.js";

/** Rows of both inputs. */
export const intersect = setOperation({
  type: "intersect",
  summary: "Keeps the rows that are in both inputs, each once.",
  result: ["b", "c"],
  sql: (first, second) => `${first} INTERSECT ${second}`,
});
