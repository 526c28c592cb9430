// A lock between processes of one machine, for the seconds in which a data directory is prepared and its server started.
//
// The lock is a symbolic link whose target names the holder: making one is atomic, carries its content from the first
// moment, and fails when it exists. A holder that died is recognised by pid *and* start time, so a recycled pid does
// not keep the lock alive.

import { randomUUID } from "node:crypto";
import { readlink, rename, symlink, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { EmbeddedPostgresError, explainDiskProblem } from "./embedded-postgres-error.js";
import { findRunningProcess } from "./running-process.js";

const pollMs = 25;

/** Runs `action` while no other process on this machine runs one under the same lock path. */
export async function withStartLock<T>(
  lockPath: string,
  options: { waitMs: number; signal?: AbortSignal },
  action: () => Promise<T>,
): Promise<T> {
  const us = await findRunningProcess(process.pid);
  const token = `${process.pid}|${us?.startedAt}|${randomUUID()}`;
  const deadline = Date.now() + options.waitMs;
  while (!(await take(lockPath, token))) {
    options.signal?.throwIfAborted();
    if (Date.now() > deadline)
      throw new EmbeddedPostgresError(
        `Another process has been starting the database for ${options.waitMs / 1000} s. ` +
          `If none is, remove ${lockPath} and try again.`,
      );
    await delay(pollMs);
  }
  try {
    return await action();
  } finally {
    if ((await holderOf(lockPath)) === token) await unlink(lockPath);
  }
}

async function take(lockPath: string, token: string): Promise<boolean> {
  try {
    await symlink(token, lockPath);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw explainDiskProblem(error, dirname(lockPath));
  }
  const holder = await holderOf(lockPath);
  if (holder !== undefined && !(await isAlive(holder))) await discard(lockPath, holder);
  return false;
}

async function holderOf(lockPath: string): Promise<string | undefined> {
  return readlink(lockPath).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
}

async function isAlive(holder: string): Promise<boolean> {
  const [pid, startedAt] = holder.split("|");
  return (await findRunningProcess(Number(pid)))?.startedAt === startedAt;
}

/** Removes a dead holder's lock, and gives it back if a living process took it in between. */
async function discard(lockPath: string, deadHolder: string): Promise<void> {
  const aside = `${lockPath}.${randomUUID()}`;
  try {
    await rename(lockPath, aside);
  } catch {
    return; // somebody else discarded it first
  }
  const holder = await holderOf(aside);
  // Should a third process have taken the lock in this instant, PostgreSQL's own pid file still keeps the two apart.
  if (holder !== undefined && holder !== deadHolder) await symlink(holder, lockPath).catch(() => {});
  await unlink(aside);
}
