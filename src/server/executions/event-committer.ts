// The group commit: everything all attached streams of this replica say goes through one connection, in one transaction
// for what gathered while the former one was in flight (S7). No timer: a lone event is committed at once, and the busier
// it is the larger the groups.
//
// C1  Who is fenced, locked or refused drops out of a group alone (group-write.ts), and the others commit.
// C2  A stream is told of a commit after it, and of its contiguous stored number only (S2). There is one connection, so
//     commits end in the order they began.
// C3  An execution somebody else has locked is tried again a moment later: it never keeps the others waiting.
//     So does one whose ports meet a row of ledger or cache that is locked: see commitApart.
// C4  When the connection is lost in the midst, everything is offered again; the stored numbers tell what had been
//     committed, so nothing is applied twice.
// C5  When a group fails for its content, each stream is tried alone, so that one cannot hurt another.
import { AppError } from "../../core/app-error.js";
import { type CommitLoad, QUEUE_LIMIT } from "../../core/credit.js";
import { createBackoff } from "../../process/backoff.js";
import type { Logger } from "../../process/log.js";
import { explainDatabaseError, LOCK_NOT_HAD, sqlState } from "../database/database-error.js";
import { InDoubt, type WriterConnection } from "../database/writer-connection.js";
import type { StreamFence } from "../repositories/execution-leases.js";
import { type Committed, concernsPorts, type Outcome, writeGroup } from "./group-write.js";
import { type Queued, type Slice, type StreamListener, StreamWriter } from "./stream-writer.js";

/** Events of one transaction: more gains nothing, and everybody waits for it. */
const GROUP_EVENTS = 8_192;
const GROUP_BYTES = 8 * 1024 * 1024;
/** What a stream may always put into a group, in events. */
const LEAST_SLICE = 256;
/** Groups shrink to this share of their limits while commits stay in doubt: they may be too large for the database. */
const LEAST_SHARE = 1 / 256;
/** Pause before an execution somebody else has locked is tried again. */
const LOCKED_PAUSE_MS = 20;
/** Weight of the newest commit in the measured rate. */
const SMOOTHING = 0.2;
/** Smaller groups say little about the rate. */
const MEASURED_EVENTS = 64;

export interface EventCommitter {
  /** A stream that has taken its lease; `lastSequence` is what is stored of its attempt. */
  open(stream: {
    fence: StreamFence;
    leaseMs: number;
    lastSequence: bigint;
    /** Log position of the last event, if it is known. */
    lastNumber?: bigint;
    listener: StreamListener;
  }): StreamWriter;
  /** The stream is over: what waits is still stored if it can be, and its listener hears nothing more. */
  release(writer: StreamWriter): void;
  load(): CommitLoad;
  /** Resolves when there is room to read more from the streams. */
  room(): Promise<void>;
  /** Waits for what is under way, `withinMs` at most, then ends the connection. */
  close(withinMs: number): Promise<void>;
}

interface Deps {
  connection: WriterConnection;
  /** Told after each commit, once per execution whose log grew. */
  onCommitted(committed: Committed): void;
  log: Logger;
  now: () => number;
}

