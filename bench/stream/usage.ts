// What processes cost, read from /proc (Linux only; elsewhere the notes are left out and memory cannot be judged).
import { readdir, readFile } from "node:fs/promises";

/** Ticks of /proc/<pid>/stat per second on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** CPU seconds a process has used so far; 0 when there is no telling. */
export async function cpuSeconds(pid: number): Promise<number> {
  const fields = await statOf(pid);
  return fields ? (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND : 0;
}

/** The same of a process and its living children, together with those it has waited for. */
export async function familyCpuSeconds(pid: number): Promise<number> {
  const pids = (await readdir("/proc").catch(() => [])).filter((name) => /^\d+$/.test(name)).map(Number);
  let ticks = 0;
  for (const one of pids) {
    const fields = await statOf(one);
    if (one === pid && fields) for (const n of [11, 12, 13, 14]) ticks += Number(fields[n]);
    else if (fields && Number(fields[1]) === pid) ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS_PER_SECOND;
}

/** Resident memory in MB (10^6 bytes). */
export async function residentMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return (Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1_024) / 1e6;
}

/** The fields of /proc/<pid>/stat after the program's name: state, parent, …, utime (11), stime, cutime, cstime. */
async function statOf(pid: number): Promise<string[] | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined); // it has ended
  return text?.slice(text.lastIndexOf(")") + 2).split(" ");
}

/** CPU seconds that processes used while something ran. */
export interface Used {
  server: number;
  load: number;
  postgres: number;
  /** How long it ran. */
  seconds: number;
}

/** Runs something and tells what it cost the processes it made work. */
export async function measureUse<Result>(
  pids: { server?: number; load?: number; postgres?: number },
  run: () => Promise<Result>,
): Promise<{ result: Result; used: Used }> {
  const read = async () => ({
    server: pids.server ? await cpuSeconds(pids.server) : 0,
    load: pids.load ? await cpuSeconds(pids.load) : 0,
    postgres: pids.postgres ? await familyCpuSeconds(pids.postgres) : 0,
  });
  const before = await read();
  const startedAt = performance.now();
  const result = await run();
  const seconds = (performance.now() - startedAt) / 1_000;
  const after = await read();
  const used = (name: keyof typeof before) => after[name] - before[name];
  return { result, used: { server: used("server"), load: used("load"), postgres: used("postgres"), seconds } };
}

const PROCESSES = ["server", "load", "postgres"] as const;

/** `cores: server 0.93, load 0.41, postgres 0.71`. */
export const coresOf = (used: Used): string =>
  `cores: ${PROCESSES.map((name) => `${name} ${(used[name] / used.seconds).toFixed(2)}`).join(", ")}`;

/** `server 41, load 38, postgres 20 us of CPU` for each of `count` things done. */
export const costOf = (used: Used, count: number): string =>
  `${PROCESSES.map((name) => `${name} ${((used[name] * 1e6) / count).toFixed(1)}`).join(", ")} us of CPU each`;
