// An author's expression, taken apart: DuckDB parses it (json_serialize_sql, which runs nothing), and the tree is
// walked.
//
// X1  An expression is one scalar expression: no statement, no subquery, no aggregate, no window, no parameter, no *.
// X2  It names columns of its input, and functions of expression-functions.ts; nothing else has a value.
// X3  Its text is whole in itself: put between parentheses into a statement it means what it means alone.
// X4  Lambdas and arrows are not nested deeply: DuckDB binds what is in each twice, so time doubles with each level.
import { didYouMean, foldName } from "../../core/names.js";
import { noColumn } from "../../core/operators/settings.js";
import type { Schema } from "../../core/plan.js";
import {
  AGGREGATE_FUNCTIONS,
  CHANCE_FUNCTIONS,
  CLOCK_NAMES,
  LAMBDA_FUNCTIONS,
  PURE_FUNCTIONS,
} from "./expression-functions.js";
import { MOST_ARROWS, MOST_LAMBDAS, parseTree, type Tree } from "./syntax-tree.js";

/** What is wrong with an expression; or, when nothing is, which functions in it are left to chance. */
export type ExpressionReading = { problems: string[] } | { chance: string[] };

/** Statements whose trees tell about an expression; see `readExpression`. */
export const probesOf = (sql: string): { statement: string; enclosed: string } => ({
  statement: `SELECT (${sql}\n)`,
  // X3: text such as `1) OR (1` is whole within parentheses, but not within brackets too.
  enclosed: `SELECT [${sql}\n]`,
});

/** Reads the trees of both probes, as json_serialize_sql gives them. */
export function readExpression(statement: string, enclosed: string, input: Schema): ExpressionReading {
  const whole = soleExpression(statement);
  if ("problem" in whole) return { problems: [whole.problem] };
  const walk: Walk = { input, problems: new Set(), chance: new Set(), parameters: new Set(), lambdas: 0, arrows: 0 };
  visit(whole.tree, walk);
  if (walk.problems.size > 0) return { problems: [...walk.problems] };
  const list = soleExpression(enclosed);
  const isWhole =
    "tree" in list && list.tree.function_name === "list_value" && (list.tree.children as unknown[])?.length === 1;
  if (!isWhole) return { problems: [`${ONE_EXPRESSION} Check its parentheses and commas.`] };
  return { chance: [...walk.chance] };
}

const WORDS = "Names that are SQL words or hold spaces are written in double quotes, texts in single ones.";
const ONE_EXPRESSION = "This must be one SQL expression, not a statement or several of them.";

/** The only item of a SELECT that has nothing else. */
function soleExpression(serialized: string): { tree: Tree } | { problem: string } {
  const parsed = parseTree(serialized);
  if (!parsed) return { problem: "This expression holds a number that is too large." };
  if (parsed.error) {
    const statement = parsed.error_type === "not implemented";
    const message = (parsed.error_message ?? "it cannot be read").split("\n")[0];
    return { problem: statement ? ONE_EXPRESSION : `This is no SQL expression: ${message}. ${WORDS}` };
  }
  const node = parsed.statements?.length === 1 ? parsed.statements[0]?.node : undefined;
  const items = node?.select_list;
  const [tree, ...more] = Array.isArray(items) ? (items as Tree[]) : [];
  if (!node || !tree || more.length > 0 || !isBareSelect(node) || tree.alias !== "") return { problem: ONE_EXPRESSION };
  return { tree };
}

const isEmptyList = (value: unknown): boolean => Array.isArray(value) && value.length === 0;

const isBareSelect = (node: Tree): boolean =>
  node.type === "SELECT_NODE" &&
  (node.from_table as Tree | null)?.type === "EMPTY" &&
  isEmptyList((node.cte_map as Tree | null)?.map) &&
  [node.modifiers, node.group_expressions, node.group_sets].every(isEmptyList) &&
  [node.where_clause, node.having, node.sample, node.qualify].every((clause) => clause === null);

interface Walk {
  input: Schema;
  problems: Set<string>;
  chance: Set<string>;
  /** Parameters of the lambdas around the place. */
  parameters: ReadonlySet<string>;
  /** How many lambdas, and how many extractions with `->`, are around the place. */
  lambdas: number;
  arrows: number;
}

const REFUSED: Record<string, string> = {
  SUBQUERY: "A subquery is not allowed in an expression; use a join operator.",
  WINDOW: "A window function is not allowed here; use a window operator.",
  PARAMETER: "A parameter ($1 or ?) has no value here; write the value itself.",
  STAR: "* is not allowed in an expression; name the columns.",
  DEFAULT: "DEFAULT has no value here; write the value itself.",
  POSITIONAL_REFERENCE: "A column is named, not numbered; write its name instead of #1.",
};

/** Classes of nodes that only combine their parts. */
const COMBINING = new Set(["OPERATOR", "COMPARISON", "CONJUNCTION", "BETWEEN", "CASE", "CAST", "COLLATE"]);

