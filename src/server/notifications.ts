// Hints between replicas: "look again". A hint is sent after the commit it tells of, is never the message itself, and
// may be lost; whoever waits for one also looks by itself from time to time.
//
// N1  Inside a replica a hint is delivered at once; across replicas through one LISTEN connection each.
// N2  Hints that gather while one NOTIFY is on its way leave together (NOTIFY takes a global lock at commit).
// N3  After the LISTEN connection was away, everybody is told to look again.
import type pg from "pg";
import { newId } from "../core/ids.js";
import { keepRunning } from "../process/keep-running.js";
import type { Logger } from "../process/log.js";
import type { Queryable } from "./database/database.js";

/** Postgres limits a payload to 8,000 bytes. */
const PAYLOAD_LIMIT = 7_800;
const CHANNEL = "postern_hint";

export interface Hints {
  /** Something was committed to an execution's log, lease or commands. */
  executionChanged(executionId: string): void;
  /** Somebody asked for an execution to be stopped, paused or resumed. */
  commandRequested(executionId: string): void;
  /** A computing unit has a queued execution. */
  executionQueued(projectId: string, computingUnitId: string): void;
  /** Calls `look` at each hint for the execution until the returned function is called. */
  onExecution(executionId: string, look: () => void): () => void;
  /** Calls `look` at each hint of a command for the execution until the returned function is called. */
  onCommand(executionId: string, look: () => void): () => void;
  /** Calls `look` at each hint for the computing unit's queue until the returned function is called. */
  onQueue(projectId: string, computingUnitId: string, look: () => void): () => void;
}

export interface Notifications extends Hints {
  /** Keeps the LISTEN connection until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

interface Deps {
  db: Queryable;
  /** A dedicated connection; LISTEN does not survive a pooler in transaction mode. */
  sessionConnection: () => Promise<pg.Client>;
  log: Logger;
}

export function createNotifications({ db, sessionConnection, log }: Deps): Notifications {
  const listeners = new Map<string, Set<() => void>>();
  const unsent = new Set<string>();
  let sending = false;
  // A replica has delivered its own hints already when they come back.
  const me = newId();

  const deliver = (key: string): void => {
    for (const look of listeners.get(key) ?? []) look();
  };

  async function send(): Promise<void> {
    if (sending) return;
    sending = true;
    try {
      while (unsent.size > 0) {
        const payload = `${me}\n${nextPayload(unsent)}`;
        await db.query("select pg_notify(:channel, :payload)", { channel: CHANNEL, payload });
      }
    } catch (error) {
      // The backstop of each reader covers what is lost here.
      unsent.clear();
      log.warn({ err: error }, "hints to other replicas could not be sent");
    } finally {
      sending = false;
    }
  }

  function hint(key: string): void {
    deliver(key);
    unsent.add(key);
    void send();
  }

  function listen(key: string, look: () => void): () => void {
    const set = listeners.get(key) ?? new Set();
    listeners.set(key, set.add(look));
    return () => {
      set.delete(look);
      if (set.size === 0 && listeners.get(key) === set) listeners.delete(key);
    };
  }

  async function listenOnce(signal: AbortSignal): Promise<void> {
    const client = await sessionConnection();
    try {
      client.on("notification", ({ payload }) => {
        const [from, ...keys] = (payload ?? "").split("\n");
        if (from !== me) for (const key of keys) deliver(key);
      });
      const ended = new Promise<void>((resolve) => {
        client.once("end", resolve);
        // The end may have begun while the connection was being made.
        if (signal.aborted) resolve();
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
      await client.query(`listen ${CHANNEL}`);
      for (const key of [...listeners.keys()]) deliver(key);
      await ended;
      // Watchers see changes only at their backstop until the next connection.
      if (!signal.aborted) throw new Error("The LISTEN connection was lost.");
    } finally {
      await client.end();
    }
  }

  return {
    run: (signal) => keepRunning({ name: "listening for hints", log, signal }, listenOnce),
    executionChanged: (executionId) => hint(`e/${executionId}`),
    executionQueued: (projectId, computingUnitId) => hint(`q/${projectId}/${computingUnitId}`),
    commandRequested: (executionId) => hint(`c/${executionId}`),
    onExecution: (executionId, look) => listen(`e/${executionId}`, look),
    onCommand: (executionId, look) => listen(`c/${executionId}`, look),
    onQueue: (projectId, computingUnitId, look) => listen(`q/${projectId}/${computingUnitId}`, look),
  };
}

/** Takes as many keys as fit into one payload. */
function nextPayload(unsent: Set<string>): string {
  const taken: string[] = [];
  let bytes = 0;
  for (const key of unsent) {
    if (taken.length > 0 && bytes + key.length + 1 > PAYLOAD_LIMIT) break;
    taken.push(key);
    bytes += key.length + 1;
    unsent.delete(key);
  }
  return taken.join("\n");
}
