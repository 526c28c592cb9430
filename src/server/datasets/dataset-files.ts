// The files behind datasets: which may be registered in place, how uploads are kept, what a file's content is.
//
// DF1  Nothing tells whether a file outside the opened directories exists: one sentence answers for all of them, also
//      where a symbolic link inside leads out.
// DF2  A file that changes while it is read is refused: hash, schema and count always speak of the same bytes.
// DF3  An upload becomes visible by a rename, whole and on disk; whatever ends it before removes it.
import { createHash } from "node:crypto";
import { constants, type Stats } from "node:fs";
import { type FileHandle, lstat, mkdir, open, readdir, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, normalize, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { AppError, invalid } from "../../core/app-error.js";
import { newId } from "../../core/ids.js";
import type { FileFormat } from "../../core/plan.js";
import { sniffFile } from "./dataset-sniffing.js";
import type { FileContent } from "./type-fitting.js";

/** Everything that is stored about a file. */
export interface InspectedFile extends FileContent {
  path: string;
  contentHash: string;
  byteCount: bigint;
  modifiedAt: Date;
}

/** The path of a file that may be registered in place, without symbolic links; refuses everything else. */
export async function registrablePath(uri: string, roots: readonly string[]): Promise<string> {
  const path = normalize(pathOf(uri));
  const realRoots = await Promise.all(roots.map((root) => realpath(root).catch(() => undefined)));
  const opened = realRoots.filter((root) => root !== undefined);
  if (![...roots.map(normalize), ...opened].some((root) => isBelow(path, root))) throw outside();
  const real = await locate(path, opened);
  const stats = await stat(real).catch(asUnreadableFile);
  if (!stats.isFile()) throw invalid(`${JSON.stringify(path)} is no regular file; name the file itself.`);
  return real;
}

/** Hashes and sniffs a file; refuses it when it changes meanwhile. */
export async function inspectFile(path: string, format: FileFormat, signal: AbortSignal): Promise<InspectedFile> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch(asUnreadableFile);
  try {
    const before = await file.stat();
    const contentHash = await hashOf(file, signal);
    const content = await sniffFile(path, format, signal);
    const after = await stat(path).catch(() => undefined);
    if (!after || !sameFile(before, after))
      throw new AppError("precondition", "DATASET_CHANGED", "The file changed while it was read; try again.");
    return { ...content, path, contentHash, byteCount: BigInt(before.size), modifiedAt: before.mtime };
  } finally {
    await file.close();
  }
}

/** True when the file still has the size and modification time that were stored. */
export async function isUnchanged(version: { uri: string; byteCount: bigint; modifiedAt: Date }): Promise<boolean> {
  const stats = await stat(fileURLToPath(version.uri)).catch(() => undefined); // gone or out of reach: not as it was
  return (
    stats?.isFile() === true &&
    BigInt(stats.size) === version.byteCount &&
    stats.mtime.getTime() === version.modifiedAt.getTime()
  );
}

export const uriOf = (path: string): string => pathToFileURL(path).href;

/** An upload while it is not yet a dataset's file. */
export interface Upload {
  path: string;
  /**
   * Makes the file `<directory>/<dataset id>/<name>`, or uses the one that is there, if it holds what its name says;
   * tells whether there was none. The name begins with the content's hash.
   */
  keepAs(datasetId: string, name: string): Promise<{ path: string; isNew: boolean }>;
  /** Undoes `keepAs`: the file is an upload again. */
  takeBack(path: string): Promise<void>;
  /** Removes what was not kept. */
  discard(): Promise<void>;
}

const UPLOAD_PREFIX = ".upload-";

