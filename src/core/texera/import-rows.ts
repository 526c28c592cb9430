// Operators that choose rows: conditions, searches, limits, samples.
import type { Json } from "../plan.js";
import { quoteName } from "../sql-text.js";
import { COMPARISONS, comparison, isPlainNumber, literal, textOf } from "./import-conditions.js";
import {
  becomes,
  type Fragment,
  type ImportedOperator,
  type ImportRule,
  type Refusal,
  refused,
} from "./import-rule.js";
import { keywordCondition } from "./keyword-query.js";

const TEXT_ORDER =
  "A text is compared with a text by its characters, as in Texera; a date must be written as in ISO 8601.";
const OTHER_ROWS =
  "Other rows are chosen than in Texera, whose chance is another; here they are the same in every run.";
const FEW_ROWS = "Of fewer rows than are wanted all are kept; Texera adds empty ones.";
const NULL_MATCHES_NOTHING = "A null matches nothing; Texera fails at one.";
const REGULAR_EXPRESSIONS = "The expression is of RE2 here and of Java there; where RE2 lacks something it is refused.";
const SIMPLER_WORDS =
  "Words are told apart by a simpler rule than Lucene's; the same for letters, digits and what joins them.";
const NO_SLEEP = "It passes its rows on without waiting.";

/** Any of the conditions lets a row pass. */
function filter({ properties }: ImportedOperator): Fragment | Refusal {
  const predicates = properties.list("predicates").map((predicate) => {
    const column = predicate.text("attribute");
    const condition = predicate.choice("condition", COMPARISONS);
    const unary = condition === "is null" || condition === "is not null";
    return { column, condition, value: unary ? "" : predicate.optionalText("value"), unary };
  });
  if (predicates.length === 0)
    return refused("It has no condition, and then no row passes in Texera; add one there, or remove the operator.");
  // Texts that look like numbers are compared as numbers there: only an expression can do that whatever the column is.
  if (predicates.some(({ value }) => isPlainNumber(value))) {
    const alternatives = predicates.map(({ column, condition, value }) => comparison(column, condition, value));
    return becomes("filter", { predicate: alternatives.join(" OR ") });
  }
  const conditions = predicates.map(
    ({ column, condition, value, unary }): Json => (unary ? { column, condition } : { column, condition, value }),
  );
  return becomes("filter", {
    predicates: conditions,
    ...(conditions.length > 1 ? { match: "any" } : {}),
  });
}

const NO_SUCH_PATTERN =
  "Its expression uses what RE2 has not (looking ahead or back, references to groups, possessive parts); write it otherwise in Texera, or map it to a user function.";

/** What Java's expressions have and RE2 has not: looking around, going back, possessive and atomic parts. */
const NOT_IN_RE2 = /\(\?(?:[=!>]|<[=!])|\\[1-9]|\\k<|(?<!\\)[*+?}]\+|\\[GX]|\[[^\]]*&&/;

function regex({ properties }: ImportedOperator): Fragment | Refusal {
  const column = properties.text("attribute");
  const pattern = properties.text("regex");
  if (NOT_IN_RE2.test(pattern)) return refused(NO_SUCH_PATTERN);
  const flags = properties.flag("caseInsensitive", false) ? "'i'" : "'c'";
  return becomes(
    "filter",
    { predicate: `regexp_matches(${textOf(column)}, ${literal(pattern)}, ${flags})` },
    { differences: [NULL_MATCHES_NOTHING] },
  );
}

function substringSearch({ properties }: ImportedOperator): Fragment {
  const column = textOf(properties.text("attribute"));
  const part = literal(properties.text("substring"));
  const predicate = properties.flag("isCaseSensitive", false)
    ? `contains(${column}, ${part})`
    : `contains(lower(${column}), lower(${part}))`;
  return becomes("filter", { predicate });
}

function keywordSearch({ properties }: ImportedOperator): Fragment | Refusal {
  const column = properties.text("attribute");
  const condition = keywordCondition(column, properties.text("keyword"));
  if ("refused" in condition) return condition;
  return becomes("filter", { predicate: condition.sql }, { differences: [SIMPLER_WORDS] });
}

function dictionaryMatcher({ properties }: ImportedOperator): Fragment | Refusal {
  const text = `lower(${textOf(properties.text("Attribute"))})`;
  const entries = properties.text("Dictionary").toLowerCase().split(",");
  const name = properties.text("result attribute");
  const kind = properties.choice("Matching type", ["Scan", "Substring", "Conjunction"]);
  if (kind === "Conjunction")
    return refused(
      "It matches stems of English words, which nothing here knows; choose Scan or Substring in Texera, or map it to a user function.",
    );
  const found =
    kind === "Scan"
      ? `${text} IN (${entries.map(literal).join(", ")})`
      : `(${entries.map((entry) => `contains(${literal(entry)}, ${text})`).join(" OR ")})`;
  return becomes("derive", { columns: [{ name, expression: `coalesce(${text} <> '' AND ${found}, false)` }] });
}

