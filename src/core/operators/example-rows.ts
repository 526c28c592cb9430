import type { AttributeType, Json } from "../plan.js";
import type { ExampleRows } from "./operator.js";

/** Rows of an example: columns with their types in order, then the rows. */
export const exampleRows = (columns: Record<string, AttributeType>, ...rows: Json[][]): ExampleRows => ({
  schema: Object.entries(columns).map(([name, type]) => ({ name, type })),
  rows,
});