/** Writes the bytes to a new file below `directory`, and removes it again unless they are as many as announced. */
export async function receiveUpload(
  chunks: AsyncIterable<Buffer>,
  { directory, ending, byteCount }: { directory: string; ending: string; byteCount: number },
): Promise<Upload> {
  const path = join(directory, `${UPLOAD_PREFIX}${newId()}.${ending}`);
  const discard = () => rm(path, { force: true });
  try {
    await mkdir(directory, { recursive: true });
    const file = await open(path, "wx", 0o640);
    try {
      let written = 0;
      for await (const chunk of chunks) {
        written += chunk.length;
        if (written > byteCount)
          throw invalid(`The upload holds more than the ${byteCount} bytes its header announced.`);
        await file.writeFile(chunk);
      }
      if (written < byteCount) throw invalid(`The upload ended after ${written} of ${byteCount} bytes; send it again.`);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    await discard().catch(() => {}); // what went wrong first says more
    throw explainStorage(error);
  }
  const keepAs = async (datasetId: string, name: string) => {
    const target = join(directory, datasetId, name);
    const there = await contentHashAt(target);
    if (there !== undefined && name.startsWith(there)) return { path: target, isNew: false };
    const isNew = there === undefined;
    try {
      // What is there is named by its hash and does not have it: it was damaged, and these bytes mend it.
      await mkdir(dirname(target), { recursive: true });
      await rename(path, target);
      await syncDirectory(dirname(target));
    } catch (error) {
      throw explainStorage(error);
    }
    return { path: target, isNew };
  };
  const takeBack = (target: string) => rename(target, path);
  return { path, keepAs, takeBack, discard };
}

/** Removes what uploads left when a server died in the middle, older than a day; returns how many. */
export async function removeAbandonedUploads(datasetsDirectory: string, now: Date): Promise<number> {
  const found = await readdir(datasetsDirectory, { recursive: true }).catch(() => []); // no uploads yet
  let removed = 0;
  for (const name of found.filter((one) => basename(one).startsWith(UPLOAD_PREFIX))) {
    const path = join(datasetsDirectory, name);
    const stats = await stat(path).catch(() => undefined); // another replica was faster
    if (!stats || now.getTime() - stats.mtimeMs < 24 * 60 * 60 * 1000) continue;
    await rm(path, { force: true });
    removed++;
  }
  return removed;
}

function pathOf(uri: string): string {
  const wrong = () =>
    invalid(`${JSON.stringify(uri.slice(0, 200))} is no file URI; write file:// and an absolute path.`);
  if (!/^file:\/\/(localhost)?\//i.test(uri) || /%00/.test(uri) || uri.includes("\0")) throw wrong();
  try {
    const path = fileURLToPath(uri.replace(/^file:\/\/localhost\//i, "file:///"));
    if (isAbsolute(path)) return path;
  } catch (cause) {
    throw invalid(wrong().message, cause);
  }
  throw wrong();
}

/** DF1: follows every link of `path` and refuses as soon as it is known to lead out, before saying anything else. */
async function locate(path: string, roots: readonly string[]): Promise<string> {
  try {
    const real = await realpath(path);
    if (roots.some((root) => real === root || isBelow(real, root))) return real;
  } catch (error) {
    // What is there by name but leads nowhere is a link; where it wanted to go is not told.
    if (await lstat(path).catch(() => undefined)) throw outside();
    await locate(dirname(path), roots);
    return asUnreadableFile(error);
  }
  throw outside();
}

const isBelow = (path: string, directory: string): boolean =>
  path.startsWith(directory.endsWith(sep) ? directory : directory + sep);

const outside = () =>
  new AppError(
    "invalid",
    "URI_OUTSIDE_PREFIX",
    "Files there may not be registered in place: the server's operator opens directories with POSTERN_DATASET_ROOTS. Upload the file instead.",
  );

const sameFile = (a: Stats, b: Stats): boolean =>
  a.ino === b.ino && a.dev === b.dev && a.size === b.size && a.mtimeMs === b.mtimeMs;

/** The hash of a file's bytes; undefined when there is none that can be read. */
async function contentHashAt(path: string): Promise<string | undefined> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch(() => undefined);
  if (!file) return undefined;
  try {
    return await hashOf(file, new AbortController().signal);
  } finally {
    await file.close();
  }
}

async function hashOf(file: FileHandle, signal: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  const stream = file.createReadStream({ autoClose: false, start: 0, highWaterMark: 1024 * 1024, signal });
  try {
    for await (const chunk of stream) hash.update(chunk as Buffer);
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new AppError("cancelled", "UNAVAILABLE", "The call ended before the file was read; nothing was stored.");
  }
  return hash.digest("hex");
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function asUnreadableFile(error: unknown): never {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOENT" || code === "ENOTDIR") throw invalid("There is no such file; check the path.", error);
  if (code === "EACCES" || code === "EPERM")
    throw invalid("The server may not read this file; let its account read it, or upload it.", error);
  throw error;
}

function explainStorage(error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC" || code === "EDQUOT")
    return new AppError("exhausted", "STORAGE_FULL", "The server's storage is full: ask its operator to make room.", {
      cause: error,
    });
  if (code === "EACCES" || code === "EPERM" || code === "EROFS" || code === "ENOTDIR")
    return new AppError(
      "unavailable",
      "UNAVAILABLE",
      "The server cannot write to its storage: its operator must make POSTERN_RESULT_ROOT writable.",
      { cause: error },
    );
  return error;
}

/** The refusal of an upload whose header announces more than is allowed. */
export const tooLarge = (maxBytes: number, announced: bigint): AppError =>
  new AppError(
    "exhausted",
    "QUOTA_EXCEEDED",
    `The file is larger than the ${maxBytes} bytes an upload may have; split it, or ask the server's operator to raise POSTERN_MAX_UPLOAD_BYTES.`,
    { detail: { kind: "QuotaExceeded", quota: "upload bytes", limit: BigInt(maxBytes), used: announced } },
  );
