// Work for the executors while the faults come: always a few executions more than there are slots, and watchers on each.
import { setTimeout as delay } from "node:timers/promises";
import type { ChaosSystem } from "./chaos-system.js";
import { type SeededRandom, seededRandom } from "./seeded-random.js";
import { startWatcher, type Watcher } from "./watcher.js";

export interface Workload {
  /** By execution. */
  watchers: ReadonlyMap<string, Watcher[]>;
  /** Gives no more work. */
  finish(): void;
  /** Executions that have not ended; asked again while the database is away. */
  unended(): Promise<string[]>;
  /** Resolves once work and watchers have ended, or `withinMs` after; false when some have not. */
  untilEnded(withinMs: number): Promise<boolean>;
  /** Ends every watcher. */
  close(): Promise<void>;
}

const LOOK_MS = 250;

/** Keeps `depth` executions unended until `finish`. */
export function startWorkload(system: ChaosSystem, work: { seed: string; depth: number; watchers: number }): Workload {
  const watchers = new Map<string, Watcher[]>();
  const stop = new AbortController();

  async function unended(): Promise<string[]> {
    const sql = "select id from execution where state not in ('COMPLETED', 'FAILED', 'KILLED')";
    return (await system.database.query<{ id: string }>(sql)).map(({ id }) => id);
  }

  async function begin(): Promise<void> {
    const executionId = await system.prepare();
    const random = seededRandom(`${work.seed}/watchers/${watchers.size}`);
    watchers.set(
      executionId,
      Array.from({ length: work.watchers }, (_, i) => watch(system, executionId, i, random)),
    );
  }

  async function feed(): Promise<void> {
    while (!stop.signal.aborted) {
      const lacking = work.depth - (await unended()).length;
      for (let i = 0; i < lacking && !stop.signal.aborted; i++) await begin();
      await delay(LOOK_MS, undefined, { signal: stop.signal }).catch(() => {}); // asked to finish
    }
  }

  const feeding = feed();
  const all = () => [...watchers.values()].flat();
  return {
    watchers,
    unended,
    finish: () => stop.abort(),
    async untilEnded(withinMs) {
      await feeding;
      for (const until = Date.now() + withinMs; Date.now() < until; await delay(50))
        if (all().every(({ done }) => done) && (await unended()).length === 0) return true;
      return false;
    },
    close: async () => {
      stop.abort();
      await feeding;
      await Promise.all(all().map((watcher) => watcher.stop()));
    },
  };
}

function watch(system: ChaosSystem, executionId: string, index: number, random: SeededRandom): Watcher {
  const { replicas, streams, userToken } = system;
  return startWatcher({
    name: `watcher ${index} of ${executionId}`,
    executionId,
    // Elsewhere than the executor, if it can be.
    replicas: () => {
      const its = streams.replicaOf(executionId);
      const order = [...replicas.keys()].sort((a, b) => Number(a === its) - Number(b === its));
      return order.map((replica) => replicas[replica]!.executions);
    },
    token: userToken,
    fromSnapshot: index % 3 === 1,
    slow: index % 2 === 1,
    random: seededRandom(`${random.next()}`),
  });
}