export function createEventCommitter({ connection, onCommitted, log, now }: Deps): EventCommitter {
  const writers = new Set<StreamWriter>();
  /** Streams with work, in the order they got it. */
  const waiting = new Set<StreamWriter>();
  const queued: Queued = { events: 0, bytes: 0 };
  let running: Promise<void> | undefined;
  let closed = false;
  let eventsPerMs = 0;
  /** Of the limits of a group. */
  let share = 1;
  const roomWanted: (() => void)[] = [];

  function onWork(writer: StreamWriter): void {
    waiting.add(writer);
    running ??= run();
  }

  /** Commits group after group until nothing waits. */
  async function run(): Promise<void> {
    const backoff = createBackoff({ firstMs: 50, maxMs: 1_000 });
    // What arrived in the same turn of the event loop belongs together.
    await new Promise((resolve) => setImmediate(resolve));
    while (waiting.size > 0 && !closed) {
      const group = nextGroup();
      const startedAt = now();
      try {
        settle(group, await commit(group), now() - startedAt);
        share = Math.min(1, share * 2);
      } catch (error) {
        if (!(error instanceof InDoubt)) throw error;
        log.warn({ err: error, streams: group.length }, "a group commit is in doubt; it will be offered again");
        share = Math.max(LEAST_SHARE, share / 2);
        for (const { writer } of group) waiting.add(writer);
        await pause(backoff.nextDelayMs(now() - startedAt));
      }
      tellRoom();
    }
    running = undefined;
  }

  function nextGroup(): Slice[] {
    const group: Slice[] = [];
    let events = 0;
    let bytes = 0;
    const most = { events: GROUP_EVENTS * share, bytes: GROUP_BYTES * share };
    // So that one who never stops does not fill the group when others wait.
    const each = { events: most.events / waiting.size, bytes: most.bytes / waiting.size };
    for (const writer of waiting) {
      if (group.length > 0 && (events >= most.events || bytes >= most.bytes)) break;
      waiting.delete(writer);
      if (!writer.hasWork) continue;
      const slice = writer.slice({ events: Math.max(LEAST_SLICE, each.events), bytes: each.bytes });
      group.push(slice);
      events += slice.events.length;
      bytes += slice.bytes;
    }
    return group;
  }

  /** C5. */
  async function commit(group: Slice[]): Promise<Outcome[]> {
    if (group.length === 0) return [];
    try {
      return await writeGroup(connection, group, now);
    } catch (error) {
      if (error instanceof InDoubt) throw error;
      if (sqlState(error) === LOCK_NOT_HAD) return commitApart(group);
      if (group.length === 1) return [{ kind: "refused", error: refusalOf(error) }];
      log.warn(
        { err: error, streams: group.length },
        "a group could not be stored; each of its streams is tried alone",
      );
      const outcomes: Outcome[] = [];
      for (const slice of group) outcomes.push(...(await commit([slice])));
      return outcomes;
    }
  }

  /**
   * After a lock that was not had (C3). Streams that say nothing of ports go on together, and the others one by one. When
   * there are none of both kinds, it is something larger than a row, such as a table that is being changed.
   */
  async function commitApart(group: Slice[]): Promise<Outcome[]> {
    const plain = group.filter((slice) => !concernsPorts(slice));
    if (group.length === 1 || plain.length === group.length) return group.map(() => ({ kind: "locked" }));
    const parts = [plain, ...group.filter(concernsPorts).map((slice) => [slice])];
    const outcomes = new Map<Slice, Outcome>();
    for (const part of parts)
      for (const [i, outcome] of (await commit(part)).entries()) outcomes.set(part[i]!, outcome);
    return group.map((slice) => outcomes.get(slice)!);
  }

  function refusalOf(error: unknown): AppError {
    const explained = explainDatabaseError(error);
    if (explained instanceof AppError) return explained;
    log.error({ err: error }, "events could not be stored");
    return new AppError("internal", "INTERNAL", "The events could not be stored; the server's log has the details.", {
      cause: error,
    });
  }

  /** Tells everybody (C2), and puts back what has more to say. */
  function settle(group: Slice[], outcomes: Outcome[], tookMs: number): void {
    measure(group, tookMs);
    const locked: StreamWriter[] = [];
    group.forEach((slice, i) => {
      const { writer } = slice;
      const outcome = outcomes[i]!;
      switch (outcome.kind) {
        case "committed":
          if (outcome.logged) onCommitted(outcome.logged);
          writer.committed(slice, outcome.logged?.lastNumber);
          break;
        case "applied":
          writer.advance(outcome.lastSequence);
          break;
        case "refused":
          writer.refuse(outcome.error);
          break;
        case "locked":
          locked.push(writer);
          return;
      }
      if (writer.hasWork) waiting.add(writer);
    });
    if (locked.length > 0)
      setTimeout(() => {
        for (const writer of locked) if (writer.hasWork) onWork(writer);
      }, LOCKED_PAUSE_MS);
  }

  function measure(group: Slice[], tookMs: number): void {
    const events = group.reduce((sum, slice) => sum + slice.events.length, 0);
    if (events < MEASURED_EVENTS) return;
    const rate = events / Math.max(tookMs, 0.1);
    eventsPerMs = eventsPerMs === 0 ? rate : eventsPerMs * (1 - SMOOTHING) + rate * SMOOTHING;
  }

  const load = (): CommitLoad => ({
    streams: writers.size,
    queuedEvents: queued.events,
    queuedBytes: queued.bytes,
    eventsPerMs,
  });

  const isFull = (): boolean => queued.events >= QUEUE_LIMIT.events || queued.bytes >= QUEUE_LIMIT.bytes;

  function tellRoom(): void {
    if (roomWanted.length === 0 || isFull()) return;
    for (const go of roomWanted.splice(0)) go();
  }

  return {
    open({ fence, leaseMs, lastSequence, lastNumber, listener }) {
      const writer = new StreamWriter({ fence, leaseMs, lastSequence, lastNumber, listener, queued, onWork });
      writers.add(writer);
      return writer;
    },
    release(writer) {
      void writer.settled().then(() => {
        writer.end();
        writers.delete(writer);
        tellRoom();
      });
    },
    load,
    room: () => (isFull() ? new Promise((resolve) => roomWanted.push(resolve)) : Promise.resolve()),
    async close(withinMs) {
      await Promise.race([running, pause(withinMs)]);
      closed = true;
      for (const writer of writers) writer.end();
      for (const go of roomWanted.splice(0)) go();
      await connection.close();
      await Promise.race([running, pause(withinMs)]);
    },
  };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms).unref());
