import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stopEmbeddedPostgres } from "../../src/dev/embedded-postgres.js";
import { findRunningProcess } from "../../src/dev/running-process.js";

const prefix = "postern-test-";

/** Makes an empty temporary directory whose name tells later runs which process it belongs to. */
export async function makeTestDirectory(): Promise<string> {
  return mkdtemp(join(tmpdir(), `${prefix}${process.pid}-`));
}

/** Removes a test directory, and stops the servers of the data directories in it. */
export async function removeTestDirectory(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true }))
    if (entry.isDirectory()) await stopEmbeddedPostgres(join(directory, entry.name));
  await rm(directory, { recursive: true, force: true });
}

/** Removes what runs that were killed have left behind, their servers included. */
export async function removeAbandonedTestDirectories(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const pid = name.startsWith(prefix) && Number.parseInt(name.slice(prefix.length), 10);
    if (!pid || (await findRunningProcess(pid))) continue;
    // Another run may be tidying up at the same time, or the directory is another user's.
    await removeTestDirectory(join(tmpdir(), name)).catch(() => {});
  }
}
