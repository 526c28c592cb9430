// All processes that come from one child, as the host sees them: stopped, continued and killed together, measured, and
// ended when together they take more than they may.
//
// T1  A process belongs to the tree when its parent did at the moment it was seen, or when it is in the child's process
//     group or session. Once in, it stays in, whatever group, session or parent it has later. Inside a process
//     namespace that is all of them; without one, a process whose parents end between two looks can get away.
// T2  A process is known by its pid and the time it started, so that a signal never hits another that got its number.
// T3  `pause` and `kill` go on until a look around shows no process that is not stopped or killed.
//
// Where the host has no /proc there are only signals to the process group, and no limits from here.
import { listProcesses, type ProcessFacts, readFacts, readMemory, readProportionalBytes } from "./process-files.js";

/** What all processes of a tree may take together. */
export interface TreeLimits {
  memoryBytes: number;
  processes: number;
  /** Processors used on average, after the first `cpuBurstMs` of processor time. */
  cpus: number;
  cpuBurstMs: number;
}

export type Limit = "memory" | "processes" | "cpu";

export interface ProcessTree {
  /** Stops every process where it is. Takes effect before it returns, within milliseconds. */
  pause(): void;
  resume(): void;
  /** Kills every process; harmless when they have ended. */
  kill(): void;
  /** Most memory the whole tree was seen to use; 0 where that cannot be known. */
  peakMemoryBytes(): number;
  /** Processor time of the whole tree; 0 where that cannot be known. */
  cpuMs(): number;
  /** The limit that ended the tree. */
  readonly ended: { limit: Limit } | undefined;
  /** Begins to measure, and to enforce the limits. */
  watch(): void;
  /** To be called when the child itself has ended: kills what it left behind, and stops watching. */
  finish(): void;
  /** Processes that are still there, the child included. */
  alive(): number[];
}

/** Whether trees can be watched here; without, only the process group is in reach. */
export const canWatchTrees = (): boolean => readFacts(process.pid) !== undefined;

const LOOK_MS = 100;
/** Looks around in `pause` and `kill`; the first dozen follow one another at once, the others after a millisecond. */
const MOST_LOOKS = 60;
const QUICK_LOOKS = 12;

export function createProcessTree(child: { pid: number; limits: TreeLimits; now?: () => number }): ProcessTree {
  return canWatchTrees() ? new WatchedTree(child) : groupOnly(child.pid);
}

class WatchedTree implements ProcessTree {
  readonly #root: number;
  readonly #limits: TreeLimits;
  readonly #now: () => number;
  /** Members by pid, with their start time (T2). */
  readonly #members = new Map<number, string>();
  /** Processes that were looked at before, member or not. */
  #seen = new Set<number>();
  #timer: NodeJS.Timeout | undefined;
  #watchedSince = 0;
  /** Of members, as last seen; of those that are gone, in one sum. */
  readonly #cpuMsOf = new Map<number, number>();
  #endedCpuMs = 0;
  #cpuMs = 0;
  #peakBytes = 0;
  #paused = false;
  #finished = false;
  #ended: { limit: Limit } | undefined;

  constructor({ pid, limits, now = Date.now }: { pid: number; limits: TreeLimits; now?: () => number }) {
    this.#root = pid;
    this.#limits = limits;
    this.#now = now;
    const facts = readFacts(pid);
    if (facts) this.#members.set(pid, facts.startedAt);
  }

  get ended() {
    return this.#ended;
  }

  watch(): void {
    if (this.#timer || this.#finished) return;
    this.#watchedSince = this.#now();
    this.#timer = setInterval(() => this.#measure(), LOOK_MS);
    this.#timer.unref();
  }

  pause(): void {
    this.#paused = true;
    this.#untilAll("SIGSTOP", isStopped);
  }

  resume(): void {
    this.#paused = false;
    this.#signal("SIGCONT", this.#look());
  }

  kill(): void {
    // A stopped process begets no other while the rest is looked for.
    this.#untilAll("SIGSTOP", isStopped, QUICK_LOOKS);
    this.#untilAll("SIGKILL", () => false, 2);
  }

  finish(): void {
    this.#finished = true;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.kill();
  }

  alive(): number[] {
    return this.#look().map(({ pid }) => pid);
  }

  peakMemoryBytes(): number {
    return this.#peakBytes;
  }

  cpuMs(): number {
    return this.#cpuMs;
  }

  /** Signals every member until none is left that is not `done` (T3). */
  #untilAll(signal: NodeJS.Signals, done: (facts: ProcessFacts) => boolean, looks = MOST_LOOKS): void {
    for (let i = 0; i < looks; i++) {
      const open = this.#look().filter((facts) => !done(facts));
      if (open.length === 0) return;
      this.#signal(signal, open);
      if (i >= QUICK_LOOKS) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }

  #signal(signal: NodeJS.Signals, members: ProcessFacts[]): void {
    for (const { pid } of members)
      try {
        process.kill(pid, signal);
      } catch {
        // It has ended since it was looked at.
      }
  }

