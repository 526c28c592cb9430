// How much disk the queries of one slot may take for want of memory, so that no run leaves the others without any.
import { statfs } from "node:fs/promises";
import type { ExecutorConfig } from "./config.js";

const MB = 1024 * 1024;

/** In megabytes, at least one: the slot's share of the limit, else of nine tenths of what is free in the directory now. */
export async function tempShareMb(
  { tempMaxMb, slots }: Pick<ExecutorConfig, "tempMaxMb" | "slots">,
  directory: string,
): Promise<number> {
  return Math.max(1, Math.floor((tempMaxMb ?? (await freeMb(directory)) * 0.9) / slots));
}

async function freeMb(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  return (bavail * bsize) / MB;
}
