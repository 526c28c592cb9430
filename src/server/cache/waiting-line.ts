// Those who wait for ports that others compute, on this replica: two loops for all of them.
//
// At a hint that a key came out, and once a second for all keys, the first asks with one statement how the waits of this
// replica came out, and tells. The second goes over the same keys behind it: takes out of the line who was told, marks
// reservations that count no more as lost, and gives free keys to the oldest in line. However many wait for a key, that is
// a few statements, and nobody who could be told waits for what is tidied up.
//
// L1  An answer is told after its object is pinned, which the same statement does.
// L2  Who was answered leaves the line; who went away before keeps the place (repositories/cache-line.ts, Q1).
// L3  A wait whose execution has ended or was taken over ends with the reason.
import { AppError, illegalTransition, notFound, staleLease } from "../../core/app-error.js";
import { keepRunning } from "../../process/keep-running.js";
import type { Logger } from "../../process/log.js";
import { createWakeUp, type WakeUp } from "../../process/wake-up.js";
import type { Queryable } from "../database/database.js";
import type { Hints } from "../notifications.js";
import {
  forgetLeftovers,
  inheritReservations,
  joinLine,
  type LineAnswer,
  leaveLine,
  lineAnswers,
  type Watch,
} from "../repositories/cache-line.js";
import type { WantedPort } from "../repositories/cache-lookup.js";
import { type CacheKey, expireReservations } from "../repositories/cache-reservations.js";

/** How long a lost hint can delay an answer. */
const BACKSTOP_MS = 1_000;
/** Of one execution: all watches are asked about together, so that one who opens ever more would keep others waiting. */
const MOST_WATCHES = 16;
/** How often what ended executions left is removed. */
const LEFTOVERS_EVERY_MS = 10_000;

/** An attempt that waits. */
export interface Waiting {
  executionId: string;
  attempt: number;
  epoch: bigint;
  projectId: string;
}

/** How the wait for a port came out. Neither entry nor reservation: an entry is there, and may not be used for it. */
export interface WaitEnd extends Pick<LineAnswer, "tupleCount" | "byteCount" | "computeMs" | "sourceExecutionId"> {
  port: WantedPort;
  uri: string | null;
  reservation: bigint | null;
}

export interface WaitingLine {
  /** Gets in line for the ports and tells how each came out; ends with the last one. */
  watch(waiting: Waiting, ports: readonly WantedPort[], signal: AbortSignal): AsyncGenerator<WaitEnd>;
  /** Somebody who is gone still holds these keys. */
  holdersGone(keys: readonly CacheKey[]): void;
  /** Works until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

interface Deps {
  db: Queryable;
  hints: Pick<Hints, "cacheChanged" | "onCacheKey" | "onExecutorConcern">;
  log: Logger;
}

type Place = CacheKey & { executionId: string };

interface Watcher {
  waiting: Waiting;
  /** Ports still to come out, by global port id. */
  open: Map<string, WantedPort>;
  ended: WaitEnd[];
  over: AppError | undefined;
  wakeUp: WakeUp;
}

