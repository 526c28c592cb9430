// One stack per development directory: whoever runs it leaves pid and start time in `running.json`.
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { AppError } from "../core/app-error.js";
import { findRunningProcess } from "./running-process.js";
import { withStartLock } from "./start-lock.js";

interface Holder {
  pid: number;
  startedAt: string;
}

/** Claims the directory for this process until the returned function is called; refuses when another one runs there. */
export async function claimDirectory(dir: string, signal?: AbortSignal): Promise<() => Promise<void>> {
  const path = join(dir, "running.json");
  const guarded = <T>(action: () => Promise<T>) => withStartLock(`${path}.lock`, { waitMs: 10_000, signal }, action);
  const us = await findRunningProcess(process.pid);
  await guarded(async () => {
    const holder = await readHolder(path);
    const running = holder && (await findRunningProcess(holder.pid));
    if (running && running.startedAt === holder.startedAt)
      throw new AppError(
        "precondition",
        "ALREADY_RUNNING",
        `Postern already runs in ${dir} (pid ${holder.pid}): use it, stop it with kill -INT ${holder.pid}, or choose another directory with --dir.`,
      );
    await writeFile(path, JSON.stringify({ pid: process.pid, startedAt: us?.startedAt }));
  });
  return () => rm(path, { force: true });
}

async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as Holder;
  } catch (error) {
    // Absent, or cut short by a crash: either way nobody holds the directory.
    if ((error as NodeJS.ErrnoException).code === "ENOENT" || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
