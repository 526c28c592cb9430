// What is asked of a DuckDB instance beside its queries, over a connection of its own: figures, which are worth no wait.
//
// EW1 The connection is closed when nothing is asked over it any more: DuckDB does not look whether it is.
// EW2 One question at a time: another would wait in a thread of Node's pool, of which there are few.
import type { DuckDBConnection } from "@duckdb/node-api";

/** A plan as JSON grows with the square of its depth: of hundreds of operators it takes tens of megabytes. */
const MOST_SELECTS = 64;
/** One interrupt can come too early. */
const INTERRUPT_EVERY_MS = 50;

export interface EngineWatch {
  /** Bytes DuckDB holds now, for all queries together; the last known figure while it is being asked for. */
  memoryBytes(): bigint;
  /** The plan of a statement as JSON; nothing is run. Undefined while something else is asked: ask again. */
  explain(sql: string): Promise<string> | undefined;
  close(): Promise<void>;
}

export function watchEngine(connection: DuckDBConnection): EngineWatch {
  let question: Promise<unknown> | undefined;
  let isClosed = false;
  let bytes = 0n;

  /** The only value in one column of the only row. */
  async function ask(sql: string, column: number): Promise<string> {
    if (isClosed || question) throw new Error("The engine is closed, or is being asked already."); // EW2
    const answer = answerTo(connection, sql, column);
    const settled = answer
      .catch(() => {}) // told by `answer`
      .finally(() => {
        question = undefined;
      });
    question = settled;
    return answer;
  }

  async function plan(sql: string): Promise<string> {
    if ((sql.match(/\bSELECT\b/g)?.length ?? 0) > MOST_SELECTS) throw new Error("Its plan would be too large.");
    // A scan that keeps the rows it rejects names the tables for them already when it is planned.
    if (sql.includes("store_rejects")) throw new Error("This statement is planned only by who runs it.");
    return ask(`EXPLAIN (FORMAT json) ${sql}`, 1);
  }

  return {
    memoryBytes() {
      ask("SELECT coalesce(sum(memory_usage_bytes), 0) FROM duckdb_memory()", 0).then(
        (answer) => {
          bytes = BigInt(answer);
        },
        () => {}, // closed, being asked, or out of memory: figures are worth no failure
      );
      return bytes;
    },
    explain(sql) {
      return question ? undefined : plan(sql);
    },
    async close() {
      isClosed = true;
      connection.interrupt();
      const again = setInterval(() => connection.interrupt(), INTERRUPT_EVERY_MS);
      await question; // EW1
      clearInterval(again);
      connection.closeSync();
    },
  };
}

/** Prepared, so that it is one statement whatever the text is. */
async function answerTo(connection: DuckDBConnection, sql: string, column: number): Promise<string> {
  const statement = await connection.prepare(sql);
  try {
    return String((await (await statement.run()).getRowsJson())[0]?.[column]);
  } finally {
    statement.destroySync();
  }
}
