import { readFile } from "node:fs/promises";

/** The most memory a process ever had resident, in megabytes, as Linux counts it. */
export async function peakMegabytes(pid: number | "self"): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(status) ?? [];
  if (kilobytes === undefined) throw new Error("This system does not tell how much memory a process took at most.");
  return (Number(kilobytes) * 1_024) / 1e6;
}
