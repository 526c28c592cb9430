// Fifty executions of one workflow at once, on two executors: each port is computed once, and whoever waits for it goes on
// as soon as it is committed. Then again, with the executor that computes killed in the midst of it: one inherits.
//
// Both times are the database's: an entry has the time of the transaction that committed it, a port that of the
// transaction that registered the reuse.
import { setTimeout as delay } from "node:timers/promises";
import { CacheMode } from "../../../src/contract/postern/v1/execution.js";
import { atMost } from "../../figure.js";
import { percentile } from "../../statistics.js";
import { completed } from "../ended.js";
import { type CacheSystem, type FigureGroup, LEASE_MS } from "../system.js";

/** Slow enough for everybody to be waiting when it ends; `label` keeps the two workflows apart. */
const slow = (label: string) => `
  let first = true;
  function processTuple(tuple) {
    if (first) { const until = Date.now() + 3000; while (Date.now() < until); first = false; }
    return { label: "${label}", id: tuple.id };
  }`;

const slowWorkflow = (label: string) => ({
  operators: [
    { id: "rows", type: "scan", properties: { dataset: "rows" } },
    {
      id: "slow",
      type: "javascript-function",
      properties: {
        code: slow(label),
        retainInputColumns: false,
        // It looks at the clock, and gives the same rows whatever that says.
        deterministic: true,
        outputColumns: [
          { name: "label", type: "string" },
          { name: "id", type: "long" },
        ],
      },
    },
    { id: "few", type: "filter", properties: { predicate: "id < 10" }, viewResult: true },
  ],
  links: [
    { from: "rows", to: "slow" },
    { from: "slow", to: "few" },
  ],
});

export const shared: FigureGroup = {
  figures: ["shared-computed-per-port", "shared-wait-after-commit", "shared-inherited-computed-per-port"],
  async *measure({ system, scale, note, wanted }) {
    const { executions } = system.clients;
    const half = Math.ceil(scale.executions / 2);
    const one = await system.startExecutor("one", half);
    const two = await system.startExecutor("two", half);
    const all = async (workflowId: string) => {
      const prepared = await Promise.all(
        Array.from({ length: scale.executions }, () =>
          system.prepare(workflowId, { queue: true, cache: CacheMode.CACHE_MODE_USE }),
        ),
      );
      return prepared.map(({ execution }) => execution!.id);
    };
    const end = (ids: string[]) => Promise.all(ids.map((id) => completed(executions, system.userToken, id)));

    await system.putWorkflow("shared", slowWorkflow("shared"));
    const ids = await all("shared");
    await end(ids);
    const computed = await computationsPerPort(system, ids);
    yield {
      figure: "shared-computed-per-port",
      value: computed,
      unit: "times",
      yardstick: ids.length,
      bound: atMost(1),
    };
    const { said, stored } = await waitsAfterCommit(system, ids);
    note(
      `shared: ${said.length} waits, said after p50 ${percentile(said, 0.5).toFixed(0)} ms, the last ${percentile(said, 1).toFixed(0)} ms; ` +
        `stored after p50 ${percentile(stored, 0.5).toFixed(0)} ms, the last ${percentile(stored, 1).toFixed(0)} ms`,
    );
    yield {
      figure: "shared-wait-after-commit",
      value: percentile(said, 1),
      unit: "ms",
      yardstick: percentile(stored, 1),
      bound: atMost(100),
    };

    if (wanted("shared-inherited-computed-per-port")) {
      await system.putWorkflow("killed", slowWorkflow("killed"));
      const more = await all("killed");
      const holder = await holderOf(system, more);
      process.kill(holder === "one" ? one.pid : two.pid, "SIGKILL");
      const killedAt = performance.now();
      const standIn = await system.startExecutor("three", half);
      await end(more);
      note(
        `shared: all ended ${Math.round(performance.now() - killedAt)} ms after their holder was killed (lease ${LEASE_MS} ms)`,
      );
      const value = await computationsPerPort(system, more);
      yield {
        figure: "shared-inherited-computed-per-port",
        value,
        unit: "times",
        yardstick: more.length,
        bound: atMost(1),
      };
      await standIn.stop();
    }
    await one.stop();
    await two.stop();
  },
};

/** How many objects were written for the port that was written most often. */
async function computationsPerPort({ sql }: CacheSystem, ids: string[]): Promise<number> {
  const { rows } = await sql.query<{ most: number }>(
    `select max(times)::integer as most from (
       select count(distinct uri) as times from port_result where execution_id = any($1::uuid[]) group by subdag_hash) t`,
    [ids],
  );
  return rows[0]!.most;
}

/**
 * From the commit of the viewed port to what each execution that waited for it said of it, in milliseconds: `said` by its
 * executor's clock, which is this machine's, and `stored` when that was committed in turn.
 */
async function waitsAfterCommit({ sql }: CacheSystem, ids: string[]): Promise<{ said: number[]; stored: number[] }> {
  const { rows } = await sql.query<{ said: number; stored: number }>(
    `select extract(epoch from v.occurred_at - c.created_at)::float8 * 1000 as said,
            extract(epoch from p.registered_at - c.created_at)::float8 * 1000 as stored
       from port_result p join cache_entry c on c.result_uri = p.uri
       join lateral (select max(occurred_at) as occurred_at from execution_event
                      where execution_id = p.execution_id and kind = 'portResult') v on true
      where p.execution_id = any($1::uuid[]) and c.source_execution_id <> p.execution_id and p.viewed`,
    [ids],
  );
  if (rows.length !== ids.length - 1)
    throw new Error(`${rows.length} of ${ids.length - 1} executions reused the result.`);
  return { said: rows.map((row) => row.said), stored: rows.map((row) => row.stored) };
}

/** The executor that has reserved something of these executions. */
async function holderOf({ sql }: CacheSystem, ids: string[]): Promise<string> {
  for (let tries = 0; tries < 200; tries++) {
    const { rows } = await sql.query<{ holder: string }>(
      `select e.executor_id as holder from cache_reservation r join execution e on e.id = r.execution_id
        where r.state = 'HELD' and e.id = any($1::uuid[]) limit 1`,
      [ids],
    );
    if (rows[0]) return rows[0].holder;
    await delay(10);
  }
  throw new Error("Nobody has reserved anything.");
}
