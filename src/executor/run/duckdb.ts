// One DuckDB instance per execution, shut in: it reads this execution's datasets and earlier results, writes below its
// result directory and its own temporary directory, and nothing can change that afterwards.
//
// D1  No file outside the lists can be opened, no extension is installed or loaded, no setting can be changed: also not
//     by SQL that came with the plan.
// D2  One call runs one statement: text of a plan cannot smuggle in a second one.
// D3  Rows keep their order (preserve_insertion_order), so an ORDER BY survives into the file.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type DuckDBAppender,
  type DuckDBConnection,
  type DuckDBDataChunk,
  DuckDBInstance,
  type DuckDBPreparedStatement,
  type Json,
} from "@duckdb/node-api";
import { quoteText } from "../../core/scan-sql.js";
import { watchEngine } from "./engine-watch.js";
import { RunStopped, throwIfStopped } from "./failure.js";
import { parseProfile, type QueryProfile } from "./query-profile.js";
import { type QueryShare, watchShare } from "./query-share.js";

export interface EngineOptions {
  memoryLimitMb: number;
  /** Most that is spilled; undefined: nine tenths of what is free there. */
  tempMaxMb: number | undefined;
  threads: number;
  /** Spilled data goes here. */
  temporaryDirectory: string;
  /** Profiles of queries go here; there already. */
  profileDirectory: string;
  /** Files that may be read. */
  readablePaths: string[];
  /** Directory below which everything may be read and written. */
  resultDirectory: string;
}

export interface Engine {
  /** A connection; give it back with `release`. A region takes two at most. */
  take(): EngineConnection;
  /** Bytes DuckDB holds now, for all queries together; the last known figure while it is being asked for. */
  memoryBytes(): bigint;
  close(): Promise<void>;
}

export interface RunOptions {
  signal: AbortSignal;
  /** Called a few times a second with the share of the work done, as far as DuckDB can tell. */
  onProgress?: (share: QueryShare | undefined) => void;
}

export interface EngineConnection {
  /** Runs one statement to its end; resolves with the first row's values. Rejects with RunStopped when stopped. */
  run(sql: string, options: RunOptions): Promise<Json[]>;
  /** Gives the rows of one query chunk by chunk, without holding more than a few; `opening` holds up to the first. */
  stream(sql: string, signals: { opening: AbortSignal; signal: AbortSignal }): AsyncIterable<DuckDBDataChunk>;
  /** For asking how far a statement is while it runs here. */
  watch(sql: string): () => QueryShare | undefined;
  appender(table: string): Promise<DuckDBAppender>;
  /** What DuckDB has noted of the statement that has just ended; undefined when it has not. */
  profile(): Promise<QueryProfile | undefined>;
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
  const watching = await instance.connect();
  const profileOf = (n: number) => join(options.profileDirectory, `${n}.json`);
  const settings = connections.map((_, n) => [
    "TimeZone = 'UTC'",
    "enable_progress_bar = true",
    "enable_progress_bar_print = false",
    "progress_bar_time = 0",
    "enable_profiling = 'json'",
    `profiling_output = ${quoteText(profileOf(n))}`,
    `custom_profiling_settings = ${quoteText(JSON.stringify(METRICS))}`,
  ]);
  await Promise.all(connections.map((connection, n) => connection.run(settings[n]!.map((s) => `SET ${s};`).join(" "))));
  const forAll = [
    // Given when the instance is made, it would be shown and not enforced.
    ...(options.tempMaxMb === undefined ? [] : [`max_temp_directory_size = '${options.tempMaxMb}MB'`]),
    `allowed_paths = ${list(options.readablePaths)}`,
    `allowed_directories = ${list([options.resultDirectory, options.profileDirectory])}`,
    "enable_external_access = false",
    "lock_configuration = true",
  ];
  await connections[0]!.run(forAll.map((setting) => `SET GLOBAL ${setting};`).join(" "));
  const free = connections.map((connection, n) => ({ connection, profile: profileOf(n) }));
  const { memoryBytes, explain, ...watch } = watchEngine(watching);
  return {
    memoryBytes,
    take() {
      const one = free.pop();
      if (!one) throw new Error("Every connection of this execution is in use.");
      return connectionOf({ ...one, explain, release: () => void free.push(one) });
    },
    async close() {
      await watch.close();
      for (const connection of connections) connection.closeSync();
      instance.closeSync();
    },
  };
}

/** Of a statement that takes longer to plan nobody asks the plan. */
const MOST_PLANNING_MS = 100;

/** What a profile holds. */
const METRICS = Object.fromEntries(
  ["OPERATOR_TYPE", "OPERATOR_CARDINALITY", "EXTRA_INFO", "SYSTEM_PEAK_BUFFER_MEMORY"].map((name) => [name, "true"]),
);

const list = (paths: string[]) => `[${paths.map(quoteText).join(", ")}]`;

function connectionOf(deps: {
  connection: DuckDBConnection;
  /** File of the profile. */
  profile: string;
  explain(sql: string): Promise<string> | undefined;
  release(): void;
}): EngineConnection {
  const { connection, release } = deps;
  /** The statement that runs here. */
  let current: { sql: string; plannedMs: number } | undefined;

  async function prepare(sql: string): Promise<DuckDBPreparedStatement> {
    const startedAt = performance.now();
    const statement = await connection.prepare(sql);
    current = { sql, plannedMs: performance.now() - startedAt };
    return statement;
  }

  function watch(sql: string): () => QueryShare | undefined {
    // What took long to plan is not planned once more for the sake of figures.
    const explain = (plannedMs: number) =>
      plannedMs > MOST_PLANNING_MS ? Promise.reject(new Error("It takes long to plan.")) : deps.explain(sql);
    const share = watchShare({ explain: () => explain(current!.plannedMs), progress: () => connection.progress });
    return () => (current?.sql === sql ? share() : undefined);
  }

  async function run(sql: string, { signal, onProgress }: RunOptions): Promise<Json[]> {
    const share = watch(sql);
    const reader = onProgress && setInterval(() => onProgress(share()), PROGRESS_EVERY_MS);
    try {
      return await stoppable(connection, signal, async () => {
        const statement = await prepare(sql);
        try {
          return (await (await statement.run()).getRowsJson())[0] ?? [];
        } finally {
          current = undefined;
          statement.destroySync();
        }
      });
    } finally {
      clearInterval(reader);
    }
  }

  async function* stream(
    sql: string,
    { opening, signal }: { opening: AbortSignal; signal: AbortSignal },
  ): AsyncIterable<DuckDBDataChunk> {
    let statement: DuckDBPreparedStatement | undefined;
    try {
      const result = await stoppable(connection, opening, async () => {
        statement = await prepare(sql);
        return statement.stream();
      });
      for (let until = opening; ; until = signal) {
        const chunk = await stoppable(connection, until, () => result.fetchChunk());
        if (!chunk || chunk.rowCount === 0) return;
        yield chunk;
      }
    } finally {
      current = undefined;
      statement?.destroySync();
    }
  }

  const profile = async () => {
    const text = await readFile(deps.profile, "utf8").catch(() => undefined); // figures are worth no failure
    return text === undefined ? undefined : parseProfile(text);
  };

  return { run, stream, watch, appender: (table) => connection.createAppender(table), profile, release };
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
