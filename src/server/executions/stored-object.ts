// Whether the object behind a URI is there: in its full size, and a Parquet file from its first bytes to its last.
import { constants } from "node:fs";
import { access, type FileHandle, open } from "node:fs/promises";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** `broken`: gone, not the size it was, or no Parquet file any more. `unknown`: storage does not answer, and nobody should conclude anything. */
export type ObjectPresence = "whole" | "broken" | "unknown";

export async function objectPresence({ uri, byteCount }: { uri: string; byteCount: bigint }): Promise<ObjectPresence> {
  const path = fileURLToPath(uri);
  let file: FileHandle | undefined;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const object = await file.stat({ bigint: true });
    if (!object.isFile() || object.size !== byteCount) return "broken";
    return !path.endsWith(".parquet") || (await isParquet(file, Number(byteCount))) ? "whole" : "broken";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const isGone = code === "ENOENT" || code === "ENOTDIR";
    return isGone && (await isMounted(path)) ? "broken" : "unknown";
  } finally {
    await file?.close();
  }
}

/**
 * Whether the project's directory is there, three above the object (result-location.ts). Nobody removes it, so without it
 * all of storage is away, as when a volume is not mounted, and that says nothing about one object.
 */
const isMounted = (path: string): Promise<boolean> =>
  access(resolve(path, "../../..")).then(
    () => true,
    () => false,
  );

/** What a Parquet file begins and ends with. */
const MAGIC = "PAR1";

async function isParquet(file: FileHandle, size: number): Promise<boolean> {
  const four = async (position: number) => {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAGIC.length), 0, MAGIC.length, position);
    return buffer.toString("latin1", 0, bytesRead);
  };
  return size >= 2 * MAGIC.length && (await four(0)) === MAGIC && (await four(size - MAGIC.length)) === MAGIC;
}
