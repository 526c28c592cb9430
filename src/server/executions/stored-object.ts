// Whether the object behind a URI is there: in its full size, and a Parquet file from its first bytes to its last.
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { fileURLToPath } from "node:url";

/** `broken`: gone, not the size it was, or no Parquet file any more. `unknown`: storage does not answer, and nobody should conclude anything. */
export type ObjectPresence = "whole" | "broken" | "unknown";

export async function objectPresence({ uri, byteCount }: { uri: string; byteCount: bigint }): Promise<ObjectPresence> {
  let file: FileHandle | undefined;
  try {
    const path = fileURLToPath(uri);
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const object = await file.stat({ bigint: true });
    if (!object.isFile() || object.size !== byteCount) return "broken";
    return !path.endsWith(".parquet") || (await isParquet(file, Number(byteCount))) ? "whole" : "broken";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === "ENOENT" || code === "ENOTDIR" ? "broken" : "unknown";
  } finally {
    await file?.close();
  }
}

/** What a Parquet file begins and ends with. */
const MAGIC = "PAR1";

async function isParquet(file: FileHandle, size: number): Promise<boolean> {
  const four = async (position: number) => {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAGIC.length), 0, MAGIC.length, position);
    return buffer.toString("latin1", 0, bytesRead);
  };
  return size >= 2 * MAGIC.length && (await four(0)) === MAGIC && (await four(size - MAGIC.length)) === MAGIC;
}
