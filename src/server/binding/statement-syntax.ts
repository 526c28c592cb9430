// An author's whole SELECT, taken apart as an expression is (expression-syntax.ts): DuckDB parses it, the tree is walked.
//
// Q1  It is one SELECT. In FROM stand inputs, its own common table expressions where they are in scope, subqueries, lists
//     of values, and table functions of statement-functions.ts; nothing else. A table is one plain name: DuckDB takes any
//     other for a file or an address and reads it.
// Q2  Its functions are those of expressions, and aggregate and window functions; whatever the walk does not know is
//     refused.
// Q3  What a run leaves to chance is found: the clock, samples, a LIMIT or a function over rows that nothing has ordered.
// Q4  As X4 of expressions.
import { didYouMean, foldName, listNames } from "../../core/names.js";
import { CHANCE_FUNCTIONS, CLOCK_NAMES, LAMBDA_FUNCTIONS } from "./expression-functions.js";
import {
  CHANCE_AGGREGATES,
  isStatementFunction,
  ORDERED_FUNCTIONS,
  statementFunctions,
  TABLE_FUNCTIONS,
} from "./statement-functions.js";
import { MOST_ARROWS, MOST_LAMBDAS, parseTree, type Tree } from "./syntax-tree.js";

/** What is wrong with a statement; or, when nothing is, what in it is left to chance. */
export type StatementReading = { problems: string[] } | { chance: string[] };

/** Reads the tree json_serialize_sql gives of a statement over so many inputs. */
export function readStatement(serialized: string, inputs: number): StatementReading {
  const parsed = parseTree(serialized);
  if (!parsed) return { problems: ["The statement holds a number that is too large."] };
  if (parsed.error) {
    const refused = parsed.error_type === "not implemented";
    const message = (parsed.error_message ?? "it cannot be read").split("\n")[0];
    return { problems: [refused ? ONE_SELECT : `This is no SQL statement: ${message}. ${WORDS}`] };
  }
  const [statement, ...more] = parsed.statements ?? [];
  if (!statement || more.length > 0) return { problems: [ONE_SELECT] };
  const names = Array.from({ length: inputs }, (_, i) => `input${i}`);
  const walk: Walk = {
    inputs: names,
    tables: new Set(names),
    problems: new Set(),
    chance: new Set(),
    lambdas: 0,
    arrows: 0,
  };
  visitNode(statement.node, walk);
  return walk.problems.size > 0 ? { problems: [...walk.problems] } : { chance: [...walk.chance] };
}

const WORDS = "Names that are SQL words or hold spaces are written in double quotes, texts in single ones.";
const ONE_SELECT =
  "This must be one SELECT (or WITH … SELECT), and nothing that changes or shows something; for a PIVOT use the pivot operator.";

interface Walk {
  inputs: readonly string[];
  /** Names a FROM may use here, in lower case. */
  tables: ReadonlySet<string>;
  problems: Set<string>;
  chance: Set<string>;
  lambdas: number;
  arrows: number;
}

type Visit = (node: Tree, walk: Walk) => void;

/** Nodes that are no expressions, by type. */
const NODES: Record<string, Visit> = {
  SELECT_NODE: visitQuery,
  SET_OPERATION_NODE: visitQuery,
  RECURSIVE_CTE_NODE: (node, walk) => visitQuery(node, within(walk, String(node.cte_name))),
  EMPTY: visitAll,
  JOIN(node, walk) {
    if (node.ref_type === "POSITIONAL") walk.chance.add("a positional join");
    visitAll(node, walk);
  },
  SUBQUERY: visitAll,
  EXPRESSION_LIST: visitAll,
  BASE_TABLE: visitTable,
  TABLE_FUNCTION: visitTableFunction,
  ORDER_MODIFIER: visitAll,
  LIMIT_MODIFIER: visitAll,
  LIMIT_PERCENT_MODIFIER: visitAll,
  DISTINCT_MODIFIER: visitAll,
  ASCENDING: visitAll,
  DESCENDING: visitAll,
  ORDER_DEFAULT: visitAll,
};
const NODE_REFUSED: Record<string, string> = {
  PIVOT: "PIVOT and UNPIVOT are not allowed in a statement; use the pivot or unpivot operator.",
  SHOW_REF: ONE_SELECT,
};

