// Under which account PostgreSQL runs. It refuses to run as root, and in containers we often are.
//
// An existing data directory keeps its owner. Otherwise root runs the server in a user namespace, where it is an
// ordinary user to itself while its files belong to root, or, where namespaces are forbidden, as `nobody`.

import { execFile } from "node:child_process";
import { lchown, lstat, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { EmbeddedPostgresError } from "./embedded-postgres-error.js";

/** How to start PostgreSQL's programs, and whose its files must be. */
export interface ServerAccount {
  /** Owner of the data directory and of the socket directory, as seen from this process. */
  uid: number;
  gid: number;
  /** Command and arguments to put before the program; it replaces itself by the program, so the pid stays. */
  prefix: string[];
  /** Set when the child has to become another user. */
  spawnAs: { uid?: number; gid?: number };
}

/** Everything a child sees of our environment: nothing of the caller's settings or secrets can leak into the server. */
export function serverEnvironment(): NodeJS.ProcessEnv {
  // macOS has no C.UTF-8, and there an unknown locale makes PostgreSQL refuse to start.
  const locale = process.platform === "darwin" ? "en_US.UTF-8" : "C.UTF-8";
  return { PATH: process.env.PATH ?? "/usr/local/bin:/usr/bin:/bin", LANG: locale, LC_ALL: locale, TZ: "UTC" };
}

/** Chooses the account for a data directory, which need not exist yet; `program` is run once with --version as a probe. */
export async function chooseServerAccount(dataDir: string, program: string): Promise<ServerAccount> {
  const [uid, gid] = [process.getuid!(), process.getgid!()];
  const owner = await stat(dataDir).catch(() => undefined);
  if (uid !== 0) {
    if (owner && owner.uid !== uid)
      throw new EmbeddedPostgresError(
        `${dataDir} belongs to user ${owner.uid} and you are user ${uid}: start as that user, or choose another data directory.`,
      );
    return { uid, gid, prefix: [], spawnAs: {} };
  }
  if (owner && owner.uid !== 0) return otherUser(owner.uid, owner.gid);
  const namespace = {
    uid,
    gid,
    prefix: ["unshare", "--user", "--map-user=1000", "--map-group=1000"],
    spawnAs: {},
  };
  if (await canRun(namespace, program)) return namespace;
  const nobody = await findNobody();
  if (await canRun(nobody, program)) return nobody;
  throw new EmbeddedPostgresError(
    "PostgreSQL does not run as root, and neither a user namespace (unshare --user) nor the user nobody can run " +
      `${program}. Start as an ordinary user, allow user namespaces, or install where everybody may read.`,
  );
}

/** Gives files that we have just made, or that root made earlier, to the account. */
export async function giveToAccount(path: string, account: ServerAccount): Promise<void> {
  if (account.uid === process.getuid!()) return;
  const entry = await lstat(path);
  if (entry.uid !== account.uid) await lchown(path, account.uid, account.gid);
  if (entry.isDirectory()) for (const name of await readdir(path)) await giveToAccount(join(path, name), account);
}

function otherUser(uid: number, gid: number): ServerAccount {
  return { uid, gid, prefix: [], spawnAs: { uid, gid } };
}

async function canRun(account: ServerAccount, program: string): Promise<boolean> {
  const [command, ...args] = [...account.prefix, program, "--version"];
  return promisify(execFile)(command!, args, { env: serverEnvironment(), cwd: "/", ...account.spawnAs }).then(
    () => true,
    () => false,
  );
}

async function findNobody(): Promise<ServerAccount> {
  const accounts = await readFile("/etc/passwd", "utf8").catch(() => "");
  const [, uid, gid] = /^nobody:[^:]*:(\d+):(\d+):/m.exec(accounts) ?? [];
  return otherUser(Number(uid ?? 65534), Number(gid ?? 65534));
}
