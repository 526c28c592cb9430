// Counts the rows that scans have left out because they did not fit, and tells the first few of them. DuckDB keeps them
// in tables of the connection that has read the file, until they have been counted.
import { operatorKey, type PhysicalOperator } from "../../core/plan.js";
import { malformedRowsSql } from "../../core/scan-sql.js";
import { quoteName } from "../../core/sql-text.js";
import type { EngineConnection } from "./duckdb.js";
import type { OperatorBoard } from "./operator-board.js";
import type { Say } from "./say.js";

export interface MalformedRowsDeps {
  board: Pick<OperatorBoard, "malformed">;
  sayOf(operatorId: string): Say;
}

/** A scan that leaves out what does not fit. */
export interface SkippingScan {
  operator: PhysicalOperator;
  path: string;
  /** Name of the table that keeps what was left out. */
  rejects: string;
}

/** How many of them are shown. */
const SHOWN = 3;
const SHOWN_CHARACTERS = 200;

interface Counting {
  connection: EngineConnection;
  skips: SkippingScan[];
  signal: AbortSignal;
}

/** Forgets what a query has left that was given up; goes before a query that reads such scans. */
export async function forgetMalformed({ connection, skips, signal }: Counting): Promise<void> {
  for (const { rejects } of skips)
    for (const table of [rejects, `${rejects}_scans`])
      await connection.run(`DROP TABLE IF EXISTS temp.${quoteName(table)}`, { signal });
}

/** Counts after such a query, on the same connection. */
export async function tellMalformed(deps: MalformedRowsDeps, counting: Counting): Promise<void> {
  for (const scan of counting.skips) await count(deps, scan, counting);
  await forgetMalformed(counting);
}

async function count(
  { board, sayOf }: MalformedRowsDeps,
  { operator, path, rejects }: SkippingScan,
  { connection, signal }: Counting,
): Promise<void> {
  if (operator.implementation.kind !== "scan") return;
  const { format, fileSchema, malformedRows } = operator.implementation.scan;
  const sql = malformedRowsSql({ path, format, schema: fileSchema, malformedRows, rejects });
  if (sql === undefined) return;
  const [value] = await connection.run(sql, { signal });
  const rows = BigInt(String(value ?? 0));
  board.malformed(operatorKey(operator), rows);
  if (rows === 0n) return;
  const [shown] = format.kind === "csv" ? await connection.run(examplesSql(rejects), { signal }) : [];
  const head = `${rows.toLocaleString("en-US")} ${rows === 1n ? "row" : "rows"} of its file did not fit and ${rows === 1n ? "was" : "were"} left out`;
  const say = sayOf(operator.operatorId);
  say("note", shown ? `${head}, the first of them:` : `${head}.`);
  for (const line of shown ? String(shown).split("\n") : []) say("note", line);
}

const examplesSql = (rejects: string): string =>
  `select string_agg('line ' || line || ': ' || left(text, ${SHOWN_CHARACTERS}) || ' (' || why || ')', chr(10) order by line)
   from (select line, any_value(rtrim(csv_line, chr(10) || chr(13))) as text, any_value(error_message) as why
     from temp.${quoteName(rejects)} group by line order by line limit ${SHOWN})`;
