// Reads by key that many calls make at the same time: what is asked for in one turn of the event loop, or while a
// statement is under way, goes into the next one, together. A thousand calls at once cost a few statements.
//
// R1  A row was read after it was asked for: nobody gets what an earlier statement found.
// R2  A statement that takes its time, for instance because its backend is frozen, holds up no other for longer than
//     `patienceMs`.
// R3  Who asked for the same key together gets the same object: rows are not changed by those who read them.

import type { Database } from "./database.js";

interface Deps<Key, Row> {
  /** Reads the rows of these keys; a key without a row is left out. */
  read(keys: Key[]): Promise<Row[]>;
  keyOf(row: Row): Key;
  /** Most keys of one statement. */
  most?: number;
  patienceMs?: number;
}

interface Asked<Row> {
  resolve(row: Row | undefined): void;
  reject(error: unknown): void;
}

/** Returns a function that reads one row; undefined when there is none. */
export function createSharedReads<Key, Row>({
  read,
  keyOf,
  most = 500,
  patienceMs = 5,
}: Deps<Key, Row>): (key: Key) => Promise<Row | undefined> {
  let waiting = new Map<Key, Asked<Row>[]>();
  /** A statement is under way, or about to be. */
  let busy = false;

  function next(): void {
    busy = waiting.size > 0;
    if (!busy) return;
    const asked = waiting;
    waiting = new Map();
    for (const [key, who] of [...asked].slice(most)) {
      asked.delete(key);
      waiting.set(key, who);
    }
    let isOver = false;
    const over = () => {
      if (isOver) return;
      isOver = true;
      clearTimeout(impatient);
      setImmediate(next);
    };
    const impatient = setTimeout(over, patienceMs);
    read([...asked.keys()])
      .then(
        (rows) => {
          const found = new Map(rows.map((row) => [keyOf(row), row]));
          for (const [key, who] of asked) for (const { resolve } of who) resolve(found.get(key));
        },
        (error) => {
          for (const who of asked.values()) for (const { reject } of who) reject(error);
        },
      )
      .finally(over);
  }

  return (key) =>
    new Promise((resolve, reject) => {
      const who = waiting.get(key);
      if (who) who.push({ resolve, reject });
      else waiting.set(key, [{ resolve, reject }]);
      if (busy) return;
      busy = true;
      setImmediate(next);
    });
}

/** Makes one of something for each database it is asked for, and keeps it as long as the database. */
export function oncePerDatabase<Made>(make: (db: Database) => Made): (db: Database) => Made {
  const made = new WeakMap<Database, Made>();
  return (db) => {
    const known = made.get(db) ?? make(db);
    made.set(db, known);
    return known;
  };
}