  /** The living members, after a look around for new ones. */
  #look(): ProcessFacts[] {
    const all = listProcesses() ?? [];
    const members = new Map<number, ProcessFacts>();
    for (const [pid, startedAt] of this.#members) {
      const facts = readFacts(pid);
      if (facts?.startedAt === startedAt && facts.state !== "Z" && facts.state !== "X") members.set(pid, facts);
      else if (facts?.startedAt !== startedAt) this.#forget(pid);
    }
    // Newer processes mostly have higher numbers, so that parents come before children; else the next round finds them.
    let fresh = all
      .filter((pid) => !this.#seen.has(pid) && !this.#members.has(pid))
      .flatMap((pid) => readFacts(pid) ?? []);
    for (let found = true; found; ) {
      found = false;
      const others: ProcessFacts[] = [];
      for (const facts of fresh)
        if (this.#isOurs(facts)) {
          this.#members.set(facts.pid, facts.startedAt);
          if (facts.state !== "Z") members.set(facts.pid, facts);
          found = true;
        } else others.push(facts);
      fresh = others;
    }
    this.#seen = new Set(all);
    return [...members.values()];
  }

  #isOurs({ pid, parent, group, session }: ProcessFacts): boolean {
    return pid !== process.pid && (this.#members.has(parent) || group === this.#root || session === this.#root);
  }

  #measure(): void {
    const members = this.#look();
    if (this.#paused) this.pause();
    this.#cpuMs = Math.max(this.#cpuMs, this.#usedCpuMs(members));
    const limit = this.#overLimit(members);
    if (limit === undefined || this.#ended) return;
    this.#ended = { limit };
    this.kill();
  }

  #forget(pid: number): void {
    this.#members.delete(pid);
    this.#endedCpuMs += this.#cpuMsOf.get(pid) ?? 0;
    this.#cpuMsOf.delete(pid);
  }

  /**
   * What was seen of each process, or what their parents were told of those that ended, whichever is more: a parent
   * need not ask, and a process may have begun and ended between two looks.
   */
  #usedCpuMs(members: ProcessFacts[]): number {
    for (const { pid, cpuMs } of members) this.#cpuMsOf.set(pid, cpuMs);
    const seen = [...this.#cpuMsOf.values()].reduce((sum, ms) => sum + ms, this.#endedCpuMs);
    const told = members.reduce((sum, { cpuMs, childrenCpuMs }) => sum + cpuMs + childrenCpuMs, 0);
    return Math.max(seen, told);
  }

  #overLimit(members: ProcessFacts[]): Limit | undefined {
    const { memoryBytes, processes, cpus, cpuBurstMs } = this.#limits;
    const bytes = this.#memory(members, memoryBytes);
    if (bytes > memoryBytes) return "memory";
    if (members.length > processes) return "processes";
    const allowedMs = cpuBurstMs + cpus * (this.#now() - this.#watchedSince);
    return this.#cpuMs > allowedMs ? "cpu" : undefined;
  }

  /** Memory in use now. Counted exactly, shared pages once, only when the quick sum is beyond the limit. */
  #memory(members: ProcessFacts[], limitBytes: number): number {
    let sum = 0;
    for (const { pid } of members) {
      const memory = readMemory(pid);
      if (!memory) continue;
      sum += memory.residentBytes;
      // A process alone may have had a peak since the last look.
      if (memory.peakBytes <= limitBytes) this.#peakBytes = Math.max(this.#peakBytes, memory.peakBytes);
    }
    const bytes = sum <= limitBytes ? sum : members.reduce((total, { pid }) => total + exactBytes(pid), 0);
    this.#peakBytes = Math.max(this.#peakBytes, bytes);
    return bytes;
  }
}

const isStopped = ({ state }: ProcessFacts): boolean => state === "T" || state === "t";

const exactBytes = (pid: number): number => readProportionalBytes(pid) ?? readMemory(pid)?.residentBytes ?? 0;

/** Without /proc: signals to the process group, and nothing else. */
function groupOnly(pid: number): ProcessTree {
  let finished = false;
  const signal = (name: NodeJS.Signals) => {
    if (finished) return;
    try {
      process.kill(-pid, name);
    } catch (error) {
      // ESRCH: nothing is left of the group. EPERM: macOS says so of a group of ended processes.
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ESRCH" && code !== "EPERM") throw error;
    }
  };
  return {
    pause: () => signal("SIGSTOP"),
    resume: () => signal("SIGCONT"),
    kill: () => signal("SIGKILL"),
    peakMemoryBytes: () => 0,
    cpuMs: () => 0,
    ended: undefined,
    watch() {},
    finish() {
      signal("SIGKILL");
      finished = true;
    },
    alive: () => [],
  };
}
