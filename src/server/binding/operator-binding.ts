// Which columns does a relational operator give? DuckDB answers by describing the operator's SQL over empty inputs; no
// row is read and no user code runs.
//
// S1  Every expression and every statement is read and checked alone first (expression-syntax.ts, statement-syntax.ts), so
//     a finding names its property, and no unread text reaches a statement that is bound.
// S2  Input n is a common table expression of the statement itself: nothing is stored, and no call sees another's.
// S3  Columns of type `any` are JSON text. They are bound as VARCHAR, as an executor has them; a second description
//     with JSON tells which output columns only pass them on.
import type { DuckDBConnection } from "@duckdb/node-api";
import { foldName } from "../../core/names.js";
import type { Finding, NamedExpression } from "../../core/operators/operator.js";
import type { AttributeType, Schema } from "../../core/plan.js";
import type { BindRequest, BindResult } from "../../core/schema-binding.js";
import { attributeTypeOf, duckdbType, needsJsonText, quoteName } from "../../core/sql-text.js";
import { explainComplaint } from "./duckdb-complaint.js";
import { probesOf, readExpression } from "./expression-syntax.js";
import { readStatement } from "./statement-syntax.js";

const refuse = (...findings: Finding[]): BindResult => ({ ok: false, findings });

/** Checks one operator; rejects only with what is no fault of the operator. */
export async function bindOperator(connection: DuckDBConnection, request: BindRequest): Promise<BindResult> {
  const findings: Finding[] = [];
  const chance = new Set<string>();
  for (const expression of request.expressions) {
    const checked = await checkExpression(connection, expression, request.inputs);
    if ("messages" in checked)
      findings.push(...checked.messages.map((message) => ({ property: expression.path, message })));
    else for (const name of checked.chance) chance.add(name);
  }
  for (const { path, sql } of request.statements) {
    const reading = readStatement(await treeOf(connection, sql), request.inputs.length);
    if ("problems" in reading) findings.push(...reading.problems.map((message) => ({ property: path, message })));
    else for (const part of reading.chance) chance.add(part);
  }
  if (findings.length > 0) return refuse(...findings);
  const described = await describe(connection, request.inputs, request.sql);
  // What DuckDB says is about the author's own text then.
  const property = request.statements[0]?.path ?? "";
  if ("complaint" in described) return refuse({ property, message: described.complaint });
  const twice = described.find(({ name }, i) => described.findIndex((c) => foldName(c.name) === foldName(name)) < i);
  if (twice) return refuse({ property, message: sameName(twice.name) });
  const schema = described.map(({ name, type }) => ({ name, type: attributeTypeOf(type) }));
  const passedOn = await jsonColumns(connection, request);
  return {
    ok: true,
    schema: schema.map(({ name, type }, i) => ({ name, type: passedOn.has(i) ? "any" : type })),
    sql: withJsonText(request.sql, described),
    nondeterminism: chance.size > 0 ? `${[...chance].join(", ")} differs from run to run.` : undefined,
  };
}

const sameName = (name: string): string =>
  `Two columns of the result are named ${JSON.stringify(name)}, apart from upper and lower case; give each a name of its own, for example with AS.`;

/** Reads one expression (S1), binds it alone and compares its type with what is expected. */
async function checkExpression(
  connection: DuckDBConnection,
  { sql, expect, input: port = 0 }: NamedExpression,
  inputs: readonly Schema[],
): Promise<{ messages: string[] } | { chance: string[] }> {
  const input = inputs[port] ?? [];
  const { statement, enclosed } = probesOf(sql);
  const reading = readExpression(await treeOf(connection, statement), await treeOf(connection, enclosed), input);
  if ("problems" in reading) return { messages: reading.problems };
  const described = await describe(connection, [input], `${statement} FROM input0`);
  if ("complaint" in described) return { messages: [described.complaint] };
  const found = described[0]!.type;
  if (expect !== "boolean" || found === "BOOLEAN") return reading;
  return { messages: [`This must be true or false, and it is ${attributeTypeOf(found)}; compare it with something.`] };
}

async function treeOf(connection: DuckDBConnection, statement: string): Promise<string> {
  try {
    const result = await connection.runAndReadAll("SELECT json_serialize_sql(CAST($1 AS VARCHAR))", [statement]);
    return String(result.getRows()[0]![0]);
  } catch (error) {
    return JSON.stringify({ error: true, error_message: complaintOf(error) });
  }
}

/** What DuckDB says about a statement; what it says about itself is thrown on. */
function complaintOf(error: unknown): string {
  if (!(error instanceof Error) || /^(?:INTERNAL|FATAL) Error/.test(error.message)) throw error;
  return explainComplaint(error.message);
}

interface DescribedColumn {
  name: string;
  /** As DuckDB prints it. */
  type: string;
}

async function describe(
  connection: DuckDBConnection,
  inputs: readonly Schema[],
  sql: string,
  typeOf: (type: AttributeType) => string = storedType,
): Promise<DescribedColumn[] | { complaint: string }> {
  const tables = inputs.map((schema, i) => `input${i} AS (${emptyTable(schema, typeOf)})`);
  const statement = `DESCRIBE ${tables.length > 0 ? `WITH ${tables.join(", ")} ` : ""}${sql}`;
  try {
    const result = await connection.runAndReadAll(statement);
    return result.getRows().map(([name, type]) => ({ name: String(name), type: String(type) }));
  } catch (error) {
    return { complaint: complaintOf(error) };
  }
}

/** `any` is kept as text. */
const storedType = (type: AttributeType): string => (type === "any" ? "VARCHAR" : duckdbType(type));

const emptyTable = (schema: Schema, typeOf: (type: AttributeType) => string): string =>
  `SELECT ${schema.map(({ name, type }) => `CAST(NULL AS ${typeOf(type)}) AS ${quoteName(name)}`).join(", ")} WHERE false`;

/** Positions of output columns that are an input's JSON, passed on as it is (S3). */
async function jsonColumns(connection: DuckDBConnection, { inputs, sql }: BindRequest): Promise<Set<number>> {
  if (!inputs.flat().some(({ type }) => type === "any")) return new Set();
  const described = await describe(connection, inputs, sql, duckdbType);
  if ("complaint" in described) return new Set();
  return new Set(described.flatMap(({ type }, i) => (type === "JSON" ? [i] : [])));
}

/** The statement with lists, structures and the like as JSON text, which is how `any` columns are kept. */
function withJsonText(sql: string, columns: readonly DescribedColumn[]): string {
  if (!columns.some(({ type }) => needsJsonText(type))) return sql;
  const items = columns.map(({ name, type }) => {
    const column = quoteName(name);
    return needsJsonText(type) ? `CAST(to_json(${column}) AS VARCHAR) AS ${column}` : column;
  });
  return `SELECT ${items.join(", ")} FROM (${sql})`;
}
