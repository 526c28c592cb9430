// A DuckDB in memory that knows SQL and nothing else: no file, no network, no extension, no setting that can be
// changed, no table. Statements only describe; none makes anything, so calls leave nothing for each other.
//
// B1  Each call has a connection of its own, closed at its end.
// B2  Nothing here ends a call that takes too long, because DuckDB hears no interrupt while it binds: the database lives
//     in a process of its own, which is killed (binding-child.ts).
import { type DuckDBConnection, DuckDBInstance } from "@duckdb/node-api";

const MEMORY_LIMIT = "256MB";

export interface BindingDatabase {
  /** Runs statements on a fresh connection. */
  use<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T>;
  close(): void;
}

export async function openBindingDatabase(): Promise<BindingDatabase> {
  const instance = await openInstance();
  return {
    async use(work) {
      const connection = await instance.connect();
      try {
        return await work(connection);
      } finally {
        connection.closeSync();
      }
    },
    close: () => instance.closeSync(),
  };
}

async function openInstance(): Promise<DuckDBInstance> {
  const instance = await DuckDBInstance.create(":memory:", {
    threads: "1",
    memory_limit: MEMORY_LIMIT,
    max_temp_directory_size: "0B",
    enable_external_access: "false",
    allow_community_extensions: "false",
    autoinstall_known_extensions: "false",
    autoload_known_extensions: "false",
  });
  const connection = await instance.connect();
  try {
    await connection.run("SET GLOBAL TimeZone = 'UTC'");
    await connection.run("SET GLOBAL lock_configuration = true");
  } finally {
    connection.closeSync();
  }
  return instance;
}
