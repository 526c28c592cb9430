// Which operator types give exactly one row for each row they read. A plan that runs carries types, not definitions, so
// an executor reads this list instead of the catalogue and all it needs; a test holds the two together.

/** Types whose definitions say `preservesRows`. */
export const ROW_PRESERVING_TYPES: ReadonlySet<string> = new Set([
  "derive",
  "project",
  "cast",
  "fill-nulls",
  "date-parts",
  "regex-extract",
  "sort",
  "window",
]);
