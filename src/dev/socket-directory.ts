// The directory in which a server opens its Unix socket: below the temporary directory, because socket paths must be
// short, and for its own user only. It is a function of the data directory, so that clients of a server find its
// successor at the same place.

import { createHash } from "node:crypto";
import { chmod, lstat, mkdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { EmbeddedPostgresError, explainDiskProblem } from "./embedded-postgres-error.js";
import { giveToAccount, type ServerAccount } from "./server-account.js";

/** Part of the socket's file name only: every server has a socket directory of its own. */
export const port = 5432;

const socketPathLimitBytes = process.platform === "darwin" ? 103 : 107;

/** Where the server of a data directory listens. */
export function socketDirOf(dataDir: string, account: Pick<ServerAccount, "uid">): string {
  const hash = createHash("sha256").update(dataDir).digest("hex").slice(0, 12);
  const socketDir = join(tmpdir(), `postern-${account.uid}-${hash}`);
  if (Buffer.byteLength(join(socketDir, `.s.PGSQL.${port}`)) <= socketPathLimitBytes) return socketDir;
  throw new EmbeddedPostgresError(
    `The path of the temporary directory, ${tmpdir()}, is too long for a Unix socket, which may have ` +
      `${socketPathLimitBytes} bytes in all: set TMPDIR to a shorter one, such as /tmp.`,
  );
}

/** Makes the socket directory anew, without the sockets and locks of a server that was killed. */
export async function makeSocketDir(socketDir: string, account: ServerAccount): Promise<void> {
  const former = await lstat(socketDir).catch(() => undefined);
  if (former && (!former.isDirectory() || former.uid !== account.uid))
    throw new EmbeddedPostgresError(
      `${socketDir}, the place for the database's socket, belongs to somebody else: remove it, or set TMPDIR to a directory of your own.`,
    );
  await removeSocketDir(socketDir);
  await mkdir(socketDir).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw explainDiskProblem(error, socketDir);
    throw new EmbeddedPostgresError(`The temporary directory ${tmpdir()} does not exist: create it, or set TMPDIR.`);
  });
  await chmod(socketDir, 0o700);
  await giveToAccount(socketDir, account);
}

/** Removes a socket directory; directories that do not carry our name are left alone. */
export async function removeSocketDir(socketDir: string): Promise<void> {
  if (/^postern-\d+-[0-9a-f]{12}$/.test(basename(socketDir))) await rm(socketDir, { recursive: true, force: true });
}
