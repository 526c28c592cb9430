// How much memory another process holds, looked at again and again: for those whose own limits do not count everything.
// DuckDB's, for one, leaves out the texts its functions make, so repeat() alone could take all memory of a machine.
import { readFileSync } from "node:fs";

const EVERY_MS = 20;

/** Calls `exceeded` once the process holds more than so many bytes; ends when told to. Where there is no /proc it sees nothing. */
export function watchMemory(pid: number | undefined, mostBytes: number, exceeded: () => void): () => void {
  const timer = setInterval(() => {
    if (residentBytes(pid) <= mostBytes) return;
    clearInterval(timer);
    exceeded();
  }, EVERY_MS);
  return () => clearInterval(timer);
}

/** 0 when it cannot be told. */
function residentBytes(pid: number | undefined): number {
  try {
    const [, kib = "0"] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1")) ?? [];
    return Number(kib) * 1024;
  } catch {
    // It has ended, or this is not Linux.
    return 0;
  }
}