function visitNode(node: Tree, walk: Walk): void {
  const type = String(node.type);
  if (Object.hasOwn(NODES, type)) NODES[type]!(node, walk);
  // The details of a type, such as the width of a DECIMAL; what expressions it holds are visited.
  else if (/_TYPE_INFO$/.test(type)) visitAll(node, walk);
  else walk.problems.add(NODE_REFUSED[type] ?? `This part of a statement (${type}) is not allowed.`);
}

function visitAll(node: Tree, walk: Walk): void {
  visitParts(Object.values(node), walk);
}

/** Whatever nodes lie in these values, however deep. */
function visitParts(values: unknown[], walk: Walk): void {
  for (const value of values) {
    if (typeof value !== "object" || value === null) continue;
    const node = value as Tree;
    if (typeof node.class === "string") visitExpression(node, walk);
    else if (typeof node.type === "string") visitNode(node, walk);
    else visitParts(Object.values(node), walk);
  }
}

/** Common table expressions see those before them, and the query sees all. */
function visitQuery(node: Tree, walk: Walk): void {
  const { cte_map: named, modifiers, sample, ...parts } = node;
  let inner = walk;
  for (const { key, value } of entriesOf(named)) {
    visitParts([value], inner);
    inner = within(inner, key);
  }
  noteChance(modifiers as Tree[] | undefined, sample, walk);
  visitParts([modifiers, ...Object.values(parts)], inner);
}

const entriesOf = (map: unknown): { key: string; value: unknown }[] =>
  ((map as Tree | null | undefined)?.map as { key: string; value: unknown }[] | undefined) ?? [];

/** Q1: a name is plain, so that where it is not in scope it cannot mean a file either. */
function within(walk: Walk, name: string): Walk {
  if (!/^[\p{L}_][\p{L}\p{N}_]*$/u.test(name))
    walk.problems.add(`${JSON.stringify(name)} cannot name a table expression; use letters, digits and "_".`);
  else if (/^input\d+$/i.test(name))
    walk.problems.add(`${name} is the name of an input; call the table expression otherwise.`);
  else return { ...walk, tables: new Set([...walk.tables, foldName(name)]) };
  return walk;
}

function noteChance(modifiers: Tree[] = [], sample: unknown, walk: Walk): void {
  const ordered = modifiers.some(({ type }) => type === "ORDER_MODIFIER");
  if (sample) walk.chance.add("a sample");
  for (const { type, distinct_on_targets: on } of modifiers) {
    if (ordered) continue;
    if (String(type).startsWith("LIMIT")) walk.chance.add("LIMIT without ORDER BY");
    if (Array.isArray(on) && on.length > 0) walk.chance.add("DISTINCT ON without ORDER BY");
  }
}

function visitTable(node: Tree, walk: Walk): void {
  const name = String(node.table_name);
  if (node.at_clause) walk.problems.add("AT is not allowed: inputs have one version.");
  if (node.sample) walk.chance.add("a sample");
  if (node.schema_name === "" && node.catalog_name === "" && walk.tables.has(foldName(name))) return;
  const shown = [node.catalog_name, node.schema_name, name].filter((part) => part !== "").join(".");
  walk.problems.add(
    `There is no table ${JSON.stringify(shown.slice(0, 140))}: a statement reads ${listNames(walk.inputs)} and what it names itself${didYouMean(name, [...walk.tables])} Files are read by a scan.`,
  );
}

function visitTableFunction(node: Tree, walk: Walk): void {
  const call = node.function as Tree | undefined;
  const name = foldName(String(call?.function_name));
  if (call?.class !== "FUNCTION" || !TABLE_FUNCTIONS.has(name) || call.schema !== "" || call.catalog !== "")
    walk.problems.add(
      `${name}() is not allowed in FROM; there may stand ${listNames([...TABLE_FUNCTIONS])}. Files are read by a scan.`,
    );
  else visitParts(call.children as Tree[], walk);
  if (node.sample) walk.chance.add("a sample");
}

