// Who of this replica's pooled executors looks at the queue next. The queue itself is in Postgres; other replicas take
// from it at the same time.
//
// Y1  A computing unit has one look at a time per replica, however many executors wait: a hint costs one claim for each
//     queued execution and one that finds nothing.
// Y2  Executors take turns.
// Y3  A lost hint delays a queued execution by BACKSTOP_MS: one statement per replica asks for all its units at once.
// Y4  A look that fails (the database is away) leaves the executors connected; the next hint or backstop looks again.
import { keepRunning } from "../../process/keep-running.js";
import type { Logger } from "../../process/log.js";
import type { Queryable } from "../database/database.js";
import type { Hints } from "../notifications.js";
import { unitsWithQueue } from "../repositories/execution-leases.js";

export interface UnitOfQueue {
  projectId: string;
  computingUnitId: string;
}

/** An executor that may take from its unit's queue. */
export interface QueueTaker {
  hasRoom(): boolean;
  /** Claims one execution; `not for me` when others may yet find something. */
  takeOne(): Promise<"taken" | "queue empty" | "not for me">;
}

export interface QueueDispatcher {
  /** `look` says that the taker may have room now; `leave` that it is gone. */
  join(unit: UnitOfQueue, taker: QueueTaker): { look(): void; leave(): void };
  /** Looks for what no hint told of, until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

interface Unit extends UnitOfQueue {
  /** In the order of their turns. */
  takers: Set<QueueTaker>;
  looking: boolean;
  lookAgain: boolean;
  stopListening: () => void;
}

const BACKSTOP_MS = 1_000;

export function createQueueDispatcher({
  db,
  hints,
  log,
}: {
  db: Queryable;
  hints: Pick<Hints, "onQueue">;
  log: Logger;
}): QueueDispatcher {
  const units = new Map<string, Unit>();
  const keyOf = ({ projectId, computingUnitId }: UnitOfQueue) => `${projectId}/${computingUnitId}`;

  async function look(unit: Unit): Promise<void> {
    unit.lookAgain = true;
    if (unit.looking) return;
    unit.looking = true;
    try {
      while (unit.lookAgain) {
        unit.lookAgain = false;
        await handOut(unit);
      }
    } catch (error) {
      log.warn({ err: error, unit: keyOf(unit) }, "a queue could not be looked at; trying again soon");
    } finally {
      unit.looking = false;
    }
  }

  function unitOf(of: UnitOfQueue): Unit {
    const known = units.get(keyOf(of));
    if (known) return known;
    const { projectId, computingUnitId } = of;
    const unit: Unit = {
      projectId,
      computingUnitId,
      takers: new Set(),
      looking: false,
      lookAgain: false,
      stopListening: hints.onQueue(projectId, computingUnitId, () => void look(unit)),
    };
    units.set(keyOf(of), unit);
    return unit;
  }

  return {
    join(of, taker) {
      const unit = unitOf(of);
      unit.takers.add(taker);
      void look(unit);
      return {
        look: () => void look(unit),
        leave() {
          unit.takers.delete(taker);
          if (unit.takers.size > 0 || units.get(keyOf(of)) !== unit) return;
          unit.stopListening();
          units.delete(keyOf(of));
        },
      };
    },
    run: (signal) =>
      keepRunning(
        { name: "looking for queued executions", log, signal, everyMs: BACKSTOP_MS, maxMs: BACKSTOP_MS },
        async () => {
          const waiting = [...units.values()].filter((unit) => [...unit.takers].some((taker) => taker.hasRoom()));
          if (waiting.length === 0) return;
          for (const of of await unitsWithQueue(db, waiting)) {
            const unit = units.get(keyOf(of));
            if (unit) void look(unit);
          }
        },
      ),
  };
}

/** Lets executors with room claim, in turn, until the queue holds nothing for any of them (Y1, Y2). */
async function handOut({ takers }: Unit): Promise<void> {
  const passedBy = new Set<QueueTaker>();
  for (;;) {
    const taker = firstOf(takers, (one) => one.hasRoom() && !passedBy.has(one));
    if (!taker) return;
    const outcome = await taker.takeOne();
    if (outcome === "queue empty") return;
    if (outcome === "not for me") passedBy.add(taker);
    // To the end of the row, unless it left meanwhile.
    else if (takers.delete(taker)) takers.add(taker);
  }
}

function firstOf<T>(items: Iterable<T>, fits: (item: T) => boolean): T | undefined {
  for (const item of items) if (fits(item)) return item;
  return undefined;
}
