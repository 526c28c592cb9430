// Following the logs of executions: what lies in the table, one sentinel, then events as they are committed.
//
// However many watch an execution here, its log is read once (event-tail.ts, tail-reader.ts), and not at all where this
// replica has committed the events itself. A watcher is a cursor: while the tail holds what comes next it is served from
// there; when it has fallen behind it pages through the table by itself until it is back.
//
// F1  A watcher gets every event after its cursor once, in order, without a hole; a hole is a fault, never skipped.
// F2  A watcher waits for its own client only: nobody waits for a watcher.
// F3  A watch ends well only when the execution has ended, or is gone, and everything was sent.
// F4  A watch does not outlive the right to it by more than about a minute.
import type { WatchExecutionResponse } from "../../contract/postern/v1/execution.js";
import { AppError, type ErrorCode } from "../../core/app-error.js";
import { createGate } from "../../process/gate.js";
import type { Logger } from "../../process/log.js";
import { createWakeUp } from "../../process/wake-up.js";
import { eventFrame, type LoggedEvent } from "../../rpc/event-frame.js";
import type { Queryable } from "../database/database.js";
import type { Hints } from "../notifications.js";
import { eventsAfter } from "../repositories/execution-events.js";
import { executionById } from "../repositories/executions.js";
import { createTailMemory, type EventFrame, EventTail } from "./event-tail.js";
import { createTailReader } from "./tail-reader.js";

/** What a watcher that has fallen behind reads at once. */
const PAGE_EVENTS = 500;
const PAGE_BYTES = 128 * 1024;
/** So many pages are read side by side; the other connections of the pool are for others. */
const PAGES_AT_ONCE = 3;
const MEMORY_BYTES = 64 * 1024 * 1024;
const BACKSTOP_MS = 1_000;
const RIGHT_EVERY_MS = 60_000;

interface Deps {
  db: Queryable;
  hints: Pick<Hints, "onExecution">;
  /** Aborts when this replica begins to stop. */
  draining: AbortSignal;
  log: Logger;
  /** What all tails together may hold. Default 64 MiB. */
  memoryBytes?: number;
  /** How long a lost hint can delay a watcher. Default one second. */
  backstopMs?: number;
  /** How often, about, a watcher's right is asked for again. Default one minute. */
  rightEveryMs?: number;
}

/** Where to follow a log from. */
export interface Watch {
  executionId: string;
  /** Number of the last event already seen. */
  after: bigint;
  /** Number of the last event there was when the watch began: the sentinel follows it. */
  pastEnd: bigint;
  /** Rejects, as a new call would, when the watcher may not watch any more. */
  requireRight(): Promise<unknown>;
}

/** Events of one execution that were committed together. */
export interface CommittedEvents {
  attempt: number;
  /** Number of the first; the others follow without a hole. */
  firstNumber: bigint;
  /** Its number within the attempt, which count on likewise. */
  firstSequence: bigint;
  events: readonly { body: Uint8Array }[];
}

export interface EventFeed {
  /**
   * Every event after `after` until the one that ends the execution, encoded, with one `caughtUp` after those that lay
   * in the log when the watch began.
   */
  follow(watch: Watch, clientGone: AbortSignal): AsyncGenerator<WatchExecutionResponse | EventFrame>;
  /** To be told what this replica has committed, after the commit. Costs nothing when nobody watches. */
  committed(executionId: string, committed: CommittedEvents): void;
  /** Reads for the watchers until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
  /** What is held for watchers now. */
  size(): { tails: number; watchers: number; bytes: number };
}

