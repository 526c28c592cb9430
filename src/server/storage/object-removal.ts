// Deleting a stored object (`file://`), and the directories of its execution that are empty then.
//
// R1  Nothing outside the execution's own directory below the result root is touched. Whoever writes results may leave
//     symbolic links among them, also while this runs: the way down is walked directory by directory, each opened from
//     the one above it and never through a link. Where the system has no /proc, the real path is compared instead.
// R2  An object that is gone already is deleted: a sweep that was interrupted is finished by the next.
import { constants } from "node:fs";
import { access, type FileHandle, open, realpath, rmdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { executionPrefix, requireBelow } from "../executions/result-location.js";

export interface StoredObject {
  uri: string;
  projectId: string;
  executionId: string;
}

/** Deletes the object; rejects when it lies elsewhere or cannot be deleted. */
export async function removeObject(resultRoot: string, { uri, projectId, executionId }: StoredObject): Promise<void> {
  const prefix = executionPrefix(resultRoot, { projectId, id: executionId });
  requireBelow(prefix, uri, "The ledger");
  const below = uri.slice(prefix.length).split("/");
  await descend(fileURLToPath(resultRoot), [projectId, executionId, ...below.slice(0, -1)], below.at(-1)!);
}

const OWN_DIRECTORIES = 1; // of the way down, the project's is not the execution's

/** Walks down, deletes the file, and on the way back the directories that are empty, the execution's at last. */
async function descend(root: string, directories: string[], file: string): Promise<void> {
  const opened: FileHandle[] = [];
  try {
    let at = await openDirectory(root, opened);
    const ways = [at];
    for (const name of directories) {
      at = await openDirectory(join(at, name), opened);
      ways.push(at);
    }
    await unlink(join(at, file)).catch(unlessGone);
    for (let i = directories.length - 1; i >= OWN_DIRECTORIES; i--) {
      const removed = await rmdir(join(ways[i]!, directories[i]!)).then(() => true, unlessInUse);
      if (!removed) break;
    }
  } catch (error) {
    unlessGone(error); // a directory on the way: R2
  } finally {
    await Promise.all(opened.map((handle) => handle.close()));
  }
}

/** A path that leads to the directory and no other, as long as the handle added to `opened` is open (R1). */
async function openDirectory(path: string, opened: FileHandle[]): Promise<string> {
  const isRoot = opened.length === 0;
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | (isRoot ? 0 : constants.O_NOFOLLOW));
  opened.push(handle);
  const pinned = `/proc/self/fd/${handle.fd}`;
  if (await exists(pinned)) return pinned;
  const real = await realpath(path);
  if (isRoot || real === path) return real;
  throw new Error(`${path} leads elsewhere, to ${real}.`);
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

function unlessGone(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
}

/** Another object lies there, or somebody else has removed it. */
function unlessInUse(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOTEMPTY" || code === "EEXIST") return false;
  if (code === "ENOENT") return true;
  throw error;
}
