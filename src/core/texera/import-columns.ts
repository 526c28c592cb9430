// Operators that choose, change and summarise columns, and put rows in order.
import type { Json } from "../plan.js";
import {
  becomes,
  type Fragment,
  type ImportedOperator,
  type ImportRule,
  type Refusal,
  refused,
  settings,
} from "./import-rule.js";

const COUNTS_ARE_LONG = "A count is a long here and an integer there; a sum of integers is a long, too.";
const EMPTY_SUMS =
  "The sum of no values is null; in Texera it is 0. The same holds for min and max, which give the largest and least number there.";
const TIES =
  "Rows that are equal in these columns are put in the order of the others; in Texera their order is left to chance.";
const SORTED_WHOLE = "All rows are sorted together; Texera sorts each worker's share.";
const CONCATENATED =
  "Texts are put together in their order and nulls are left out; Texera takes them as they come, a null as an empty text.";
const ROUNDED = "A fraction is rounded to a whole number; Texera cuts it off.";
const PLAIN_NUMBERS = "A text such as 1,234 is no number here; Texera reads its commas.";
const LOCAL_DATES = "Texts are read as dates in ISO 8601 only; Texera guesses many other forms.";

function projection({ properties }: ImportedOperator): Fragment | Refusal {
  const attributes = properties.list("attributes").map((attribute) => ({
    name: attribute.text("originalAttribute"),
    as: attribute.optionalText("alias").trim() === "" ? undefined : attribute.optionalText("alias"),
  }));
  if (attributes.length === 0) return refused("It chooses no column; choose one in Texera, or remove the operator.");
  if (properties.flag("isDrop", false)) return becomes("project", { drop: attributes.map(({ name }) => name) });
  return becomes("project", { columns: attributes.map(settings) });
}

const FUNCTIONS = { sum: "sum", count: "count", average: "avg", min: "min", max: "max", concat: "concat" } as const;
type FunctionName = keyof typeof FUNCTIONS;

function aggregate({ properties }: ImportedOperator): Fragment {
  const used = new Set<FunctionName>();
  const aggregates = properties.list("aggregations").map((aggregation): Json => {
    const name = aggregation.choice("aggFunction", Object.keys(FUNCTIONS) as FunctionName[]);
    used.add(name);
    const column = name === "count" ? aggregation.optionalColumn("attribute") : aggregation.text("attribute");
    return settings({ function: FUNCTIONS[name], column, as: aggregation.text("result attribute") });
  });
  const differences = [
    ...(used.has("count") || used.has("sum") ? [COUNTS_ARE_LONG] : []),
    ...(used.has("sum") || used.has("min") || used.has("max") ? [EMPTY_SUMS] : []),
    ...(used.has("concat") ? [CONCATENATED] : []),
  ];
  return becomes("aggregate", settings({ groupBy: properties.texts("groupByKeys"), aggregates }), { differences });
}

function sort({ properties }: ImportedOperator): Fragment {
  const by = properties.list("attributes").map((criterion): Json => {
    const column = criterion.text("attribute");
    return criterion.choice("sortPreference", ["ASC", "DESC"]) === "DESC" ? { column, descending: true } : { column };
  });
  return becomes("sort", { by }, { differences: [TIES] });
}

function typeCasting({ properties }: ImportedOperator): Fragment {
  const types = ["string", "integer", "long", "double", "boolean", "timestamp", "binary"] as const;
  const columns = properties.list("typeCastingUnits").map((unit) => ({
    column: unit.text("attribute"),
    to: unit.choice("resultType", types),
  }));
  const has = (...some: string[]) => columns.some(({ to }) => some.includes(to));
  const differences = [
    ...(has("integer", "long") ? [ROUNDED] : []),
    ...(has("integer", "long", "double") ? [PLAIN_NUMBERS] : []),
    ...(has("timestamp") ? [LOCAL_DATES] : []),
  ];
  return becomes("cast", { columns }, { differences });
}

function htmlVisualizer({ properties }: ImportedOperator): Fragment {
  return becomes("project", { columns: [{ name: properties.text("htmlContentAttrName"), as: "html-content" }] });
}

export const COLUMN_RULES: readonly ImportRule[] = [
  {
    types: ["Projection"],
    uses: ["project"],
    summary: "the same, dropping too",
    differences: [],
    apply: projection,
  },
  {
    types: ["TypeCasting"],
    uses: ["cast"],
    summary: "the same",
    differences: [ROUNDED, PLAIN_NUMBERS, LOCAL_DATES],
    apply: typeCasting,
  },
  {
    types: ["Aggregate"],
    uses: ["aggregate"],
    summary: "the same functions",
    differences: [COUNTS_ARE_LONG, EMPTY_SUMS, CONCATENATED],
    apply: aggregate,
  },
  {
    types: ["Sort"],
    uses: ["sort"],
    summary: "the same, nulls last",
    differences: [TIES],
    apply: sort,
  },
  {
    types: ["SortPartitions"],
    uses: ["sort"],
    summary: "a sort of all rows",
    differences: [SORTED_WHOLE],
    apply: ({ properties }) =>
      becomes("sort", { by: [{ column: properties.text("sortAttributeName") }] }, { differences: [SORTED_WHOLE] }),
  },
  {
    types: ["HTMLVisualizer"],
    uses: ["project"],
    summary: "the column with the page, as `html-content`",
    differences: [],
    apply: htmlVisualizer,
  },
];
