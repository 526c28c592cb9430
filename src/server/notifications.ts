// Hints between replicas: "look again". A hint is sent after the commit it tells of, is never the message itself, and
// may be lost; whoever waits for one also looks by itself from time to time.
//
// N1  Inside a replica a hint is delivered at once; across replicas through one LISTEN connection each, on which the
//     replica's own hints leave too.
// N2  Hints that gather while one NOTIFY is on its way leave together (NOTIFY takes a global lock at commit), those of
//     one topic as one.
// N3  After the LISTEN connection was away, everybody is told to look again.
// N4  Whoever gives a hint never waits: while the connection is away, hints to other replicas are dropped.
import type pg from "pg";
import { newId } from "../core/ids.js";
import { keepRunning } from "../process/keep-running.js";
import type { Logger } from "../process/log.js";
import { createWakeUp } from "../process/wake-up.js";

const CHANNEL = "postern_hint";
/** Postgres limits a payload to 8,000 bytes. */
const PAYLOAD_BYTES = 7_800;
/** Payloads in one statement, and so under one taking of the lock. */
const PAYLOADS = 16;
/** Topics that wait for the connection; beyond them hints are dropped. */
const UNSENT_TOPICS = 20_000;
/** How often a silent connection must show that it lives. */
const PULSE_MS = 10_000;
/** Longest pause before the next try to connect: until then changes elsewhere are seen at backstops only. */
const RECONNECT_MAX_MS = 2_000;

/** Called at a hint; with the last number of the log when whoever gave the hint told it. */
export type LookAtLog = (lastNumber?: bigint) => void;

export interface Hints {
  /**
   * Something was committed to an execution's log or state. `lastNumber` says that the log's end is all there is to see,
   * so that whoever has read that far need not look.
   */
  executionChanged(executionId: string, lastNumber?: bigint): void;
  /** Whoever speaks with the executor of this execution must look again: a command, a takeover, an end. */
  executorConcerned(executionId: string): void;
  /** A computing unit has a queued execution. */
  executionQueued(projectId: string, computingUnitId: string): void;
  /** Keys of the cache came out: an entry is there, or a reservation has ended or passed to somebody. */
  cacheChanged(keys: readonly HintedKey[]): void;
  /** Calls `look` at each hint for the execution until the returned function is called. */
  onExecution(executionId: string, look: LookAtLog): () => void;
  /** Calls `look` at each hint that concerns the execution's executor until the returned function is called. */
  onExecutorConcern(executionId: string, look: () => void): () => void;
  /** Calls `look` at each hint for the computing unit's queue until the returned function is called. */
  onQueue(projectId: string, computingUnitId: string, look: () => void): () => void;
  /** Calls `look` at each hint for the key of the cache until the returned function is called. */
  onCacheKey(key: HintedKey, look: () => void): () => void;
}

/** A key of the cache, whatever its namespace. */
export interface HintedKey {
  projectId: string;
  subdagHash: string;
}

export interface Notifications extends Hints {
  /** Keeps the LISTEN connection until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

interface Deps {
  /** A dedicated connection; LISTEN does not survive a pooler in transaction mode. */
  sessionConnection: (applicationName: string) => Promise<pg.Client>;
  log: Logger;
  /** How long the connection may take over an answer before it counts as lost. Default 5 s. */
  answerMs?: number;
}

