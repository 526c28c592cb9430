// What /proc tells about the processes of this host. Everything here may be gone the next moment: then it is undefined.
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from "node:fs";

export interface ProcessFacts {
  pid: number;
  parent: number;
  group: number;
  session: number;
  /** One letter, as ps shows it: R, S, D, T (stopped), Z (ended, not yet waited for) … */
  state: string;
  /** Since the host began, in clock ticks: with the pid it names one process for good. */
  startedAt: string;
  /** Processor time of its own, in milliseconds. */
  cpuMs: number;
  /** That of its children that have ended and were waited for. */
  childrenCpuMs: number;
}

/** Linux counts in hundredths of a second, on every architecture it is built for today. */
const TICK_MS = 10;

const buffer = Buffer.alloc(4096);

function read(path: string): string | undefined {
  let file: number | undefined;
  try {
    file = openSync(path, "r");
    return buffer.toString("latin1", 0, readSync(file, buffer, 0, buffer.length, 0));
  } catch {
    return undefined; // the process has ended, or may not be looked at
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** The processes of this host; undefined where there is no /proc to tell. */
export function listProcesses(): number[] | undefined {
  try {
    return readdirSync("/proc")
      .filter((name) => name.charCodeAt(0) >= 49 && name.charCodeAt(0) <= 57)
      .map(Number);
  } catch {
    return undefined;
  }
}

export function readFacts(pid: number): ProcessFacts | undefined {
  const text = read(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The name in parentheses is the program's own choice: it may hold spaces and parentheses.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const number = (i: number) => Number(fields[i]);
  return {
    pid,
    state: fields[0]!,
    parent: number(1),
    group: number(2),
    session: number(3),
    cpuMs: (number(11) + number(12)) * TICK_MS,
    childrenCpuMs: (number(13) + number(14)) * TICK_MS,
    startedAt: fields[19]!,
  };
}

export interface MemoryFacts {
  residentBytes: number;
  /** Most it ever was. */
  peakBytes: number;
}

export function readMemory(pid: number): MemoryFacts | undefined {
  const text = read(`/proc/${pid}/status`);
  const kib = (name: string) => Number(text?.match(new RegExp(`^${name}:\\s+(\\d+) kB`, "m"))?.[1] ?? 0);
  return text === undefined ? undefined : { residentBytes: kib("VmRSS") * 1024, peakBytes: kib("VmHWM") * 1024 };
}

/** Memory with each shared page divided among its sharers. Slower to find out than the resident size. */
export function readProportionalBytes(pid: number): number | undefined {
  try {
    const kib = readFileSync(`/proc/${pid}/smaps_rollup`, "latin1").match(/^Pss:\s+(\d+) kB/m)?.[1];
    return kib === undefined ? undefined : Number(kib) * 1024;
  } catch {
    return undefined; // not for this user's eyes, or an older kernel
  }
}

/** The descriptors under which this process has files open, devices and /proc left out; none where there is no /proc to tell. */
export function openFiles(): number[] {
  try {
    return readdirSync("/proc/self/fd").map(Number).filter(isFile);
  } catch {
    return [];
  }
}

function isFile(descriptor: number): boolean {
  try {
    return /^\/(?!dev\/|proc\/)/.test(readlinkSync(`/proc/self/fd/${descriptor}`));
  } catch {
    return false; // closed meanwhile
  }
}
