// One connection for one kind of transaction, again and again: statements are prepared once.
// It does not come from the pool, so no reader can keep it waiting, and it must not go through a pooler in transaction
// mode, which forgets prepared statements.
//
// K1  Transactions run one after the other.
// K2  A transaction ends in one of three ways: committed, refused (rolled back, the error of Postgres), or in doubt: the
//     connection was lost or given up, and only the database knows whether it committed. The next one connects anew.
import type pg from "pg";
import { camelCaseRows, type Queryable } from "./database.js";
import { isConnectionLoss } from "./database-error.js";
import { withNumbers } from "./named-parameters.js";

export interface WriterConnection {
  /** Runs `work`, which is one statement and so a transaction by itself; rejects as `transaction` does. */
  statement<T>(work: (db: Queryable) => Promise<T>): Promise<T>;
  /** Runs `work` between `begin` and `commit`; rejects with InDoubt (K2), or with what refused it. */
  transaction<T>(work: (tx: Queryable) => Promise<T>, options?: { begin?: string }): Promise<T>;
  /** Ends the connection, also one that is being made; what comes later is rejected. */
  close(): Promise<void>;
}

/** Whether the transaction was committed is not known. */
export class InDoubt extends Error {
  constructor(cause: unknown) {
    super("The connection to the database was lost in the midst of a transaction.", { cause });
    this.name = "InDoubt";
  }
}

interface Deps {
  connect(): Promise<pg.Client>;
  /** A transaction that takes longer is given up, by both sides, in milliseconds: the other may be frozen. */
  patienceMs: number;
}

export function createWriterConnection({ connect, patienceMs }: Deps): WriterConnection {
  let client: pg.Client | undefined;
  const closing = new AbortController();

  async function open(): Promise<pg.Client> {
    const opened = await connect();
    // Should this process freeze in the midst of a transaction, its row locks must not outlast anybody's lease.
    await opened.query(
      `set idle_in_transaction_session_timeout = ${Math.ceil(patienceMs)}; set lock_timeout = ${LOCK_TIMEOUT_MS}`,
    );
    return opened;
  }

  async function connected(): Promise<pg.Client> {
    if (client) return client;
    if (closing.signal.aborted) throw new InDoubt(closing.signal.reason);
    const opening = open();
    let mine: pg.Client;
    try {
      mine = await within(patienceMs, opening, closing.signal);
      closing.signal.throwIfAborted(); // in the same moment
    } catch (error) {
      void opening.then(abandon, () => {}); // nobody waits for it any more
      throw new InDoubt(error);
    }
    client = mine;
    mine.once("end", () => {
      if (client === mine) client = undefined;
    });
    return mine;
  }

  /** Gives the connection up at once; what waits on it is rejected. */
  function abandon(lost: pg.Client): void {
    if (client === lost) client = undefined;
    lost.connection.stream.destroy();
  }

  async function attempt<T>(on: pg.Client, work: (tx: Queryable) => Promise<T>, begin: string): Promise<T> {
    await on.query(begin);
    try {
      const result = await work(preparedOn(on));
      await on.query("commit");
      return result;
    } catch (error) {
      if (!isConnectionLoss(error)) await on.query("rollback");
      throw error;
    }
  }

  /** K2 */
  async function known<T>(work: (on: pg.Client) => Promise<T>): Promise<T> {
    const on = await connected();
    const patience = setTimeout(() => abandon(on), patienceMs);
    try {
      return await work(on);
    } catch (error) {
      if (client === on && !isConnectionLoss(error)) throw error;
      abandon(on);
      throw new InDoubt(error);
    } finally {
      clearTimeout(patience);
    }
  }

  return {
    statement: (work) => known((on) => work(preparedOn(on))),
    transaction: (work, { begin = "begin" } = {}) => known((on) => attempt(on, work, begin)),
    async close() {
      closing.abort(new Error("The connection to the database was closed."));
      const last = client;
      client = undefined;
      if (last) await within(CLOSE_WITHIN_MS, last.end()).catch(() => abandon(last)); // its backend may be frozen
    },
  };
}

/** A row that somebody holds for longer is worth another way of writing (LOCK_NOT_HAD). */
const LOCK_TIMEOUT_MS = 50;
const CLOSE_WITHIN_MS = 1_000;

/** The promise, or a rejection when it takes too long or `signal` aborts. */
async function within<T>(ms: number, promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  let giveUp = (_why: Error) => {};
  const late = new Promise<never>((_, reject) => (giveUp = reject));
  const timer = setTimeout(() => giveUp(new Error(`The database did not answer within ${ms} ms.`)), ms);
  const onAbort = () => giveUp(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}

/** By text: every connection prepares a statement under the same name. */
const names = new Map<string, string>();

function nameOf(text: string): string {
  const name = names.get(text) ?? `postern_${names.size + 1}`;
  names.set(text, name);
  return name;
}

function preparedOn(client: pg.Client): Queryable {
  return {
    async query<Row>(sql: string, params: Record<string, unknown> = {}) {
      const { text, values } = withNumbers(sql, params);
      return camelCaseRows<Row>(await client.query({ name: nameOf(text), text, values, rowMode: "array" }));
    },
  };
}
