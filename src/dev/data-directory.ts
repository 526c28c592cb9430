// The data directory of an embedded server: it appears under its name complete, with its password inside, or not at all.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { EmbeddedPostgresError, explainDiskProblem } from "./embedded-postgres-error.js";
import { giveToAccount, type ServerAccount, serverEnvironment } from "./server-account.js";

/** The superuser of every data directory made here. */
export const superuser = "postgres";

/** True when there is something to start, false when it can be made; refuses a directory that is in other use. */
export async function holdsData(dataDir: string): Promise<boolean> {
  const entries = await readdir(dataDir).catch((error: NodeJS.ErrnoException): string[] => {
    if (error.code === "ENOENT") return [];
    throw explainDiskProblem(error, dataDir);
  });
  if (entries.length === 0) return false;
  if (entries.includes("PG_VERSION")) return true;
  throw new EmbeddedPostgresError(
    `${dataDir} is not empty and holds no PostgreSQL data: choose another data directory, or empty this one.`,
  );
}

/** The superuser's password and the file it stands in, which only the owner can read. */
export async function readPassword(dataDir: string): Promise<{ password: string; passwordFile: string }> {
  const passwordFile = passwordFileOf(dataDir);
  try {
    return { password: (await readFile(passwordFile, "utf8")).trim(), passwordFile };
  } catch (error) {
    throw new EmbeddedPostgresError(
      `The password file ${passwordFile} cannot be read: restore it, or choose another data directory if this one is not Postern's.`,
      { cause: error },
    );
  }
}

const passwordFileOf = (dataDir: string) => join(dataDir, "postgres.password");

/** Makes a data directory with a random superuser password; call it only under the start lock. */
export async function createDataDirectory(options: {
  dataDir: string;
  initdb: string;
  account: ServerAccount;
  signal?: AbortSignal;
}): Promise<void> {
  const { dataDir, initdb, account, signal } = options;
  const parent = dirname(dataDir);
  const workPrefix = `${dataDir}.initdb-`;
  for (const name of await readdir(parent)) // left by a start that was killed
    if (name.startsWith(basename(workPrefix)))
      await rm(join(parent, name), { recursive: true, force: true, maxRetries: 5 }); // its initdb may still be writing

  const workDir = await mkdtemp(workPrefix);
  const newDataDir = join(workDir, "data");
  const passwordFile = join(workDir, "password");
  try {
    signal?.throwIfAborted();
    await writeFile(passwordFile, randomBytes(24).toString("base64url"), { mode: 0o600 });
    await giveToAccount(workDir, account);
    const initdbArgs = [
      ...["-D", newDataDir, "--username", superuser, "--auth=scram-sha-256", `--pwfile=${passwordFile}`],
      ...["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-sync", "--no-instructions"],
    ];
    await runInitdb([...account.prefix, initdb, ...initdbArgs], account, signal);
    await rename(passwordFile, passwordFileOf(newDataDir));
    await rename(newDataDir, dataDir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EBUSY")
      throw new EmbeddedPostgresError(`${dataDir} is a mount point: choose a directory inside it.`, { cause: error });
    throw error;
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}

async function runInitdb(commandLine: string[], account: ServerAccount, signal?: AbortSignal): Promise<void> {
  const [command, ...args] = commandLine;
  const child = spawn(command!, args, {
    ...account.spawnAs,
    cwd: "/", // ours may be unreadable to the account
    env: serverEnvironment(),
    stdio: ["ignore", "pipe", "pipe"],
    detached: true, // a session of its own: Ctrl-C in our terminal is ours to answer, through the signal
  });
  const output: string[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => output.push(text));
  // Its whole group, since the servers it runs would go on writing; all of it is about to be removed.
  const giveUp = () => child.pid && process.kill(-child.pid, "SIGKILL");
  signal?.addEventListener("abort", giveUp);
  const end = await new Promise<NodeJS.ErrnoException | number | string | null>((resolve) => {
    child.once("error", resolve);
    child.once("close", (code, killedBy) => resolve(code ?? killedBy));
  });
  signal?.removeEventListener("abort", giveUp);
  signal?.throwIfAborted();
  if (end instanceof Error && end.code === "ENOENT")
    throw new EmbeddedPostgresError(
      `${command} cannot be run: the embedded PostgreSQL needs macOS, or a Linux with glibc. Use a PostgreSQL server of your own.`,
      { cause: end },
    );
  if (end instanceof Error) throw end;
  if (end !== 0) throw new EmbeddedPostgresError(`initdb ended with ${end}:\n${lastLines(output.join(""))}`);
}

/** The end of a log, short enough for an error message. */
export function lastLines(text: string): string {
  return text.trimEnd().split("\n").slice(-8).join("\n");
}
