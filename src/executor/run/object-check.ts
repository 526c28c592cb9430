// Whether a stored object is there and whole. Executions that ask about the same one at the same time share one look:
// those that waited for it in this process all hear of it at once, and each step of a look goes through the few threads
// the process has for files.
import { open } from "node:fs/promises";

const MAGIC = "PAR1";
/** Looks that have not come back, by size and path. */
const looks = new Map<string, Promise<boolean>>();

/** Readable, of its full size, and begun and ended as Parquet is: one that a crash has left empty inside is not. */
export function isWholeObject(path: string, byteCount: bigint): Promise<boolean> {
  const name = `${byteCount} ${path}`;
  const known = looks.get(name);
  if (known) return known;
  const look = lookAt(path, byteCount).finally(() => looks.delete(name));
  looks.set(name, look);
  return look;
}

async function lookAt(path: string, byteCount: bigint): Promise<boolean> {
  const { length } = MAGIC;
  try {
    const file = await open(path, "r");
    try {
      const last = Math.max(0, Number(byteCount) - length);
      const [begin, end] = await Promise.all([
        file.read(Buffer.alloc(length), 0, length, 0),
        // One byte more than there are, so that the size is seen as well.
        file.read(Buffer.alloc(length + 1), 0, length + 1, last),
      ]);
      return [begin, end].every(({ buffer, bytesRead }) => buffer.toString("latin1", 0, bytesRead) === MAGIC);
    } finally {
      // Nobody has to wait for it, and nothing was written that it could lose.
      file.close().catch(() => {});
    }
  } catch {
    return false; // gone or out of reach: it is computed again
  }
}
