import { setMaxListeners } from "node:events";
import { expect } from "chai";
import type pg from "pg";
import { pino } from "pino";
import { createNotifications, type Notifications } from "../../src/server/notifications.js";
import { createMigratedDatabase, type MigratedDatabase } from "../support/migrated-database.js";
import { until } from "../support/until.js";

const log = pino({ level: "silent" });

describe("hints between replicas", () => {
  let database: MigratedDatabase;
  const stop = new AbortController();
  setMaxListeners(0, stop.signal);
  const running: Promise<void>[] = [];
  before(async () => {
    database = await createMigratedDatabase();
  });
  after(async () => {
    stop.abort();
    await Promise.all(running);
    await database.close();
  });

  /** Each text of NOTIFY's parameters that left through one of them. */
  const notified: string[][] = [];
  const clients: pg.Client[] = [];
  async function replica(): Promise<Notifications> {
    const notifications = createNotifications({
      log,
      answerMs: 1_000,
      sessionConnection: async (name) => {
        const client = await database.db.sessionConnection(name);
        clients.push(client);
        const query = client.query.bind(client) as (text: string | pg.QueryConfig) => Promise<pg.QueryResult>;
        client.query = ((config: string | pg.QueryConfig) => {
          if (typeof config === "object") notified.push(config.values![1]);
          return query(config);
        }) as typeof client.query;
        return client;
      },
    });
    const looked = new Promise<void>((resolve) => notifications.onQueue("start", "up", resolve));
    running.push(notifications.run(stop.signal));
    await looked; // N3: connected
    return notifications;
  }
  const listenBackends = () =>
    database.db.query<{ pid: number }>(
      "select pid from pg_stat_activity where datname = current_database() and application_name = 'postern-hints'",
    );

  it("arrive everywhere, each where it is waited for", async () => {
    const [here, there] = [await replica(), await replica()];
    const heard: string[] = [];
    for (const [name, one] of Object.entries({ here, there })) {
      one.onExecution("e1", (number) => heard.push(`${name} changed ${number}`));
      one.onExecutorConcern("e1", () => heard.push(`${name} concern`));
      one.onQueue("p", "u", () => heard.push(`${name} queue`));
    }
    here.executionChanged("e1", 7n);
    here.executorConcerned("e1");
    here.executorConcerned("e2");
    here.executionQueued("p", "u");
    expect(heard, "inside the replica at once").to.deep.equal(["here changed 7", "here concern", "here queue"]);
    await until(() => heard.length === 6);
    expect(heard.slice(3)).to.deep.equal(["there changed 7", "there concern", "there queue"]);
  });

  it("stop where nobody waits any more", async () => {
    const here = await replica();
    let looks = 0;
    const leave = here.onExecution("e1", () => looks++);
    here.executionChanged("e1");
    leave();
    here.executionChanged("e1");
    expect(looks).to.equal(1);
  });

  it("leave together, the last number of each execution counting; ten thousand block nobody", async () => {
    const [here, there] = [await replica(), await replica()];
    const numbers = new Map<string, bigint | undefined>();
    const ids = Array.from({ length: 1_000 }, (_, i) => `execution-${i}-${"x".repeat(20)}`);
    for (const id of ids) there.onExecution(id, (number) => numbers.set(id, number));
    notified.length = 0;
    for (let n = 1n; n <= 10n; n++) for (const id of ids) here.executionChanged(id, n);
    await until(() => ids.every((id) => numbers.get(id) === 10n));
    const payloads = notified.flat();
    expect(notified.length).to.be.lessThan(5);
    expect(payloads.length).to.be.lessThan(30);
    for (const payload of payloads) expect(Buffer.byteLength(payload)).to.be.at.most(7_900);
  });

  it("say 'look in any case' when one of several does", async () => {
    const [here, there] = [await replica(), await replica()];
    const heard: (bigint | undefined)[] = [];
    there.onExecution("e1", (number) => heard.push(number));
    here.executionChanged("e1", 3n);
    here.executionChanged("e1");
    here.executionChanged("e1", 4n);
    await until(() => heard.length > 0);
    expect(heard).to.include(undefined);
  });

  it("are not disturbed by what others say on the channel", async () => {
    const here = await replica();
    const heard: (bigint | undefined)[] = [];
    here.onExecution("e1", (number) => heard.push(number));
    for (const payload of ["", "\n", "x", "x\n\n", "x\ne/e1 -5", "x\ne/e1 12345678901234567890", "x\ne/e1 9 9\nz/e1"])
      await database.db.query("select pg_notify('postern_hint', :payload)", { payload });
    await until(() => heard.length === 3);
    expect(heard).to.deep.equal([undefined, undefined, 9n]);
  });

  it("tell everybody to look again after the connection was lost, and pass again", async () => {
    const [here, there] = [await replica(), await replica()];
    const heard: string[] = [];
    there.onExecution("e1", () => heard.push("changed"));
    there.onExecutorConcern("e2", () => heard.push("concern"));
    there.onQueue("p", "u", () => heard.push("queue"));
    for (const { pid } of await listenBackends()) await database.db.query("select pg_terminate_backend(:pid)", { pid });
    here.executionChanged("e1"); // lost or not
    await until(() => ["changed", "concern", "queue"].every((one) => heard.includes(one)));
    heard.length = 0;
    await until(() => {
      here.executorConcerned("e2");
      return heard.includes("concern");
    });
  });

  it("pass again after the connection has fallen silent without breaking", async () => {
    const [here, there] = [await replica(), await replica()];
    let looks = 0;
    there.onExecutorConcern("e1", () => looks++);
    clients.at(-2)!.query = (() => new Promise(() => {})) as pg.Client["query"]; // that of `here`: frozen
    const connections = clients.length;
    here.executorConcerned("e1");
    await until(() => clients.length > connections);
    await until(() => {
      here.executorConcerned("e1");
      return looks > 0;
    });
  });

  it("wait for no flush of the log", async () => {
    await replica();
    const { rows } = await clients
      .at(-1)!
      .query("select setting, source from pg_settings where name = 'synchronous_commit'");
    expect(rows).to.deep.equal([{ setting: "off", source: "session" }]);
  });
});
