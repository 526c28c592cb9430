import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";

/** A process that is alive; zombies are not. */
export interface RunningProcess {
  pid: number;
  /** Opaque; together with the pid it names the process for as long as the machine is up. */
  startedAt: string;
  /** Program and arguments, joined with spaces. */
  command: string;
}

/** Looks a process up; undefined when it has gone or is a zombie that nobody has waited for yet. */
export async function findRunningProcess(pid: number): Promise<RunningProcess | undefined> {
  if (!Number.isSafeInteger(pid) || pid < 1) return undefined;
  return process.platform === "linux" ? findInProc(pid) : findWithPs(pid);
}

async function findInProc(pid: number): Promise<RunningProcess | undefined> {
  try {
    const [stat, commandLine] = await Promise.all([
      readFile(`/proc/${pid}/stat`, "utf8"),
      readFile(`/proc/${pid}/cmdline`, "utf8"),
    ]);
    // The program's name stands in parentheses and may itself contain spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (/^[ZXx]$/.test(fields[0]!)) return undefined;
    return { pid, startedAt: fields[19]!, command: commandLine.replaceAll("\0", " ").trim() };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw error;
  }
}

async function findWithPs(pid: number): Promise<RunningProcess | undefined> {
  const columns = ["-ww", "-o", "stat=,lstart=,command=", "-p", `${pid}`];
  // ps leaves with 1 when there is no such process, which is an answer and not a failure.
  const { stdout } = await promisify(execFile)("ps", columns).catch(() => ({ stdout: "" }));
  const [, state, startedAt, command] = /^(\S+)\s+((?:\S+\s+){4}\S+)\s+(.*)$/m.exec(stdout.trim()) ?? [];
  if (!state || !startedAt || state.startsWith("Z")) return undefined;
  return { pid, startedAt, command: command ?? "" };
}