export function createNotifications({ sessionConnection, log, answerMs = 5_000 }: Deps): Notifications {
  const listeners = new Map<string, Set<LookAtLog>>();
  /** By topic, with the number to tell; undefined says "look in any case". */
  const unsent = new Map<string, bigint | undefined>();
  const wakeUp = createWakeUp();
  let connected = false;
  // A replica has delivered its own hints already when they come back.
  const me = newId();

  const deliver = (topic: string, lastNumber?: bigint): void => {
    for (const look of listeners.get(topic) ?? []) look(lastNumber);
  };

  function hint(topic: string, lastNumber?: bigint): void {
    deliver(topic, lastNumber);
    if (!connected) return; // N4
    if (!unsent.has(topic)) {
      if (unsent.size >= UNSENT_TOPICS) return;
      unsent.set(topic, lastNumber);
    } else unsent.set(topic, later(unsent.get(topic), lastNumber));
    wakeUp.wake();
  }

  function listen(topic: string, look: LookAtLog): () => void {
    const set = listeners.get(topic) ?? new Set();
    listeners.set(topic, set.add(look));
    return () => {
      set.delete(look);
      if (set.size === 0 && listeners.get(topic) === set) listeners.delete(topic);
    };
  }

  function receive(payload: string | undefined): void {
    const [from, ...hints] = (payload ?? "").split("\n");
    if (from === me) return;
    for (const one of hints) {
      const [topic = "", number] = one.split(" ");
      deliver(topic, number !== undefined && /^\d{1,19}$/.test(number) ? BigInt(number) : undefined);
    }
  }

  async function listenOnce(signal: AbortSignal): Promise<void> {
    const client = await sessionConnection("postern-hints");
    try {
      client.on("notification", ({ payload }) => receive(payload));
      const lost = new AbortController();
      client.once("end", () => {
        lost.abort();
        wakeUp.wake();
      });
      // A hint is worth no flush, least of all under the lock.
      await answered(client.query(`set synchronous_commit = off; listen ${CHANNEL}`), answerMs);
      connected = true;
      for (const topic of [...listeners.keys()]) deliver(topic); // N3
      await sendHints(client, lost.signal, signal);
    } finally {
      connected = false;
      unsent.clear();
      await client.end();
    }
  }

  /** Sends what gathers until the signal aborts, the rest included; rejects when the connection is lost. */
  async function sendHints(client: pg.Client, lost: AbortSignal, signal: AbortSignal): Promise<void> {
    let answeredAt = performance.now();
    for (;;) {
      if (unsent.size > 0) await answered(client.query(notify(me, unsent)), answerMs);
      else if (signal.aborted) return;
      else {
        await wakeUp.wait(PULSE_MS, signal);
        const silentMs = performance.now() - answeredAt;
        if (unsent.size > 0 || (!lost.aborted && silentMs < PULSE_MS)) continue;
        await answered(client.query("select 1"), answerMs);
      }
      answeredAt = performance.now();
    }
  }

  return {
    run: (signal) =>
      keepRunning({ name: "listening for hints", log, signal, maxMs: RECONNECT_MAX_MS }, (s) => listenOnce(s)),
    executionChanged: (executionId, lastNumber) => hint(`e/${executionId}`, lastNumber),
    executorConcerned: (executionId) => hint(`x/${executionId}`),
    executionQueued: (projectId, computingUnitId) => hint(`q/${projectId}/${computingUnitId}`),
    cacheChanged: (keys) => {
      for (const key of keys) hint(keyTopic(key));
    },
    onExecution: (executionId, look) => listen(`e/${executionId}`, look),
    onExecutorConcern: (executionId, look) => listen(`x/${executionId}`, () => look()),
    onQueue: (projectId, computingUnitId, look) => listen(`q/${projectId}/${computingUnitId}`, () => look()),
    onCacheKey: (key, look) => listen(keyTopic(key), () => look()),
  };
}

const keyTopic = ({ projectId, subdagHash }: HintedKey): string => `c/${projectId}/${subdagHash}`;

/** Two hints of one topic as one: whoever must look in any case stays so. */
function later(one: bigint | undefined, other: bigint | undefined): bigint | undefined {
  if (one === undefined || other === undefined) return undefined;
  return one > other ? one : other;
}

/** The statement that sends as many hints as fit into it, and takes them from `unsent`. */
function notify(from: string, unsent: Map<string, bigint | undefined>): pg.QueryConfig {
  const payloads: string[] = [];
  while (unsent.size > 0 && payloads.length < PAYLOADS) {
    let payload = from;
    for (const [topic, lastNumber] of unsent) {
      const line = lastNumber === undefined ? `\n${topic}` : `\n${topic} ${lastNumber}`;
      // Topics are names and numbers: one byte a character.
      if (payload !== from && payload.length + line.length > PAYLOAD_BYTES) break;
      payload += line;
      unsent.delete(topic);
    }
    payloads.push(payload);
  }
  return {
    name: "notify",
    text: "select pg_notify($1, payload) from unnest($2::text[]) payload",
    values: [CHANNEL, payloads],
  };
}

/** Rejects when the answer takes so long that the connection must be dead, though nobody has said so. */
async function answered(query: Promise<unknown>, withinMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const giveUp = () => reject(new Error(`The LISTEN connection has not answered for ${withinMs} ms.`));
    timer = setTimeout(giveUp, withinMs);
  });
  try {
    await Promise.race([query, late]);
  } finally {
    clearTimeout(timer);
  }
}