/** Classes of expressions that only combine their parts. */
const COMBINING = new Set([
  "OPERATOR",
  "COMPARISON",
  "CONJUNCTION",
  "BETWEEN",
  "CASE",
  "CAST",
  "COLLATE",
  "STAR",
  "SUBQUERY",
]);
const REFUSED: Record<string, string> = {
  PARAMETER: "A parameter ($1 or ?) has no value here; write the value itself.",
  DEFAULT: "DEFAULT has no value here; write the value itself.",
};

function visitExpression(node: Tree, walk: Walk): void {
  const kind = String(node.class);
  if (kind === "CONSTANT" || kind === "POSITIONAL_REFERENCE") return;
  if (kind === "COLUMN_REF") visitColumn(node.column_names as string[], walk);
  else if (kind === "FUNCTION" || kind === "WINDOW") visitFunction(node, walk);
  else if (kind === "LAMBDA") visitLambda(node, { ...walk, arrows: walk.arrows + 1 });
  else if (COMBINING.has(kind)) visitAll(node, walk);
  else walk.problems.add(REFUSED[kind] ?? `This kind of expression (${kind}) is not allowed.`);
}

/** Whether a column is there DuckDB says; without one of that name these words are the clock. */
function visitColumn([name = "", ...further]: string[], walk: Walk): void {
  if (further.length === 0 && CLOCK_NAMES.has(foldName(name))) walk.chance.add(foldName(name));
}

/** DuckDB reads `list(n ORDER BY n)` as a list that is sorted when it is whole. */
const SORTING = new Set(["list_sort", "list_reverse_sort", "array_sort", "array_reverse_sort"]);
const LISTING = new Set(["list", "array_agg"]);

function visitFunction(node: Tree, walk: Walk, isSorted = false): void {
  const name = foldName(String(node.function_name));
  const children = (node.children ?? []) as Tree[];
  const isSymbol = !/[a-z0-9_]/.test(name);
  if (!isSymbol && !isStatementFunction(name))
    walk.problems.add(
      `There is no function ${JSON.stringify(name.slice(0, 140))} for statements${didYouMean(name, statementFunctions())} docs/workflows.md names those there are.`,
    );
  if (CHANCE_FUNCTIONS.has(name) || CHANCE_AGGREGATES.has(name)) walk.chance.add(`${name}()`);
  if (name === "age" && children.length === 1) walk.chance.add("age()");
  if (ORDERED_FUNCTIONS.has(name) && !isOrdered(node) && !(isSorted && LISTING.has(name)))
    walk.chance.add(`${name}() without ORDER BY`);
  const { children: _, ...others } = node;
  visitParts(Object.values(others), walk);
  for (const [i, child] of children.entries())
    if (i > 0 && child.class === "LAMBDA" && LAMBDA_FUNCTIONS.has(name))
      visitLambda(child, { ...walk, lambdas: walk.lambdas + 1 });
    else if (i === 0 && child.class === "FUNCTION" && SORTING.has(name)) visitFunction(child, walk, true);
    else visitExpression(child, walk);
}

/** An aggregate carries `order_bys`, a window `orders` and `arg_orders`. */
const isOrdered = (node: Tree): boolean =>
  [(node.order_bys as Tree | null | undefined)?.orders, node.orders, node.arg_orders].some(
    (orders) => Array.isArray(orders) && orders.length > 0,
  );

/** A function of a column, or an extraction from JSON (Q4). */
function visitLambda(node: Tree, walk: Walk): void {
  if (walk.lambdas > MOST_LAMBDAS || walk.arrows > MOST_ARROWS)
    walk.problems.add(
      `Lambdas may lie within one another ${MOST_LAMBDAS} deep, and ${MOST_ARROWS} "->" may follow one another; use a user function for more.`,
    );
  else visitParts([node.lhs, node.expr], walk);
}
