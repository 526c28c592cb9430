// Files that look like Parquet from outside: of a given size, with the format's mark at both ends. Whatever is between
// takes no room on disk.
import { open } from "node:fs/promises";

const MARK = "PAR1";

export async function writeLikeParquet(path: string, size: number): Promise<void> {
  const file = await open(path, "w");
  try {
    await file.truncate(size);
    await file.write(MARK, 0);
    await file.write(MARK, size - MARK.length);
  } finally {
    await file.close();
  }
}