export function createWaitingLine({ db, hints, log }: Deps): WaitingLine {
  const watchers = new Set<Watcher>();
  /** How many calls each execution waits in, also those that are still getting in line. */
  const watches = new Map<string, number>();
  /** Those who were told and are still in line. */
  const told: Place[] = [];
  const telling = keyRounds({ name: "answering those who wait for the cache", log }, async (keys) => {
    await answer(keys);
    // First those for whom something is there; who inherits is told in the next round.
    tidying.look(keys ? [...keys.values()] : told);
  });
  const tidying = keyRounds({ name: "giving on what others wait for", log }, async (keys) => {
    const leaving = told.length;
    if (leaving > 0) await leaveLine(db, told.slice(0, leaving)); // L2
    told.splice(0, leaving);
    await settle(keys && [...keys.values()]);
    await forgetNowAndThen();
  });
  const { look } = telling;

  let leftoversAt = performance.now();
  async function forgetNowAndThen(): Promise<void> {
    if (performance.now() - leftoversAt < LEFTOVERS_EVERY_MS) return;
    leftoversAt = performance.now();
    await forgetLeftovers(db);
  }

  const keysOf = ({ waiting: { projectId }, open }: Watcher): CacheKey[] =>
    [...open.values()].map(({ subdagHash }) => ({ projectId, subdagHash }));

  /** Loses what counts no more and gives away what is free, of these keys or of all. */
  async function settle(keys: readonly CacheKey[] | undefined): Promise<void> {
    await expireReservations(db, keys);
    const given = await inheritReservations(db, keys);
    if (given.length === 0) return;
    await leaveLine(db, given);
    // They may be connected to another replica.
    hints.cacheChanged(given);
  }

  async function answer(keys: ReadonlyMap<string, CacheKey> | undefined): Promise<void> {
    const asking: { watcher: Watcher; watch: Watch }[] = [];
    for (const watcher of watchers) {
      const { executionId, epoch, projectId } = watcher.waiting;
      for (const port of watcher.open.values()) {
        const isMeant = keys === undefined || keys.has(nameOf({ projectId, subdagHash: port.subdagHash }));
        if (isMeant) asking.push({ watcher, watch: { executionId, epoch, port } });
      }
    }
    if (asking.length === 0) return;
    const answers = await lineAnswers(
      db,
      asking.map(({ watch }) => watch),
    );
    for (const one of answers) {
      const { watcher, watch } = asking[one.watch]!;
      const { executionId, projectId } = watcher.waiting;
      tell(watcher, watch, one);
      told.push({ executionId, projectId, subdagHash: watch.port.subdagHash });
    }
  }

  function tell(watcher: Watcher, { port }: Watch, answer: LineAnswer): void {
    if (!answer.isLive)
      watcher.over ??= overBecause(watcher.waiting, answer); // L3
    else if (watcher.open.delete(port.globalPortId)) {
      const { uri, reservation, tupleCount, byteCount, computeMs, sourceExecutionId } = answer;
      watcher.ended.push({ port, uri, reservation, tupleCount, byteCount, computeMs, sourceExecutionId });
    }
    watcher.wakeUp.wake();
  }

  return {
    async *watch(waiting, ports, signal) {
      const { executionId } = waiting;
      const others = watches.get(executionId) ?? 0;
      if (others >= MOST_WATCHES)
        throw new AppError(
          "unavailable", // calls that were cancelled may only be on their way out
          "UNAVAILABLE",
          `The execution waits in ${others} calls already; name all ports it waits for in one, and ask again.`,
        );
      watches.set(executionId, others + 1);
      const open = new Map(ports.map((port) => [port.globalPortId, port]));
      const watcher: Watcher = { waiting, open, ended: [], over: undefined, wakeUp: createWakeUp() };
      const keys = keysOf(watcher);
      const stops = keys.map((key) => hints.onCacheKey(key, () => look([key])));
      stops.push(hints.onExecutorConcern(executionId, () => look(keysOf(watcher))));
      try {
        await joinLine(db, waiting, ports);
        watchers.add(watcher);
        look(keys);
        while (watcher.open.size > 0 || watcher.ended.length > 0) {
          const next = watcher.ended.shift();
          if (next) yield next;
          else {
            if (watcher.over) throw watcher.over;
            signal.throwIfAborted();
            await watcher.wakeUp.wait(undefined, signal);
          }
        }
      } finally {
        watchers.delete(watcher);
        for (const stop of stops) stop();
        const left = watches.get(executionId)! - 1;
        if (left > 0) watches.set(executionId, left);
        else watches.delete(executionId);
      }
    },
    holdersGone: look,
    async run(signal) {
      await Promise.all([telling.run(signal), tidying.run(signal)]);
    },
  };
}

/** Does its work for keys that were named since, and for all of them (undefined) once in BACKSTOP_MS and after a failure. */
function keyRounds(
  { name, log }: { name: string; log: Logger },
  work: (keys: ReadonlyMap<string, CacheKey> | undefined) => Promise<void>,
) {
  let named = new Map<string, CacheKey>();
  let allDue = true;
  let allAt = Number.NEGATIVE_INFINITY;
  const wakeUp = createWakeUp();
  return {
    look(keys: readonly CacheKey[]): void {
      for (const key of keys) named.set(nameOf(key), key);
      wakeUp.wake();
    },
    run: (signal: AbortSignal) =>
      keepRunning({ name, log, signal, maxMs: BACKSTOP_MS }, async () => {
        if (!allDue) await wakeUp.wait(Math.max(1, BACKSTOP_MS - (performance.now() - allAt)), signal);
        const keys = named;
        named = new Map();
        const all = allDue || performance.now() - allAt >= BACKSTOP_MS;
        if (!all && keys.size === 0) return;
        allDue = true; // until this round has gone well
        if (all) allAt = performance.now();
        await work(all ? undefined : keys);
        allDue = false;
      }),
  };
}

const nameOf = ({ projectId, subdagHash }: CacheKey): string => `${projectId}/${subdagHash}`;

function overBecause(waiting: Waiting, { state, currentEpoch }: LineAnswer): AppError {
  if (state === null) return notFound(`execution "${waiting.executionId}"`);
  if (currentEpoch !== waiting.epoch) return staleLease(waiting.epoch, currentEpoch);
  return illegalTransition(state, "waited for");
}