/** A row for each part of a text that is not empty. */
function unnestString({ properties }: ImportedOperator): Fragment | Refusal {
  const pattern = properties.text("Delimiter");
  if (NOT_IN_RE2.test(pattern)) return refused(NO_SUCH_PATTERN);
  const result = quoteName(properties.text("Result attribute"));
  const parts = `regexp_split_to_array(${textOf(properties.text("Attribute"))}, ${literal(pattern)})`;
  const statement = `SELECT * FROM (SELECT *, unnest(${parts}) AS ${result} FROM input0) WHERE ${result} <> ''`;
  return becomes("sql", { statement }, { differences: [NULL_MATCHES_NOTHING] });
}

function sampleOfPercent({ properties }: ImportedOperator): Fragment {
  const percent = properties.count("random k sample percentage");
  return becomes("sample", { fraction: Math.min(percent, 100) / 100 }, { differences: [OTHER_ROWS] });
}

function sampleOfRows({ properties }: ImportedOperator): Fragment {
  const count = properties.count("number of item sampled in reservoir sampling");
  return becomes("sample", { count }, { differences: [OTHER_ROWS, FEW_ROWS] });
}

function split({ properties, outputs }: ImportedOperator): Fragment | Refusal {
  if (outputs !== 2) return refused("It has other than two outputs; draw it anew in Texera and export again.");
  const first = Math.min(properties.number("k", 80), 100);
  return becomes(
    "split",
    { ratio: first / 100, seed: properties.flag("random", true) ? 0 : Math.trunc(properties.number("seed", 1)) },
    { outputs: 2, differences: [OTHER_ROWS] },
  );
}

export const ROW_RULES: readonly ImportRule[] = [
  {
    types: ["Filter"],
    uses: ["filter"],
    summary: "a row passes that meets any of its conditions; texts that are numbers are compared as numbers, as there",
    differences: [TEXT_ORDER],
    apply: filter,
  },
  {
    types: ["Regex", "RegularExpression"],
    uses: ["filter"],
    summary: "an expression with `regexp_matches`",
    differences: [NULL_MATCHES_NOTHING, REGULAR_EXPRESSIONS],
    apply: regex,
  },
  {
    types: ["SubstringSearch"],
    uses: ["filter"],
    summary: "an expression with `contains`",
    differences: [],
    apply: substringSearch,
  },
  {
    types: ["KeywordSearch"],
    uses: ["filter"],
    summary:
      "an expression over the words of the text: words, phrases in quotes, AND, OR, NOT, + and -; other queries are refused",
    differences: [SIMPLER_WORDS],
    apply: keywordSearch,
  },
  {
    types: ["DictionaryMatcher"],
    uses: ["derive"],
    summary: "a derived column; matching by Conjunction is refused",
    differences: [],
    apply: dictionaryMatcher,
  },
  {
    types: ["UnnestString"],
    uses: ["sql"],
    summary: "a query with `unnest`; the delimiter is a regular expression, as there",
    differences: [NULL_MATCHES_NOTHING, REGULAR_EXPRESSIONS],
    apply: unnestString,
  },
  {
    types: ["Limit"],
    uses: ["limit"],
    summary: "the same",
    differences: [],
    apply: ({ properties }) => becomes("limit", { count: properties.count("limit") }),
  },
  {
    types: ["Distinct"],
    uses: ["distinct"],
    summary: "the same",
    differences: [],
    apply: () => becomes("distinct", {}),
  },
  {
    types: ["RandomKSampling"],
    uses: ["sample"],
    summary: "that percentage of the rows",
    differences: [OTHER_ROWS],
    apply: sampleOfPercent,
  },
  {
    types: ["ReservoirSampling"],
    uses: ["sample"],
    summary: "that number of rows",
    differences: [OTHER_ROWS, FEW_ROWS],
    apply: sampleOfRows,
  },
  {
    types: ["Split", "SplitDataset"],
    uses: ["split"],
    summary: "two outputs by ratio",
    differences: [OTHER_ROWS],
    apply: split,
  },
  {
    types: ["Sleep"],
    uses: ["filter"],
    summary: "a filter that lets every row pass",
    differences: [NO_SLEEP],
    apply: () => becomes("filter", { predicate: "true" }, { differences: [NO_SLEEP] }),
  },
];
