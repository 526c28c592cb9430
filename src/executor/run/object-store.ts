// Where results go. A local directory today; another store implements the same four functions (stage in the work
// directory, publish by upload).
//
// T1  What is published is complete: it is written under another name in the same directory, flushed to disk and
//     renamed. A name that exists was written whole.
// T2  What is discarded leaves nothing behind.
// T3  A foreign object is borrowed, not taken: under a second name of the same file where the file system can do that,
//     else as a copy. Nobody writes to what is published, so the two stay the same.
import { randomBytes } from "node:crypto";
import { access, constants, copyFile, link, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { RunFailure, storageFailure } from "./failure.js";

export interface Published {
  uri: string;
  byteCount: bigint;
}

/** A result being written. */
export interface Staged {
  /** Local path to write to; nothing is there yet. */
  path: string;
  publish(): Promise<Published>;
  discard(): Promise<void>;
}

/** A foreign object that can be read here for a while. */
export interface Borrowed {
  path: string;
  giveBack(): Promise<void>;
}

/** The place one attempt may write to. */
export interface ObjectStore {
  /** Makes the place; fails with STORAGE_UNWRITABLE when it cannot be. */
  prepare(): Promise<void>;
  stage(name: string): Staged;
  /** Makes a file of another execution readable below `directory`, until it is given back. */
  borrow(path: string): Promise<Borrowed>;
  /** Where a published object can be read from on this machine. */
  pathOf(name: string): string;
  /** Directory that holds everything staged and published. */
  directory: string;
}

/** The local path of a `file://` URI; undefined when it is none. */
export function localPath(uri: string): string | undefined {
  if (!/^file:\/\/\//.test(uri)) return undefined;
  try {
    return fileURLToPath(uri);
  } catch {
    return undefined; // not a path on this platform, so no local file
  }
}

/** The store behind `ExecutionSpec.result_prefix`. */
export function openObjectStore(resultPrefix: string): ObjectStore {
  const directory = localPath(resultPrefix);
  if (directory === undefined || !resultPrefix.endsWith("/"))
    throw new RunFailure(
      "STORAGE_UNSUPPORTED",
      `This executor writes results to local directories only, not to ${JSON.stringify(resultPrefix)}; set POSTERN_RESULT_ROOT of the server to a file:// URI.`,
    );
  return fileStore(resultPrefix, resolve(directory));
}

function fileStore(prefix: string, directory: string): ObjectStore {
  const pathOf = (name: string) => join(directory, name);
  const temporary = (name: string) => join(directory, `.${name}.${randomBytes(6).toString("hex")}.tmp`);
  return {
    directory,
    pathOf,
    async prepare() {
      try {
        await mkdir(directory, { recursive: true, mode: 0o700 });
        await probe(join(directory, `.probe-${randomBytes(6).toString("hex")}`));
      } catch (error) {
        throw storageFailure((await refusalBy(directory)) ?? error, directory);
      }
    },
    async borrow(foreign) {
      const path = temporary("borrowed");
      const giveBack = () => rm(path, { force: true });
      try {
        await link(foreign, path).catch(() => copyFile(foreign, path, constants.COPYFILE_FICLONE));
      } catch (error) {
        await giveBack();
        throw storageFailure(error, path);
      }
      return { path, giveBack };
    },
    stage(name) {
      const path = temporary(name);
      const discard = () => rm(path, { force: true });
      return {
        path,
        discard,
        async publish() {
          try {
            await flush(path);
            const { size } = await stat(path);
            await rename(path, pathOf(name));
            await flush(dirname(path));
            return { uri: prefix + name, byteCount: BigInt(size) };
          } catch (error) {
            await discard();
            throw storageFailure(error, pathOf(name));
          }
        },
      };
    },
  };
}

/** Why the nearest directory that exists cannot be written; Node's own error for a read-only disk is "no such file". */
async function refusalBy(directory: string): Promise<unknown> {
  for (let place = directory; ; place = dirname(place)) {
    try {
      await access(place, constants.W_OK);
      return undefined;
    } catch (error) {
      const isAbsent = (error as NodeJS.ErrnoException).code === "ENOENT";
      if (!isAbsent || place === dirname(place)) return error;
    }
  }
}

/** A directory can exist and yet refuse writes: finding out before the work is kinder than after. */
async function probe(path: string): Promise<void> {
  const file = await open(path, "wx", 0o600);
  await file.close();
  await rm(path);
}

async function flush(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
