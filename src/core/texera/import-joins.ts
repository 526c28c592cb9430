// Joins and set operations.
//
// Texera gives a row of the right side that has no partner its values by name: a column that both sides have is then
// filled from the right, and its twin with #@1 stays null. Right and full joins are therefore made of our inner join
// and a query that adds the rows without a partner in just that way.
import { quoteName } from "../sql-text.js";
import { gatheredPorts } from "./import-links.js";
import { becomes, type Fragment, type ImportedOperator, type ImportRule, settings } from "./import-rule.js";

const NULL_KEYS = "Rows whose key is null find no partner; in Texera null equals null.";
const SAME_NAME =
  "If the left input has a column named like the right key, rows of the right side alone have null there; Texera gives it their key.";
const COLUMNS_BY_NAME =
  "Columns are matched by name; in Texera all inputs must have the same columns in the same order.";
const ORDERED_INPUTS = "Every pair in the interval is found; Texera misses some when its inputs are not sorted.";

const JOIN_TYPES = ["inner", "left outer", "right outer", "full outer"] as const;

function hashJoin({ properties }: ImportedOperator): Fragment {
  const left = properties.text("buildAttributeName");
  const right = properties.text("probeAttributeName");
  const type = properties.choice("joinType", JOIN_TYPES);
  const on = [{ left, right }];
  if (type === "inner" || type === "left outer")
    return becomes("join", { type: type === "inner" ? "inner" : "left", on }, { inputs: 2, differences: [NULL_KEYS] });
  return {
    operators: [
      {
        suffix: "",
        type: "sql",
        properties: { inputs: 3, statement: withoutPartner(left, right, type === "full outer") },
      },
      { suffix: "pairs", type: "join", properties: { type: "inner", on } },
    ],
    links: [{ from: "pairs", to: "", toPort: 0 }],
    inputs: [
      [
        { operator: "pairs", port: 0 },
        { operator: "", port: 1 },
      ],
      [
        { operator: "pairs", port: 1 },
        { operator: "", port: 2 },
      ],
    ],
    outputs: 1,
    differences: [NULL_KEYS, ...(left.toLowerCase() === right.toLowerCase() ? [] : [SAME_NAME])],
  };
}

/** The pairs in input 0, and the rows of inputs 1 (left) and 2 (right) that are in none, their columns by name. */
function withoutPartner(left: string, right: string, full: boolean): string {
  const [l, r] = [quoteName(left), quoteName(right)];
  const lonelyLeft = `SELECT * FROM input1 WHERE NOT EXISTS (SELECT 1 FROM input2 WHERE input2.${r} = input1.${l})`;
  // The right key is no column of the result unless it is named like the left one.
  const columns = left.toLowerCase() === right.toLowerCase() ? "*" : `* EXCLUDE (${r})`;
  const lonelyRight = `SELECT ${columns} FROM input2 WHERE NOT EXISTS (SELECT 1 FROM input1 WHERE input1.${l} = input2.${r})`;
  return ["SELECT * FROM input0", ...(full ? [lonelyLeft] : []), lonelyRight].join("\nUNION ALL BY NAME ");
}

function intervalJoin({ properties }: ImportedOperator): Fragment {
  const unit = properties.choice("timeIntervalType", ["day", "year", "month", "hour", "minute", "second"]);
  return becomes(
    "interval-join",
    settings({
      left: properties.text("leftAttributeName"),
      right: properties.text("rightAttributeName"),
      constant: properties.number("constant", 10),
      // Of numbers ours takes no unit, and Texera's editor writes "day" whatever the columns are.
      unit: unit === "day" ? undefined : unit,
      includeLower: properties.flag("includeLeftBound", true),
      includeUpper: properties.flag("includeRightBound", true),
    }),
    { inputs: 2, differences: [ORDERED_INPUTS] },
  );
}

/** Its one port takes any number of links: each of them gets a port of our union. */
function union({ sources }: ImportedOperator): Fragment {
  const [links = 0] = sources;
  if (links < 2)
    return becomes("filter", { predicate: "true" }, { differences: ["It has one source, whose rows it passes on."] });
  return {
    ...becomes("union", { inputs: gatheredPorts(links) }, { differences: [COLUMNS_BY_NAME] }),
    gathers: true,
  };
}

const ofSets = (type: string, texera: string): ImportRule => ({
  types: [texera],
  uses: [type],
  summary: "the same: equal rows count once",
  differences: [COLUMNS_BY_NAME],
  apply: () => becomes(type, {}, { inputs: 2, differences: [COLUMNS_BY_NAME] }),
});

export const JOIN_RULES: readonly ImportRule[] = [
  {
    types: ["HashJoin"],
    uses: ["join", "sql"],
    summary:
      "inner and left outer: a join; right and full outer: an inner join, and a query that adds the rows without a partner as Texera does",
    differences: [NULL_KEYS, SAME_NAME],
    apply: hashJoin,
  },
  {
    types: ["IntervalJoin"],
    uses: ["interval-join"],
    summary: "the same",
    differences: [ORDERED_INPUTS],
    apply: intervalJoin,
  },
  {
    types: ["CartesianProduct"],
    uses: ["cartesian-product"],
    summary: "the same",
    differences: [],
    apply: () => becomes("cartesian-product", {}, { inputs: 2, differences: [] }),
  },
  {
    types: ["Union"],
    uses: ["union", "filter"],
    summary: "one port for each link; of more than 16, several; of one, a filter that lets every row pass",
    differences: [COLUMNS_BY_NAME],
    apply: union,
  },
  ofSets("intersect", "Intersect"),
  ofSets("difference", "Difference"),
  ofSets("symmetric-difference", "SymmetricDifference"),
];