function visit(node: Tree, walk: Walk): void {
  const kind = String(node.class);
  if (kind === "CONSTANT") return;
  if (kind === "COLUMN_REF") visitColumn(node.column_names as string[], walk);
  else if (kind === "FUNCTION") visitFunction(node, walk);
  else if (kind === "LAMBDA") visitArrow(node, walk);
  else if (node.type === "GROUPING_FUNCTION") walk.problems.add(`grouping() ${OVER_ROWS}`);
  else if (!COMBINING.has(kind))
    walk.problems.add(REFUSED[kind] ?? `This kind of expression (${kind}) is not allowed.`);
  else visitParts(Object.values(node), walk);
}

/** Outside a function that takes a lambda, `a -> b` is the extraction from JSON. */
function visitArrow({ lhs, expr }: Tree, walk: Walk): void {
  if (walk.arrows < MOST_ARROWS) visitParts([lhs, expr], { ...walk, arrows: walk.arrows + 1 });
  else
    walk.problems.add(
      `At most ${MOST_ARROWS} "->" may follow one another; write one path instead, for example j -> '$.a.b.c'.`,
    );
}

/** Whatever nodes lie in these values, however deep: also in types and case branches. */
function visitParts(values: unknown[], walk: Walk): void {
  for (const value of values) {
    if (typeof value !== "object" || value === null) continue;
    if ("class" in value) visit(value as Tree, walk);
    else visitParts(Object.values(value), walk);
  }
}

function visitColumn(path: string[], walk: Walk): void {
  const [first = "", second] = path;
  const has = (name: string) => walk.input.some((column) => foldName(column.name) === foldName(name));
  if (walk.parameters.has(foldName(first)) || has(first)) return;
  if (foldName(first) === "input0" && second !== undefined) {
    if (!has(second)) walk.problems.add(noColumn(second, walk.input));
    return;
  }
  if (path.length === 1 && CLOCK_NAMES.has(foldName(first))) walk.chance.add(foldName(first));
  else walk.problems.add(noColumn(path.join("."), walk.input));
}

const OVER_ROWS = "is computed over many rows; use an aggregate operator.";

function visitFunction(node: Tree, walk: Walk): void {
  const name = foldName(String(node.function_name));
  const schema = foldName(String(node.schema));
  const children = node.children as Tree[];
  const isSymbol = !/[a-z0-9_]/.test(name);
  // `origin.upper()` is read as a function of the schema "origin"; DuckDB then finds the column.
  if (schema !== "" && schema !== "main") visitColumn([String(node.schema)], walk);
  if (node.catalog !== "" && foldName(String(node.catalog)) !== "system")
    walk.problems.add(`Write ${name} without a catalogue before it.`);
  if (AGGREGATE_FUNCTIONS.has(name)) walk.problems.add(`${name === "count_star" ? "count" : name}() ${OVER_ROWS}`);
  else if (name === "unnest") walk.problems.add("unnest() makes several rows of one; use an unnest operator for that.");
  else if (CHANCE_FUNCTIONS.has(name)) walk.chance.add(`${name}()`);
  // With one argument it counts from today.
  else if (name === "age" && children.length === 1) walk.chance.add("age()");
  else if (!isSymbol && !PURE_FUNCTIONS.has(name)) walk.problems.add(noFunction(name));
  for (const child of [node.filter, ...ordersOf(node)]) if (child) walk.problems.add(`${name}() ${OVER_ROWS}`);
  for (const [i, child] of children.entries())
    if (i > 0 && child.class === "LAMBDA" && LAMBDA_FUNCTIONS.has(name)) visitLambda(child, walk);
    else visit(child, walk);
}

const ordersOf = (node: Tree): unknown[] => ((node.order_bys as Tree | null)?.orders as unknown[] | undefined) ?? [];

function noFunction(name: string): string {
  const known = [...PURE_FUNCTIONS, ...CHANCE_FUNCTIONS];
  return `There is no function ${JSON.stringify(name)} for expressions${didYouMean(name, known)} docs/workflows.md names those there are.`;
}

/** The body sees the lambda's parameters beside the columns. */
function visitLambda(lambda: Tree, walk: Walk): void {
  if (walk.lambdas >= MOST_LAMBDAS) {
    walk.problems.add(`Lambdas may lie within one another ${MOST_LAMBDAS} deep; use a user function for more.`);
    return;
  }
  const lhs = lambda.lhs as Tree;
  const named = lhs.class === "FUNCTION" ? (lhs.children as Tree[]) : [lhs];
  const parameters = new Set(walk.parameters);
  for (const parameter of named)
    if (parameter.class === "COLUMN_REF") parameters.add(foldName((parameter.column_names as string[])[0] ?? ""));
    else walk.problems.add("A lambda's parameters must be names, for example x -> x + 1.");
  visit(lambda.expr as Tree, { ...walk, parameters, lambdas: walk.lambdas + 1 });
}
