// The functions that make one value of many rows, as aggregate and pivot offer them. All pass over nulls but count
// without a column, first and last; all but count give null when there is no value.
//
// Sums and averages of doubles, and deviations, are rounded in the order the rows come in, so their last digits may differ from
// run to run; `exact` of sum and avg adds in the order of size instead, which sorts.
import type { Attribute, Schema } from "../plan.js";
import { quoteText } from "../scan-sql.js";
import { quoteName } from "../sql-text.js";
import { columnOf, isNumeric } from "./settings.js";
import { orderBy, type SortColumn, spelt } from "./total-order.js";

export const SIMPLE_FUNCTIONS = ["count", "sum", "avg", "min", "max", "count_distinct"] as const;
export const FURTHER_FUNCTIONS = ["median", "percentile", "stddev", "variance", "concat", "first", "last"] as const;
export type AggregateFunction = (typeof SIMPLE_FUNCTIONS)[number] | (typeof FURTHER_FUNCTIONS)[number];

export interface AggregateCall {
  function: AggregateFunction;
  /** Undefined: count rows. */
  column?: string | undefined;
  percent?: number | undefined;
  separator?: string | undefined;
  orderBy?: readonly SortColumn[] | undefined;
  exact?: boolean | undefined;
}

const OF_NUMBERS = new Set<AggregateFunction>(["sum", "avg", "stddev", "variance"]);
const OF_SIZES = new Set<AggregateFunction>(["median", "percentile"]);

/** Why a function cannot be computed over a column; undefined when it can. */
export function misfit(name: AggregateFunction, column: Attribute): string | undefined {
  const { type } = column;
  const refuse = (wanted: string) =>
    `${name} needs ${wanted} and ${quoteName(column.name)} is ${type}; convert it with a cast first.`;
  if (OF_NUMBERS.has(name) && !isNumeric(type)) return refuse("numbers");
  if (OF_SIZES.has(name) && !isNumeric(type) && type !== "timestamp") return refuse("numbers or timestamps");
  if (name === "concat" && type === "binary") return refuse("texts");
  return undefined;
}

/** The call as SQL. */
export function callOf(call: AggregateCall, input: Schema): string {
  if (call.column === undefined) return "count(*)";
  const of = columnOf(0, input, call.column);
  switch (call.function) {
    case "count_distinct":
      return `count(DISTINCT ${of})`;
    case "sum":
    case "avg":
      return call.exact ? `${call.function}(${of} ORDER BY ${of})` : `${call.function}(${of})`;
    case "percentile":
      return `quantile_cont(${of}, ${(call.percent ?? 50) / 100})`;
    case "concat":
      return `string_agg(CAST(${of} AS VARCHAR), ${quoteText(call.separator ?? ",")} ${orderOf(call, input, of)})`;
    case "first":
    case "last":
      return `${call.function}(${of} ${orderOf(call, input, of)})`;
    default:
      return `${call.function}(${of})`;
  }
}

/** Rows equal in the columns named come in the order of the value itself, so the result is always the same. */
function orderOf({ orderBy: by = [] }: AggregateCall, input: Schema, value: string): string {
  const last = `${value} ASC NULLS LAST`;
  return by.length === 0 ? `ORDER BY ${last}` : `${orderBy(spelt(by, input))}, ${last}`;
}
