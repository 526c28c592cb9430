// The functions an author's SELECT may call beside those of expressions: over rows and windows, and those that make rows.
import { AGGREGATE_FUNCTIONS, CHANCE_FUNCTIONS, PURE_FUNCTIONS } from "./expression-functions.js";

const words = (text: string): ReadonlySet<string> => new Set(text.trim().split(/\s+/));

/** Over many rows: those that expressions know of, to refuse them in words of their own, and the rarer ones. */
export const STATEMENT_AGGREGATES: ReadonlySet<string> = new Set([
  ...AGGREGATE_FUNCTIONS,
  ...words(`
  argmax argmin arg_max_null arg_min_null arg_max_nulls_last arg_min_nulls_last approx_top_k bitstring_agg corr covar_pop
  covar_samp entropy favg fill fsum geomean geometric_mean group_concat grouping grouping_id histogram histogram_exact
  histogram_values kahan_sum kurtosis kurtosis_pop list mad product quantile regr_avgx regr_avgy regr_count
  regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy sem skewness sumkahan sum_no_overflow stddev
  json_group_array json_group_object weighted_avg wavg
`),
]);

/** Their result depends on the order in which rows come, which nothing promises unless they are given one. */
export const ORDERED_FUNCTIONS = words(`
  any_value arbitrary array_agg first fill group_concat json_group_array json_group_object lag last lead list listagg
  ntile nth_value row_number first_value last_value string_agg cume_dist
`);

/** Aggregates that are estimated from what a thread happened to see. */
export const CHANCE_AGGREGATES = words("reservoir_quantile approx_quantile approx_top_k");

/** What may stand in FROM beside tables. */
export const TABLE_FUNCTIONS = words("unnest range generate_series");

/** Everything that may be called in a SELECT. */
export const isStatementFunction = (name: string): boolean =>
  PURE_FUNCTIONS.has(name) ||
  CHANCE_FUNCTIONS.has(name) ||
  STATEMENT_AGGREGATES.has(name) ||
  CHANCE_AGGREGATES.has(name) ||
  name === "unnest";

export const statementFunctions = (): string[] => [
  ...PURE_FUNCTIONS,
  ...CHANCE_FUNCTIONS,
  ...STATEMENT_AGGREGATES,
  ...CHANCE_AGGREGATES,
  "unnest",
];
