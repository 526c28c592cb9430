// One statement of a bare DuckDB in a process of its own, and the most memory that process ever had.
import { execFile } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { DuckDBInstance } from "@duckdb/node-api";
import { peakMegabytes } from "./peak-memory.js";

interface BareQuery {
  sql: string;
  memoryLimitMb: number;
  threads: number;
  /** For what is spilled. */
  directory: string;
}

/** Resolves with megabytes. */
export async function bareQuery(query: BareQuery): Promise<number> {
  const program = [...process.execArgv, fileURLToPath(import.meta.url), JSON.stringify(query)];
  const { stdout } = await promisify(execFile)(process.execPath, program, { timeout: 20 * 60_000 });
  return Number(stdout);
}

async function run({ sql, memoryLimitMb, threads, directory }: BareQuery): Promise<void> {
  const temporary = join(directory, "bare-process-spill");
  await mkdir(temporary, { recursive: true });
  const instance = await DuckDBInstance.create(":memory:", {
    memory_limit: `${memoryLimitMb}MB`,
    threads: String(threads),
    temp_directory: temporary,
  });
  const connection = await instance.connect();
  await connection.run(sql);
  process.stdout.write(String(await peakMegabytes("self")));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await run(JSON.parse(process.argv[2]!) as BareQuery);
