import { quoteName } from "../sql-text.js";
import type { Ordering } from "./operator.js";

/** The ORDER BY clause of an ordering. */
export const orderBy = (ordering: Ordering): string =>
  `ORDER BY ${ordering.map((o) => `input0.${quoteName(o.column)} ${o.descending ? "DESC" : "ASC"} NULLS LAST`).join(", ")}`;
