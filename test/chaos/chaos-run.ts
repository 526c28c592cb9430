// One run from start to judgement: the system comes up and gets work, the faults come one after the other or overlapping,
// then everything ends, and what was said, stored and seen is compared.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { ChaosOptions } from "./chaos-options.js";
import { type ChaosSystem, startChaosSystem } from "./chaos-system.js";
import { judge } from "./comparison.js";
import { executionRecords, lostAttempts } from "./evidence.js";
import { runFaults } from "./fault-course.js";
import type { FaultKind } from "./faults.js";
import type { Hardship } from "./hardship.js";
import { readJournals } from "./journal.js";
import { startWorkload, type Workload } from "./workload.js";

/** The line a run ends with. */
export interface ChaosResult {
  seed: string;
  kills: number;
  sabotage: string | null;
  executions: number;
  unended: number;
  events_sent: number;
  stored: number;
  missing: number;
  duplicated: number;
  out_of_order: number;
  watchers: number;
  watched: number;
  attempts: number;
  /** Lost although their executor was alive and could reach a replica. */
  attempts_wasted: number;
  /** Attempts that were lost, and gone on with by a next one. */
  takeovers: number;
  /** Streams that came back after their replica was killed, with nothing else wrong meanwhile. */
  recoveries: number;
  slowest_recovery_ms: number;
  recovery_p99_ms: number;
  /** Replicas and executors that ended without being asked. */
  unasked_ends: number;
  seconds: number;
  ok: boolean;
  /** Kept when something was found, a wasted attempt or an unasked end included. */
  directory?: string;
}

export interface ChaosCourse extends ChaosOptions {
  /** The work; see ChaosSystemOptions. */
  slots?: number;
  leaseMs?: number;
  events?: number;
  restMs?: number;
  /** How long everything may take to end after the last fault. Default a minute. */
  endWithinMs?: number;
  /** These faults in this order, instead of by chance. */
  schedule?: FaultKind[];
  say: (line: string) => void;
}

export async function runChaos(course: ChaosCourse): Promise<ChaosResult> {
  const { say, slots = 2, leaseMs = 3_000, events = 3_000, restMs = 300 } = course;
  const startedAt = Date.now();
  const directory = await mkdtemp(join(tmpdir(), "postern-chaos-"));
  say(`seed ${course.seed}, ${course.schedule?.length ?? course.kills} kills, in ${directory}`);
  const build = resolve(course.build);
  const system = await startChaosSystem({ ...course, directory, build, slots, leaseMs, events, restMs });
  let result: ChaosResult;
  try {
    result = await runOn(system, { ...course, slots }, startedAt);
  } catch (error) {
    await system.close();
    if (course.sabotage && error instanceof NeverBusy) await rm(directory, { recursive: true, force: true });
    throw error;
  }
  await system.close();
  const isPlain = result.ok && result.attempts_wasted + result.unasked_ends === 0;
  if (isPlain && !course.keep) await rm(directory, { recursive: true, force: true });
  else {
    result.directory = directory;
    say(`everything is kept in ${directory}`);
  }
  return result;
}

async function runOn(
  system: ChaosSystem,
  course: ChaosCourse & { slots: number },
  startedAt: number,
): Promise<ChaosResult> {
  const { seed, say, executors, slots, watchers, endWithinMs = 60_000 } = course;
  const workload = startWorkload(system, { seed, depth: executors * slots + 1, watchers });
  try {
    await untilBusy(system);
    const { hardship, calm } = await runFaults(system, course);
    workload.finish();
    say("no more faults; everything may end now");
    const ended = await workload.untilEnded(endWithinMs);
    if (!ended) say(`not everything has ended: ${(await workload.unended()).join(" ") || "watchers wait"}`);
    // Whoever wakes up late speaks now; what goes on regardless must not change what is compared.
    await delay(300);
    if (!ended) await Promise.all(system.executors.map(({ process }) => process.end("SIGKILL")));
    const found = await judgeAll(system, workload, say);
    const recoveries = system.streams.recoveries.filter(({ killedAt, ms }) => calm(killedAt, killedAt + ms));
    return {
      seed,
      kills: course.schedule?.length ?? course.kills,
      sabotage: course.sabotage ?? null,
      ...found,
      watchers: [...workload.watchers.values()].flat().length,
      ...(await attemptFigures(system, hardship, say)),
      ...recoveryFigures(recoveries.map(({ ms }) => ms)),
      unasked_ends: [...system.replicas, ...system.executors].reduce((sum, one) => sum + one.process.unasked, 0),
      seconds: Math.round((Date.now() - startedAt) / 100) / 10,
      ok: ended && found.unended + found.missing + found.duplicated + found.out_of_order === 0,
    };
  } finally {
    await workload.close();
  }
}

/** The build does not work, before any fault. */
export class NeverBusy extends Error {}

/** Faults come once something can be hurt. */
async function untilBusy(system: ChaosSystem): Promise<void> {
  for (const until = Date.now() + 15_000; Date.now() < until; await delay(50)) {
    const attached = system.replicas.reduce((sum, _, index) => sum + system.streams.attachedTo(index), 0);
    if (attached >= system.executors.length) return;
  }
  throw new NeverBusy("Executors do not all stay attached within 15 s; see the logs of servers and executors.");
}

async function judgeAll(system: ChaosSystem, workload: Workload, say: (line: string) => void) {
  const sum = {
    executions: 0,
    unended: 0,
    events_sent: 0,
    stored: 0,
    missing: 0,
    duplicated: 0,
    out_of_order: 0,
    watched: 0,
  };
  for await (const record of executionRecords(system, workload)) {
    const verdict = judge(record);
    sum.executions++;
    sum.unended += verdict.ended ? 0 : 1;
    sum.events_sent += verdict.sent;
    sum.stored += verdict.stored;
    sum.missing += verdict.missing;
    sum.duplicated += verdict.duplicated;
    sum.out_of_order += verdict.outOfOrder;
    sum.watched += verdict.watched;
    if (verdict.findings.length === 0 && verdict.ended) continue;
    say(`execution ${record.executionId}: ${record.state} in attempt ${record.attempt}`);
    for (const finding of verdict.findings) say(`  ${finding}`);
  }
  return sum;
}

async function attemptFigures(system: ChaosSystem, hardship: Hardship, say: (line: string) => void) {
  const journals = readJournals(system.journals);
  const lost = await lostAttempts(system);
  let wasted = 0;
  for (const { executionId, attempt, lostAt } of lost) {
    const begun = journals.findLast(
      ({ begun }) => begun.executionId === executionId && begun.attempt === attempt,
    )?.begun;
    if (!begun || !hardship.wasted(begun, lostAt)) continue;
    wasted++;
    say(
      `wasted: attempt ${attempt} of ${executionId} by ${begun.executorId}, lost at ${new Date(lostAt).toISOString()}`,
    );
  }
  const keys = new Set(journals.map(({ begun }) => `${begun.executionId}/${begun.attempt}`));
  return { attempts: keys.size, attempts_wasted: wasted, takeovers: lost.length };
}

function recoveryFigures(recoveries: number[]) {
  const sorted = recoveries.toSorted((a, b) => a - b);
  return {
    recoveries: sorted.length,
    slowest_recovery_ms: sorted.at(-1) ?? 0,
    recovery_p99_ms: sorted[Math.max(0, Math.ceil(sorted.length * 0.99) - 1)] ?? 0,
  };
}
