// What is asked of a DuckDB instance beside its queries, over a connection of its own: figures, which are worth no wait.
//
// EW1 The connection is closed when nothing is asked over it any more: DuckDB does not look whether it is.
import type { DuckDBConnection } from "@duckdb/node-api";

export interface EngineWatch {
  /** Bytes DuckDB holds now, for all queries together; the last known figure while it is being asked for. */
  memoryBytes(): bigint;
  /** The plan of a statement as JSON; nothing is run. */
  explain(sql: string): Promise<string>;
  close(): Promise<void>;
}

export function watchEngine(connection: DuckDBConnection): EngineWatch {
  const questions = new Set<Promise<unknown>>();
  let isClosed = false;
  let bytes = 0n;
  let isAsking = false;

  /** The only value in one column of the only row. */
  async function ask(sql: string, column: number): Promise<string> {
    if (isClosed) throw new Error("The engine is closed.");
    const question = answerTo(connection, sql, column);
    const settled = question
      .catch(() => {}) // told by `question`
      .finally(() => questions.delete(settled));
    questions.add(settled);
    return question;
  }

  return {
    memoryBytes() {
      if (!isAsking) {
        isAsking = true;
        ask("SELECT coalesce(sum(memory_usage_bytes), 0) FROM duckdb_memory()", 0)
          .then((answer) => {
            bytes = BigInt(answer);
          })
          .catch(() => {}) // closed meanwhile, or out of memory: figures are worth no failure
          .finally(() => {
            isAsking = false;
          });
      }
      return bytes;
    },
    async explain(sql) {
      // A scan that keeps the rows it rejects names the tables for them already when it is planned.
      if (sql.includes("store_rejects")) throw new Error("This statement is planned only by who runs it.");
      return ask(`EXPLAIN (FORMAT json) ${sql}`, 1);
    },
    async close() {
      isClosed = true;
      connection.interrupt();
      await Promise.all(questions); // EW1
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
