// The sweeper: deletes stored objects that nothing names any more.
//
// W1  Any replica may sweep: a batch is locked, and rows somebody else has locked are left to them. What is free to go is
//     put off in the transaction that found it so, which leaves it to the one that found it; who dies then costs a pause.
// W2  Whether a row is still named is asked after it was locked, so nobody can name it between question and answer. Rows
//     of objects that stay are locked no longer than the question takes: executions name them all the time.
//     What a lookup found a moment ago and has not pinned yet is covered by the grace, which outlasts every transaction.
// W3  Objects of an execution that has not ended are left alone: its executor may be writing there.
// W4  Object first, row second: a crash between leaves a row, and the next sweep finds the object gone.
// W5  An object that cannot be deleted is tried again after a pause that doubles, and logged the first time.
import type { Logger } from "../../process/log.js";
import type { Database } from "../database/database.js";
import {
  deleteBlobs,
  keepBlobs,
  lockPutOffBlobs,
  lockUncheckedBlobs,
  lookAgain,
  standingOf,
} from "../repositories/blobs.js";
import type { StoredObject } from "./object-removal.js";

export interface SweepDeps {
  db: Database;
  log: Logger;
  /** How long an object stays after the last name it lost. */
  graceMs: number;
  /** Resolves also when the object is gone already. */
  removeObject(object: StoredObject): Promise<void>;
}

/** Rows at a time; those of objects that are deleted stay locked until all of them are. */
const BATCH = 64;
const FIRST_PAUSE_MS = 60_000;
const LONGEST_PAUSE_MS = 24 * 60 * 60 * 1_000;
/** Objects whose failures are remembered. */
const MOST_FAILURES = 1_000;

/** A sweeper; each call looks at one batch and returns how many rows it looked at: `SWEEP_BATCH` when there may be more. */
export function createSweeper({ db, log, graceMs, removeObject }: SweepDeps): () => Promise<number> {
  const failures = new Map<string, number>();

  async function remove(object: StoredObject): Promise<boolean> {
    try {
      await removeObject(object);
      failures.delete(object.uri);
      return true;
    } catch (error) {
      const before = failures.get(object.uri) ?? 0;
      if (before === 0)
        log.warn({ err: error, uri: object.uri }, "a stored object cannot be deleted, will be tried again");
      failures.delete(object.uri);
      failures.set(object.uri, before + 1);
      if (failures.size > MOST_FAILURES) failures.delete(failures.keys().next().value!);
      return false;
    }
  }

  /** Sorts out a batch, so that rows that stay are free again at once; returns how many there were, and the others. */
  const sortOut = () =>
    db.transaction(async (tx) => {
      const locked = await lockUncheckedBlobs(tx, { graceMs, limit: BATCH });
      if (locked.length === 0) return { looked: 0, free: [] };
      const { named, live, free } = await standingOf(tx, locked);
      if (named.length > 0) await keepBlobs(tx, named);
      const putOff = [...live, ...free.map(({ uri }) => uri)];
      const later = putOff.map((uri) => ({ uri, afterMs: Math.max(graceMs, FIRST_PAUSE_MS) }));
      if (later.length > 0) await lookAgain(tx, later, graceMs);
      return { looked: locked.length, free: free.map(({ uri }) => uri) };
    });

  /** Deletes what is still free. */
  const clear = (uris: string[]) =>
    db.transaction(async (tx) => {
      const locked = await lockPutOffBlobs(tx, uris);
      if (locked.length === 0) return;
      const gone: string[] = [];
      const failed: { uri: string; afterMs: number }[] = [];
      for (const object of (await standingOf(tx, locked)).free) {
        if (await remove(object)) gone.push(object.uri);
        else failed.push({ uri: object.uri, afterMs: pauseMs(failures.get(object.uri)!) });
      }
      if (failed.length > 0) await lookAgain(tx, failed, graceMs);
      if (gone.length > 0) await deleteBlobs(tx, gone);
    });

  return async () => {
    const { looked, free } = await sortOut();
    if (free.length > 0) await clear(free);
    return looked;
  };
}

export const SWEEP_BATCH = BATCH;

const pauseMs = (failed: number): number => Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failed - 1, 20));
