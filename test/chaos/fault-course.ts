// The faults of a run in their order: which, when, and whether the next waits until this one is over. All of it is
// decided by the seed before the first.
import { setTimeout as delay } from "node:timers/promises";
import type { ChaosSystem } from "./chaos-system.js";
import { FAULT_KINDS, FAULTS, type FaultKind, type Troubles } from "./faults.js";
import { createHardship, type Hardship } from "./hardship.js";
import { type SeededRandom, seededRandom } from "./seeded-random.js";

export interface PlannedFault {
  kind: FaultKind;
  /** After the former one has begun, or is over. */
  waitMs: number;
  /** True when the next one does not wait for the end of this. */
  overlaps: boolean;
  /** Decides everything else about it. */
  dice: SeededRandom;
}

interface Course {
  seed: string;
  kills: number;
  faults?: FaultKind[];
  schedule?: FaultKind[];
  say: (line: string) => void;
}

/** Each kind comes once before any comes again. */
export function planFaults({ seed, kills, faults, schedule }: Course): PlannedFault[] {
  const random = seededRandom(seed);
  const kinds = FAULT_KINDS.filter((kind) => faults?.includes(kind) ?? true);
  const order: FaultKind[] = [...(schedule ?? [])];
  while (order.length < kills) order.push(...random.shuffled(kinds));
  return order.slice(0, schedule?.length ?? kills).map((kind, i) => ({
    kind,
    waitMs: random.between(50, 600),
    overlaps: random.chance(0.3),
    dice: seededRandom(`${seed}/${i}`),
  }));
}

const LOOK_MS = 20;
/** How long a fault waits for the streams that the former one has cost. */
const RECOVER_WITHIN_MS = 8_000;

export interface CourseOutcome {
  hardship: Hardship;
  /** True when at most one fault was going on between two moments, in milliseconds since the epoch. */
  calm(from: number, to: number): boolean;
}

export async function runFaults(system: ChaosSystem, course: Course): Promise<CourseOutcome> {
  const troubles: Troubles = { frozenExecutors: new Set(), cutPaths: new Set(), awayReplicas: new Set() };
  const hardship = createHardship(system.leaseMs);
  const notes = setInterval(() => noteConditions(system, troubles, hardship), LOOK_MS);
  const spans: { from: number; to: number }[] = [];
  const running = new Set<Promise<void>>();
  // A fault that cannot be carried out is one of the kit.
  const failures: unknown[] = [];
  const faults = planFaults(course);
  try {
    for (const [i, fault] of faults.entries()) {
      await delay(fault.waitMs);
      course.say(`${i + 1}/${faults.length} ${fault.kind}`);
      const span = { from: Date.now(), to: Number.POSITIVE_INFINITY };
      spans.push(span);
      const one = FAULTS[fault.kind]({ system, troubles, say: course.say }, fault.dice)
        .catch((error: unknown) => void failures.push(error))
        .finally(() => {
          span.to = Date.now();
          running.delete(one);
        });
      running.add(one);
      if (fault.overlaps) continue;
      await Promise.all(running);
      await untilRecovered(system);
    }
    await Promise.all(running);
    await untilRecovered(system);
  } finally {
    await Promise.all(running);
    clearInterval(notes);
  }
  if (failures.length > 0) throw failures[0];
  const calm = (from: number, to: number) => spans.filter((span) => span.from < to && span.to > from).length <= 1;
  return { hardship, calm };
}

function noteConditions({ executors, replicas }: ChaosSystem, troubles: Troubles, hardship: Hardship): void {
  for (const { id, process } of executors) {
    const isCut = (replica: number) => troubles.cutPaths.has(`${id}/${replica}`);
    const isShut = (replica: number) =>
      isCut(replica) || troubles.awayReplicas.has(replica) || !replicas[replica]!.process.ready;
    const ways = [...replicas.keys()];
    hardship.note({
      executorId: id,
      pid: process.pid,
      frozen: troubles.frozenExecutors.has(id),
      unreachable: ways.some(isCut) && ways.every(isShut),
    });
  }
}

async function untilRecovered({ streams, database }: ChaosSystem): Promise<void> {
  const over = "select id from execution where id = any($1) and state not in ('PREPARED', 'RUNNING')";
  for (const until = Date.now() + RECOVER_WITHIN_MS; Date.now() < until; await delay(LOOK_MS * 5)) {
    const awaited = streams.awaited();
    if (awaited.length === 0) return;
    streams.forget((await database.query<{ id: string }>(over, [awaited])).map(({ id }) => id));
  }
}
