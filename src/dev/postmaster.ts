// The server process of a data directory, found through PostgreSQL's own pid file.

import { readFile, readlink, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { EmbeddedPostgresError, explainDiskProblem } from "./embedded-postgres-error.js";
import { findRunningProcess, type RunningProcess } from "./running-process.js";
import { giveToAccount, type ServerAccount } from "./server-account.js";

/** A living PostgreSQL server process. */
export interface Postmaster extends Pick<RunningProcess, "pid" | "startedAt"> {
  /** Empty until the server has come as far as opening its socket. */
  socketDir: string;
}

/** The living server of a data directory, whoever started it. */
export async function findPostmaster(dataDir: string): Promise<Postmaster | undefined> {
  const { pid, socketDir } = await readPidFile(dataDir);
  const running = await findRunningProcess(pid);
  // The pid may meanwhile be anybody's.
  return running && (await servesDirectory(running, dataDir)) ? { ...running, socketDir } : undefined;
}

async function servesDirectory({ pid, command }: RunningProcess, dataDir: string): Promise<boolean> {
  if (!/\bpostgres( |$)/.test(command)) return false;
  // Started by other means its arguments may not name the directory, but a server always works inside it.
  return `${command} `.includes(` -D ${dataDir} `) || (await readlink(`/proc/${pid}/cwd`).catch(() => "")) === dataDir;
}

/** Where the last server of this data directory listened, if it ended without tidying up. */
export async function recordedSocketDir(dataDir: string): Promise<string> {
  return (await readPidFile(dataDir)).socketDir;
}

/**
 * Makes a pid file that belongs to no living server harmless. Call it only under the start lock.
 *
 * PostgreSQL copes with a pid that is free, but takes a zombie or an unrelated process for a running server. The file
 * is not deleted, because PostgreSQL also reads from it whether orphaned backends still use the old shared memory; its
 * pid is replaced by ours, which PostgreSQL disregards because we are the parent.
 */
export async function retirePidFile(dataDir: string, account: ServerAccount): Promise<void> {
  const { text, pid } = await readPidFile(dataDir);
  if (text === undefined) return;
  // Empty: the disk was full, or the machine went down, as it was written.
  if (text === "") return rm(pidFileOf(dataDir));
  if (!isTaken(pid)) return;
  const replacement = `${pidFileOf(dataDir)}.postern`;
  await writeFile(replacement, text.replace(/^-?\d+/, `${process.pid}`), { mode: 0o600 });
  await giveToAccount(replacement, account);
  await rename(replacement, pidFileOf(dataDir));
}

function isTaken(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Ends the server: in order if it can, harshly if it must. Resolves when the process is gone. */
export async function endPostmaster(postmaster: Pick<Postmaster, "pid" | "startedAt">): Promise<void> {
  const isGone = async () => (await findRunningProcess(postmaster.pid))?.startedAt !== postmaster.startedAt;
  // Fast shutdown, which ends sessions and writes a checkpoint; immediate shutdown; and what cannot be refused.
  const steps = [
    ["SIGINT", 30_000],
    ["SIGQUIT", 5_000],
    ["SIGKILL", 5_000],
  ] as const;
  for (const [signal, patienceMs] of steps) {
    if (await isGone()) return;
    signalIfThere(postmaster.pid, signal);
    for (const until = Date.now() + patienceMs; Date.now() < until; await delay(5)) if (await isGone()) return;
  }
  throw new EmbeddedPostgresError(`PostgreSQL (pid ${postmaster.pid}) cannot be stopped, not even with SIGKILL.`);
}

function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Lines of postmaster.pid: pid, data directory, start time, port, socket directory, address, shared memory, status. */
async function readPidFile(dataDir: string): Promise<{ text?: string; pid: number; socketDir: string }> {
  const text = await readFile(pidFileOf(dataDir), "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw explainDiskProblem(error, dataDir);
  });
  const [pid, , , , socketDir = ""] = text?.split("\n") ?? [];
  return { text, pid: Math.abs(Number(pid)), socketDir };
}

const pidFileOf = (dataDir: string) => join(dataDir, "postmaster.pid");
