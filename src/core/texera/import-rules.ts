// Every operator type of Texera that is known here, by family.
import { CHART_RULES } from "./import-charts.js";
import { COLUMN_RULES } from "./import-columns.js";
import { JOIN_RULES } from "./import-joins.js";
import { REFUSED_RULES } from "./import-refused.js";
import { ROW_RULES } from "./import-rows.js";
import type { ImportRule } from "./import-rule.js";
import { SCAN_RULES } from "./import-scans.js";
import { USER_FUNCTION_RULES } from "./import-user-functions.js";

/** In the order of docs/texera.md. */
export const IMPORT_FAMILIES: readonly { title: string; rules: readonly ImportRule[] }[] = [
  { title: "Sources", rules: SCAN_RULES },
  { title: "Rows", rules: ROW_RULES },
  { title: "Columns and order", rules: COLUMN_RULES },
  { title: "Joins and sets", rules: JOIN_RULES },
  { title: "User functions", rules: USER_FUNCTION_RULES },
  { title: "Charts", rules: CHART_RULES },
  { title: "Never imported", rules: REFUSED_RULES },
];

export const IMPORT_RULES: readonly ImportRule[] = IMPORT_FAMILIES.flatMap(({ rules }) => rules);
