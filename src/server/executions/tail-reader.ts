// Reading logs for all tails of this replica: one loop, however many executions are watched.
//
// Hints make a tail due; one statement reads all that are due, and those that become due meanwhile gather for the next.
// A hint may be lost, so once a second one statement asks which of the watched logs have moved.
//
// R1  A tail's end and state are learnt from the same statement as its events, so `ended` is never early.
// R2  A number that is missing is a fault: it is reported, and the watchers read from the table, where nothing is skipped.
import { isTerminal } from "../../core/execution-state.js";
import { keepRunning } from "../../process/keep-running.js";
import type { Logger } from "../../process/log.js";
import { createWakeUp } from "../../process/wake-up.js";
import type { LoggedEvent } from "../../rpc/event-frame.js";
import type { Queryable } from "../database/database.js";
import { eventsOfLogs, type LogRow, movedLogs } from "../repositories/execution-events.js";
import type { EventTail } from "./event-tail.js";

/** Limits of one statement: tails, events of each, and bytes of all together. */
const READ_TAILS = 1_000;
const READ_EVENTS = 500;
const READ_BYTES = 2 * 1024 * 1024;
interface Deps {
  db: Queryable;
  log: Logger;
  /** The tails somebody watches, by execution. */
  tails: ReadonlyMap<string, EventTail>;
  /** Adds events to a tail; false when one is missing in between. */
  append(tail: EventTail, events: LoggedEvent[]): boolean;
  /** How long a lost hint can delay a watcher. */
  backstopMs: number;
}

export interface TailReader {
  /** Makes a tail due; with `upTo`, only if it has not come so far by then. */
  look(tail: EventTail, upTo?: bigint): void;
  /** Reads until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

export function createTailReader({ db, log, tails, append, backstopMs }: Deps): TailReader {
  /** With the number to be reached; undefined says "in any case". */
  const due = new Map<EventTail, bigint | undefined>();
  const wakeUp = createWakeUp();

  function look(tail: EventTail, upTo?: bigint): void {
    if (upTo !== undefined && upTo <= tail.last) return;
    const known = due.get(tail);
    if (due.has(tail) && (known === undefined || (upTo !== undefined && upTo <= known))) return;
    due.set(tail, upTo);
    wakeUp.wake();
  }

  function takeDue(): EventTail[] {
    const taken: EventTail[] = [];
    for (const [tail, upTo] of due) {
      if (taken.length === READ_TAILS) break;
      due.delete(tail);
      const behind = upTo === undefined || upTo > tail.last;
      if (behind && isWatched(tail)) taken.push(tail);
    }
    return taken;
  }

  const isWatched = (tail: EventTail) => tails.get(tail.executionId) === tail;

  async function readDue(): Promise<void> {
    const taken = takeDue();
    if (taken.length === 0) return;
    const read = { cursors: taken.map(cursorOf), limit: READ_EVENTS, maxBytes: READ_BYTES };
    // When this fails, the next thing done is to look which logs have moved.
    const rows = rowsByLog(await eventsOfLogs(db, read));
    lookFirst(taken.filter(({ executionId }) => !rows.has(executionId)));
    for (const tail of taken) {
      const found = rows.get(tail.executionId);
      if (found && isWatched(tail)) takeIn(tail, found);
    }
  }

  /** Puts those that were not reached before all others, so that none waits for ever behind a log that grows fast. */
  function lookFirst(unreached: EventTail[]): void {
    if (unreached.length === 0) return;
    const others = [...due];
    due.clear();
    for (const tail of unreached) due.set(tail, undefined);
    for (const [tail, upTo] of others) if (!due.has(tail)) due.set(tail, upTo);
  }

  function takeIn(tail: EventTail, rows: LogRow[]): void {
    const { state, lastEventNumber } = rows[0]!;
    if (state === null || lastEventNumber === null) {
      tail.ended = true;
      tail.wakeWatchers();
      return;
    }
    const events = rows.filter(isEvent);
    const whole = append(tail, events) && (events.length > 0 || lastEventNumber <= tail.last);
    if (!whole) {
      const { executionId, last } = tail;
      log.error({ executionId, after: String(last), end: String(lastEventNumber) }, "a log lacks an event"); // R2
      tail.skipTo(lastEventNumber);
    }
    if (lastEventNumber > tail.last) look(tail);
    else if (isTerminal(state)) tail.ended = true;
    if (!whole || tail.ended) tail.wakeWatchers();
  }

  async function lookAtMoved(): Promise<void> {
    const open = [...tails.values()].filter(({ ended }) => !ended);
    if (open.length === 0) return;
    for (const { executionId } of await movedLogs(db, open.map(cursorOf))) {
      const tail = tails.get(executionId);
      if (tail) look(tail);
    }
  }

  /** What is done between one backstop and the next. */
  async function readForAWhile(signal: AbortSignal): Promise<void> {
    const until = performance.now() + backstopMs;
    await lookAtMoved();
    while (!signal.aborted) {
      const leftMs = until - performance.now();
      if (leftMs <= 0) return;
      if (due.size > 0) await readDue();
      else await wakeUp.wait(leftMs, signal);
    }
  }

  return {
    look,
    run: (signal) => keepRunning({ name: "reading logs for watchers", log, signal, maxMs: backstopMs }, readForAWhile),
  };
}

const cursorOf = ({ executionId, last }: EventTail) => ({ executionId, after: last });

const isEvent = (row: LogRow): row is LogRow & LoggedEvent => row.number !== null;

function rowsByLog(rows: LogRow[]): Map<string, LogRow[]> {
  const logs = new Map<string, LogRow[]>();
  for (const row of rows) {
    const log = logs.get(row.executionId);
    if (log) log.push(row);
    else logs.set(row.executionId, [row]);
  }
  return logs;
}