export function createEventFeed({ db, hints, draining, log, ...limits }: Deps): EventFeed {
  const { memoryBytes = MEMORY_BYTES, backstopMs = BACKSTOP_MS, rightEveryMs = RIGHT_EVERY_MS } = limits;
  const tails = new Map<string, EventTail>();
  const stopListening = new Map<EventTail, () => void>();
  const memory = createTailMemory(memoryBytes);
  const reader = createTailReader({ db, log, tails, append, backstopMs });
  const pageGate = createGate(PAGES_AT_ONCE);
  draining.addEventListener("abort", () => {
    for (const tail of tails.values()) tail.wakeWatchers();
  });

  function append(tail: EventTail, events: LoggedEvent[]): boolean {
    const before = tail.last;
    const whole = tail.append(events);
    if (tail.last > before) {
      memory.grown(tail);
      tail.wakeWatchers();
    }
    return whole;
  }

  function committed(executionId: string, { attempt, firstNumber, firstSequence, events }: CommittedEvents): void {
    const tail = tails.get(executionId);
    if (!tail) return;
    const logged = events.map(({ body }, i) => ({
      number: firstNumber + BigInt(i),
      attempt,
      sequence: firstSequence + BigInt(i),
      body,
    }));
    // Others may have written in between; what they wrote is in the table.
    if (!append(tail, logged)) reader.look(tail);
  }

  /** The tail of a log that reached `pastEnd` at least; `wake` is called when it has something new. */
  function join(executionId: string, pastEnd: bigint, wake: () => void): EventTail {
    const known = tails.get(executionId);
    if (known) {
      known.watchers.add(wake);
      reader.look(known, pastEnd);
      return known;
    }
    const tail = new EventTail(executionId, pastEnd);
    tail.watchers.add(wake);
    tails.set(executionId, tail);
    const look = (lastNumber?: bigint) => reader.look(tail, lastNumber);
    stopListening.set(tail, hints.onExecution(executionId, look));
    reader.look(tail); // nobody has listened between the reading of `pastEnd` and now
    return tail;
  }

  function leave(tail: EventTail, wake: () => void): void {
    tail.watchers.delete(wake);
    if (tail.watchers.size > 0) return;
    tails.delete(tail.executionId);
    stopListening.get(tail)?.();
    stopListening.delete(tail);
    memory.released(tail);
  }

  /** What follows the cursor in the table, for a watcher that has fallen behind; empty when the execution is gone. */
  async function readPage(executionId: string, after: bigint, clientGone: AbortSignal): Promise<LoggedEvent[]> {
    const read = { executionId, after, limit: PAGE_EVENTS, maxBytes: PAGE_BYTES };
    const events = await pageGate(() => eventsAfter(db, read), clientGone);
    if (events.length === 0 && !(await executionById(db, executionId))) return [];
    const held = contiguousAfter(after, events);
    if (held.length === 0) throw new Error(`The log of execution ${executionId} lacks event ${after + 1n}.`); // F1
    return held;
  }

  /** Asks for the right again and again (F4), each watcher at times of its own; returns how to stop. */
  function keepAskingForRight({ executionId, requireRight }: Watch, refused: (error: AppError) => void): () => void {
    let timer: NodeJS.Timeout;
    let stopped = false;
    const later = () => {
      timer = setTimeout(() => void ask(), rightEveryMs * (0.75 + Math.random() / 2));
    };
    async function ask(): Promise<void> {
      try {
        const error = await refusalOf(requireRight);
        // Of an execution that is gone the reader hears, and the watch ends well (F3).
        if (error && !stopped && (await executionById(db, executionId))) return refused(error);
      } catch (error) {
        // Not an answer: the watch goes on until there is one.
        log.warn({ err: error, executionId }, "a watcher's right could not be asked for");
      }
      if (!stopped) later();
    }
    later();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }

  async function* follow(watch: Watch, clientGone: AbortSignal): AsyncGenerator<WatchExecutionResponse | EventFrame> {
    const { executionId, after, pastEnd } = watch;
    const wakeUp = createWakeUp();
    const tail = join(executionId, pastEnd, wakeUp.wake);
    let refusal: AppError | undefined;
    const stopAsking = keepAskingForRight(watch, (error) => {
      refusal = error;
      wakeUp.wake();
    });
    clientGone.addEventListener("abort", wakeUp.wake);
    try {
      let cursor = after;
      let caughtUp = false;
      let page: LoggedEvent[] = [];
      while (!clientGone.aborted && !draining.aborted) {
        if (refusal) throw refusal;
        if (!caughtUp && cursor >= pastEnd) {
          caughtUp = true;
          yield sentinel(cursor);
        }
        const next = cursor + 1n;
        const frame = tail.frame(next) ?? frameOf(page, next);
        if (frame) {
          yield frame;
          cursor = next;
        } else if (next < tail.first) {
          page = await readPage(executionId, cursor, clientGone);
          if (page.length === 0) break;
        } else if (tail.ended) {
          break;
        } else {
          page = [];
          await wakeUp.wait();
        }
      }
      // Ending well would say that the execution has ended (F3).
      if (clientGone.aborted || draining.aborted) throw stopping();
      if (!caughtUp) yield sentinel(cursor);
    } finally {
      stopAsking();
      clientGone.removeEventListener("abort", wakeUp.wake);
      leave(tail, wakeUp.wake);
    }
  }

  return {
    follow,
    committed,
    run: reader.run,
    size: () => ({
      tails: tails.size,
      watchers: [...tails.values()].reduce((sum, { watchers }) => sum + watchers.size, 0),
      bytes: memory.bytes,
    }),
  };
}

/** Why a caller is refused; undefined when it is not. Throws when that cannot be said now. */
async function refusalOf(requireRight: () => Promise<unknown>): Promise<AppError | undefined> {
  try {
    await requireRight();
    return undefined;
  } catch (error) {
    if (error instanceof AppError && REFUSALS.has(error.code)) return error;
    throw error;
  }
}
const REFUSALS: ReadonlySet<ErrorCode> = new Set(["unauthenticated", "forbidden", "not-found"]);

/** These events up to the first hole. */
function contiguousAfter(after: bigint, events: LoggedEvent[]): LoggedEvent[] {
  const hole = events.findIndex(({ number }, i) => number !== after + BigInt(i + 1));
  return hole < 0 ? events : events.slice(0, hole);
}

function frameOf(page: LoggedEvent[], number: bigint): EventFrame | undefined {
  const event = page[0] && page[Number(number - page[0].number)];
  return event && eventFrame(event);
}

const stopping = () =>
  new AppError("unavailable", "DRAINING", "This server is stopping: watch on from the last number you saw.");

const sentinel = (number: bigint): WatchExecutionResponse => ({ item: { $case: "caughtUp", value: { number } } });
