// One DuckDB instance per execution, shut in: it reads this execution's datasets and earlier results, writes below its
// result directory and its own temporary directory, and nothing can change that afterwards.
//
// D1  No file outside the lists can be opened, no extension is installed or loaded, no setting can be changed: also not
//     by SQL that came with the plan.
// D2  One call runs one statement: text of a plan cannot smuggle in a second one.
// D3  Rows keep their order (preserve_insertion_order), so an ORDER BY survives into the file.
import {
  type DuckDBAppender,
  type DuckDBConnection,
  type DuckDBDataChunk,
  DuckDBInstance,
  type DuckDBPreparedStatement,
  type Json,
} from "@duckdb/node-api";
import { quoteText } from "../../core/scan-sql.js";
import { RunStopped, throwIfStopped } from "./failure.js";

export interface EngineOptions {
  memoryLimitMb: number;
  threads: number;
  /** Spilled data goes here. */
  temporaryDirectory: string;
  /** Files that may be read. */
  readablePaths: string[];
  /** Directory below which everything may be read and written. */
  resultDirectory: string;
}

export interface Engine {
  /** A connection; give it back with `release`. A region takes two at most. */
  take(): EngineConnection;
  close(): void;
}

export interface RunOptions {
  signal: AbortSignal;
  /** Called a few times a second with the share of the work done, 0 to 1, when DuckDB can tell. */
  onProgress?: (share: number) => void;
}

export interface EngineConnection {
  /** Runs one statement to its end; resolves with the first row's values. Rejects with RunStopped when stopped. */
  run(sql: string, options: RunOptions): Promise<Json[]>;
  /** Gives the rows of one query chunk by chunk, without holding more than a few. */
  stream(sql: string, signal: AbortSignal): AsyncIterable<DuckDBDataChunk>;
  appender(table: string): Promise<DuckDBAppender>;
  release(): void;
}

/** Two for each of the regions that run side by side (run-regions.ts). */
const CONNECTIONS = 4;
const PROGRESS_EVERY_MS = 250;
const INTERRUPT_EVERY_MS = 50;

export async function openEngine(options: EngineOptions): Promise<Engine> {
  const instance = await DuckDBInstance.create(":memory:", {
    memory_limit: `${options.memoryLimitMb}MB`,
    threads: String(options.threads),
    temp_directory: options.temporaryDirectory,
    preserve_insertion_order: "true",
    autoinstall_known_extensions: "false",
    autoload_known_extensions: "false",
  });
  // Some settings belong to a connection and cannot be made once the configuration is locked: all connections there will
  // ever be are opened before.
  const connections = await Promise.all(Array.from({ length: CONNECTIONS }, () => instance.connect()));
  for (const connection of connections)
    for (const setting of [
      "TimeZone = 'UTC'",
      "enable_progress_bar = true",
      "enable_progress_bar_print = false",
      "progress_bar_time = 0",
    ])
      await connection.run(`SET ${setting}`);
  for (const setting of [
    `allowed_paths = ${list(options.readablePaths)}`,
    `allowed_directories = ${list([options.resultDirectory])}`,
    "enable_external_access = false",
    "lock_configuration = true",
  ])
    await connections[0]!.run(`SET GLOBAL ${setting}`);
  const free = [...connections];
  return {
    take() {
      const connection = free.pop();
      if (!connection) throw new Error("Every connection of this execution is in use.");
      return connectionOf(connection, () => void free.push(connection));
    },
    close() {
      for (const connection of connections) connection.closeSync();
      instance.closeSync();
    },
  };
}

const list = (paths: string[]) => `[${paths.map(quoteText).join(", ")}]`;

function connectionOf(connection: DuckDBConnection, release: () => void): EngineConnection {
  async function run(sql: string, { signal, onProgress }: RunOptions): Promise<Json[]> {
    const reader = onProgress && setInterval(() => report(connection, onProgress), PROGRESS_EVERY_MS);
    try {
      return await stoppable(connection, signal, async () => {
        const statement = await connection.prepare(sql);
        try {
          return (await (await statement.run()).getRowsJson())[0] ?? [];
        } finally {
          statement.destroySync();
        }
      });
    } finally {
      clearInterval(reader);
    }
  }

  async function* stream(sql: string, signal: AbortSignal): AsyncIterable<DuckDBDataChunk> {
    let statement: DuckDBPreparedStatement | undefined;
    try {
      const result = await stoppable(connection, signal, async () => {
        statement = await connection.prepare(sql);
        return statement.stream();
      });
      for (;;) {
        const chunk = await stoppable(connection, signal, () => result.fetchChunk());
        if (!chunk || chunk.rowCount === 0) return;
        yield chunk;
      }
    } finally {
      statement?.destroySync();
    }
  }

  return { run, stream, appender: (table) => connection.createAppender(table), release };
}

/** Interrupts the connection while the signal is aborted and the work has not ended: one interrupt can come too early. */
async function stoppable<T>(connection: DuckDBConnection, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  throwIfStopped(signal);
  let again: NodeJS.Timeout | undefined;
  const stop = () => {
    connection.interrupt();
    again = setInterval(() => connection.interrupt(), INTERRUPT_EVERY_MS);
  };
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await work();
  } catch (error) {
    throw signal.aborted ? new RunStopped() : error;
  } finally {
    signal.removeEventListener("abort", stop);
    clearInterval(again);
  }
}

function report(connection: DuckDBConnection, onProgress: (share: number) => void): void {
  const { percentage } = connection.progress;
  if (percentage >= 0 && percentage <= 100) onProgress(percentage / 100);
}
