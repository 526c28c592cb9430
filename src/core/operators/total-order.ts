// Orders that leave nothing to chance: rows equal in the columns named are told apart by all others, so that only equal
// rows may change places.
import { z } from "zod";
import { foldName } from "../names.js";
import type { Schema } from "../plan.js";
import { quoteName } from "../sql-text.js";
import type { Ordering } from "./operator.js";
import { columnName, findColumn, listOf, repeatedNames } from "./settings.js";

/** One column to sort by. */
export const sortColumn = z.strictObject({
  column: columnName,
  descending: z.boolean().default(false).describe("Largest first; nulls come last all the same."),
});
export type SortColumn = z.output<typeof sortColumn>;

/** Columns to sort by, the first one before the others. */
export const sortColumns = listOf(sortColumn);

/** The columns named, then all others. */
export function totalOrder(by: readonly SortColumn[], input: Schema): Ordering {
  const named = new Set(by.map(({ column }) => foldName(column)));
  const rest = input.filter(({ name }) => !named.has(foldName(name)));
  return [...spelt(by, input), ...rest.map(({ name }) => ({ column: name, descending: false }))];
}

/** The columns named, as the input spells them. */
export const spelt = (by: readonly SortColumn[], input: Schema): Ordering =>
  by.map(({ column, descending }) => ({ column: findColumn(input, column)?.name ?? column, descending }));

/** The order of rows whose columns got other values or more columns; undefined when one it goes by was changed. */
export function orderBeside(changed: readonly string[], ordering: Ordering | undefined): Ordering | undefined {
  const names = new Set(changed.map(foldName));
  return ordering?.some(({ column }) => names.has(foldName(column))) ? undefined : ordering;
}

/**
 * The order of rows whose columns were dropped or renamed; `nameOf` gives undefined for one that was dropped. Without a
 * column in the middle, those behind it do not order the rows any more.
 */
export function orderAmong(
  nameOf: (column: string) => string | undefined,
  ordering: Ordering | undefined,
): Ordering | undefined {
  const columns = (ordering ?? []).map((one) => ({ ...one, name: nameOf(one.column) }));
  const gap = columns.findIndex(({ name }) => name === undefined);
  const [kept, rest] = gap < 0 ? [columns, []] : [columns.slice(0, gap), columns.slice(gap)];
  if (kept.length === 0 || rest.some(({ name }) => name !== undefined)) return undefined;
  return kept.map(({ name, descending }) => ({ column: name!, descending }));
}

/** `ORDER BY` and the columns of an ordering, nulls last. */
export const orderBy = (ordering: Ordering): string =>
  `ORDER BY ${ordering.map((o) => `input0.${quoteName(o.column)} ${o.descending ? "DESC" : "ASC"} NULLS LAST`).join(", ")}`;

/** What a definition says about a setting of such columns: which columns it names, and which one twice. */
export const namedSortColumns = (by: readonly SortColumn[], path: string) => ({
  columns: by.map(({ column }, i) => ({ path: `${path}.${i}.column`, input: 0, column })),
  findings: repeatedNames(
    by.map(({ column }) => column),
    (i) => `${path}.${i}.column`,
  ),
});
