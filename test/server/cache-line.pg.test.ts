import { setTimeout as delay } from "node:timers/promises";
import { expect } from "chai";
import { newId } from "../../src/core/ids.js";
import { callUnary } from "../../src/rpc/channel.js";
import { openDatabase, type PostgresDatabase } from "../../src/server/database/database.js";
import { inheritReservations, leaveLine } from "../../src/server/repositories/cache-line.js";
import { lookUpPorts } from "../../src/server/repositories/cache-plan-lookup.js";
import { expireReservations, letCacheGo } from "../../src/server/repositories/cache-reservations.js";
import { updateReported } from "../../src/server/repositories/execution-reports.js";
import { attachExecutor } from "../support/attached-executor.js";
import { allowBareExecutions, bareExecutions } from "../support/bare-executions.js";
import {
  commitPorts,
  filterId,
  hashOf,
  lookUp,
  Outcome,
  outcomes,
  type Prepared,
  portOf,
  portResult,
  prepareFor,
  putFilters,
  reservationsOf,
  setPolicy,
  watchKeys,
} from "../support/cache-executions.js";
import { createMigratedDatabase, type MigratedDatabase } from "../support/migrated-database.js";
import { rejection } from "../support/rejection.js";
import { startReplica, startTestServer, type TestServer } from "../support/test-server.js";
import { until } from "../support/until.js";

const { OUTCOME_HIT, OUTCOME_RESERVED, OUTCOME_BUSY, OUTCOME_MISS } = Outcome;

describe("Reservations of many executions at once", () => {
  let database: MigratedDatabase;
  let pools: PostgresDatabase[];
  before(async () => {
    database = await createMigratedDatabase();
    await allowBareExecutions(database.db);
    // Two replicas.
    pools = [0, 1].map(() => undefined as unknown as PostgresDatabase);
    for (const i of [0, 1]) pools[i] = await openDatabase({ url: database.url, poolSize: 6 });
    await database.db.query("alter table cache_entry drop constraint cache_entry_project_id_workflow_id_fkey");
  });
  after(async () => {
    for (const pool of pools) await pool.close();
    await database.close();
  });

  const keyed = (i: number) => ({
    wanted: { globalPortId: `port-${i}`, subdagHash: i.toString(16).padStart(64, "0"), fingerprintJson: `{"n":${i}}` },
    looks: true,
    reserves: true,
  });
  const by = (executionId: string) => ({ executionId, attempt: 1, epoch: 1n });
  const trusted = async (count: number): Promise<string[]> => {
    const ids = await bareExecutions(database.db, count);
    await database.db.query("update execution set trusted = true, lease_expires_at = now() + interval '1 hour'");
    return ids;
  };
  const held = () =>
    database.db.query<{ subdagHash: string; executionId: string }>(
      "select subdag_hash, execution_id from cache_reservation where state = 'HELD'",
    );

  it("never wait for each other for ever, and each key has one holder, whatever the order of ports", async () => {
    const ids = await trusted(24);
    const keys = Array.from({ length: 40 }, (_, i) => i);
    for (let round = 0; round < 4; round++) {
      const reserved = await Promise.all(
        ids.map(async (id, i) => {
          // Every execution asks for about two thirds of the keys, in an order of its own.
          const mine = keys
            .filter((k) => (k + i + round) % 3 !== 0)
            .sort((a, b) => ((a * 31 + i * 17) % 41) - ((b * 31 + i * 17) % 41));
          const rows = await lookUpPorts(pools[i % 2]!, by(id), mine.map(keyed));
          expect(rows).to.have.lengthOf(mine.length);
          return rows.flatMap(({ globalPortId, reservation }) => (reservation === null ? [] : [globalPortId]));
        }),
      );
      expect(new Set(reserved.flat()).size).to.equal(reserved.flat().length);
      expect(reserved.flat()).to.have.lengthOf(keys.length);
      expect(await held()).to.have.lengthOf(keys.length);
      // Half of them end while two replicas settle, and others ask again.
      await Promise.all([
        ...ids.slice(0, 12).map((id, i) => pools[i % 2]!.transaction((tx) => letCacheGo(tx, id))),
        ...ids.slice(12).map((id, i) => lookUpPorts(pools[i % 2]!, by(id), keys.map(keyed))),
        ...pools.flatMap((pool) => [
          expireReservations(pool),
          inheritReservations(pool).then((given) => leaveLine(pool, given)),
        ]),
      ]);
      await inheritReservations(database.db).then((given) => leaveLine(database.db, given));
      const holders = await held();
      expect(new Set(holders.map(({ subdagHash }) => subdagHash)).size).to.equal(holders.length);
      expect(holders).to.have.lengthOf(keys.length);
      for (const id of ids) await letCacheGo(database.db, id);
    }
  });

  it("rise in number: whoever takes a key over has a higher one", async () => {
    const [first, second] = await trusted(2);
    const [before] = await lookUpPorts(pools[0]!, by(first!), [keyed(1000)]);
    await letCacheGo(database.db, first!);
    const [after] = await lookUpPorts(pools[1]!, by(second!), [keyed(1000)]);
    expect(after!.reservation! > before!.reservation!).to.equal(true);
  });

  it("tell of a holder that is gone, and pass to the oldest in line that is still there", async () => {
    const [holder, gone, oldest, younger] = await trusted(4);
    const ports = [keyed(2000)];
    for (const id of [holder!, gone!, oldest!, younger!]) await lookUpPorts(pools[0]!, by(id), ports);
    expect(await expireReservations(pools[1]!)).to.deep.equal([]);
    await database.db.query("update execution set state = 'KILLED' where id = any(:ids)", { ids: [holder, gone] });
    const [asked] = await lookUpPorts(pools[0]!, by(younger!), ports);
    expect(asked).to.include({ reservation: null, holderGone: true });
    expect(await expireReservations(pools[1]!)).to.deep.equal([
      { projectId: "p", subdagHash: ports[0]!.wanted.subdagHash },
    ]);
    const given = await inheritReservations(pools[1]!);
    expect(given.map(({ executionId }) => executionId)).to.deep.equal([oldest]);
    const [again] = await lookUpPorts(pools[0]!, by(oldest!), ports);
    expect(again!.reservation).to.not.equal(null);
  });

  it("are made beside the report that ends their execution, without waiting for it, and end with it", async () => {
    const [id] = await trusted(1);
    const end = {
      executionId: id!,
      attempt: null,
      epoch: null,
      state: "KILLED" as const,
      sources: ["RUNNING" as const],
      failure: null,
      logUri: "",
      statisticsUri: "",
      leaseMs: null,
    };
    await database.db.transaction(async (tx) => {
      expect(await updateReported(tx, end)).to.include({ moved: true });
      const [reserved] = await lookUpPorts(pools[0]!, by(id!), [keyed(2700)]);
      expect(reserved!.isNew).to.equal(true);
      expect(await letCacheGo(tx, id!)).to.have.lengthOf(1);
    });
  });

  it("pass over who is paused, while somebody else waits", async () => {
    const [holder, paused, younger] = await trusted(3);
    const ports = [keyed(2500)];
    for (const id of [holder!, paused!, younger!]) await lookUpPorts(pools[0]!, by(id), ports);
    await database.db.query("update execution set state = 'PAUSED' where id = :paused", { paused });
    const heirs: string[] = [];
    for (const ending of [holder!, younger!]) {
      await letCacheGo(database.db, ending);
      const given = await inheritReservations(pools[1]!);
      await leaveLine(pools[1]!, given);
      heirs.push(...given.map(({ executionId }) => executionId));
    }
    expect(heirs).to.deep.equal([younger, paused]);
  });

  it("are not inherited a second time by a place in line that was forgotten to be left", async () => {
    const [holder, waiter] = await trusted(2);
    const ports = [keyed(3000)];
    for (const id of [holder!, waiter!]) await lookUpPorts(pools[0]!, by(id), ports);
    await letCacheGo(database.db, holder!);
    expect(await inheritReservations(pools[0]!)).to.have.lengthOf(1);
    await database.db.query("update cache_reservation set state = 'RELEASED' where execution_id = :waiter", { waiter });
    expect(await inheritReservations(pools[0]!)).to.deep.equal([]);
  });

  it("outlast a lease that nobody has taken back yet, and end with a time of their own where there is no lease", async () => {
    const [leased, free] = await trusted(2);
    await database.db.query("update execution set lease_expires_at = null where id = :free", { free });
    await lookUpPorts(pools[0]!, by(leased!), [keyed(4000)]);
    await lookUpPorts(pools[0]!, by(free!), [keyed(4001)]);
    await database.db.query("update execution set lease_expires_at = now() - interval '1 minute' where id = :leased", {
      leased,
    });
    expect(await expireReservations(pools[0]!)).to.deep.equal([]);
    await database.db.query("update cache_reservation set expires_at = now() where execution_id = :free", { free });
    expect(await expireReservations(pools[0]!)).to.have.lengthOf(1);
  });

  it("are none of an execution that does not exist", async () => {
    expect(await lookUpPorts(pools[0]!, by(newId()), [keyed(1)])).to.deep.equal([]);
  });
});

describe("WatchKeys", () => {
  let server: TestServer;
  let replica: TestServer;
  let workflows = 0;
  before(async () => {
    server = await startTestServer({ leaseMs: 1_200, attachWithinMs: 60_000 });
    replica = await startReplica(server, { leaseMs: 1_200, attachWithinMs: 60_000 });
    await server.furnish();
  });
  after(async () => {
    await replica.stop();
    await server.stop();
  });

  /** Executions of a workflow of its own; the first holds every port, the others are told BUSY, in this order. */
  async function line(waiting: number, count = 1): Promise<[Prepared, ...Prepared[]]> {
    const id = `line-${++workflows}`;
    await putFilters(server, id, count, workflows * 1_000);
    const all: Prepared[] = [];
    for (let i = 0; i <= waiting; i++) all.push(await prepareFor(server, id));
    expect(new Set(outcomes(await lookUp(server, all[0]!)))).to.deep.equal(new Set([OUTCOME_RESERVED]));
    for (const one of all.slice(1))
      expect(new Set(outcomes(await lookUp(server, one)))).to.deep.equal(new Set([OUTCOME_BUSY]));
    return all as [Prepared, ...Prepared[]];
  }
  const reservationOf = async (of: Prepared, i = 0): Promise<bigint> => (await lookUp(server, of))[i]!.reservation;
  const ports = (of: Prepared, count = 1) => Array.from({ length: count }, (_, i) => portOf(of, filterId(i)));
  const waitersOf = async (...of: Prepared[]): Promise<number> => {
    const ids = of.map(({ executionId }) => executionId);
    return (await server.db.query("select from cache_waiter where execution_id = any(:ids)", { ids })).length;
  };
  const cancel = (of: Prepared) =>
    callUnary(
      server.client.executions,
      "cancelExecution",
      { executionId: of.executionId, reason: "", force: false },
      { token: server.owner },
    );

  it("pushes the hit to waiters on every replica, pinned, and ends with the last answer", async () => {
    const [holder, here, there] = await line(2, 2);
    const watches = [watchKeys(server, here!, ports(here!, 2)), watchKeys(replica, there!, ports(there!, 2))];
    const [first, second] = (await lookUp(server, holder)).map(({ reservation }) => reservation);
    await commitPorts(server, holder, [{ operatorId: filterId(0), reservation: first! }]);
    await until(() => watches.every(({ answers }) => answers.length === 1));
    await commitPorts(replica, holder, [{ operatorId: filterId(1), reservation: second! }]);
    for (const { ended, answers } of watches) {
      await ended;
      expect(outcomes(answers)).to.deep.equal([OUTCOME_HIT, OUTCOME_HIT]);
      expect(answers[0]!.result).to.include({ uri: portResult(holder, filterId(0)).uri, tupleCount: 3n });
    }
    const pins = await server.db.query("select uris from cache_pin where execution_id = any(:ids)", {
      ids: [here!.executionId, there!.executionId],
    });
    expect(pins).to.have.lengthOf(2);
    await until(async () => (await waitersOf(here!, there!)) === 0);
  });

  it("is refused to an execution that waits in many calls already, and is there again when those have ended", async () => {
    const [, waiter] = await line(1);
    const watch = () => watchKeys(server, waiter!, ports(waiter!));
    const open = Array.from({ length: 16 }, watch);
    for (let refused = false; !refused; ) {
      const one = watch();
      const ended = one.ended.then(
        () => undefined,
        (error: Error) => error,
      );
      const error = await Promise.race([ended, delay(100)]);
      refused = error !== undefined;
      if (error) expect(error).to.have.property("message").that.contains("name all ports it waits for in one");
      else one.cut();
    }
    for (const one of open) one.cut();
    await until(async () => {
      const one = watch();
      const error = await Promise.race([
        one.ended.then(
          () => undefined,
          (error: Error) => error,
        ),
        delay(100),
      ]);
      one.cut();
      return error === undefined;
    });
  });

  it("answers at once what has come out before, and what it may not wait for", async () => {
    const [holder, waiter] = await line(1, 2);
    const reservation = await reservationOf(holder);
    await commitPorts(server, holder, [{ operatorId: filterId(0), reservation }]);
    const found = watchKeys(server, waiter!, ports(waiter!, 1));
    await found.ended;
    expect(outcomes(found.answers)).to.deep.equal([OUTCOME_HIT]);
    const own = watchKeys(server, holder, [portOf(holder, filterId(1))]);
    await own.ended;
    expect(own.answers[0]).to.include({ outcome: OUTCOME_RESERVED });
  });

  it("gives what is given back to the oldest in line, whichever replica it waits at", async () => {
    const [holder, oldest, younger] = await line(2);
    const late = watchKeys(server, younger!, ports(younger!));
    const early = watchKeys(replica, oldest!, ports(oldest!));
    const reservation = await reservationOf(holder);
    const release = { executionId: holder.executionId, reservations: [reservation] };
    await callUnary(server.client.caches, "releaseReservations", release, { token: holder.token });
    await early.ended;
    expect(early.answers[0]!.outcome).to.equal(OUTCOME_RESERVED);
    expect(early.answers[0]!.reservation > reservation).to.equal(true);
    expect(late.answers).to.deep.equal([]);
    await commitPorts(server, oldest!, [{ operatorId: filterId(0), reservation: early.answers[0]!.reservation }]);
    await late.ended;
    expect(outcomes(late.answers)).to.deep.equal([OUTCOME_HIT]);
  });

  it("lets one inherit when the holder is cancelled, and when it falls silent", async () => {
    for (const end of ["cancelled", "silent"] as const) {
      const [holder, ...waiting] = await line(3);
      const executor = attachExecutor(server.client.executions, holder.token);
      await executor.hello(holder.spec);
      await executor.next("welcome");
      const watches = waiting.map((one, i) => watchKeys(i % 2 === 0 ? server : replica, one, ports(one)));
      executor.cut();
      if (end === "cancelled") {
        await server.db.query("update execution set executor_id = '' where id = :id", { id: holder.executionId });
        await cancel(holder);
      }
      await until(() => watches.some(({ answers }) => answers.length > 0));
      const [answer] = watches[0]!.answers;
      expect(answer).to.include({ outcome: OUTCOME_RESERVED });
      expect(watches.slice(1).map(({ answers }) => answers)).to.deep.equal([[], []]);
      expect((await reservationsOf(server, holder.executionId)).map(({ state }) => state)).to.deep.equal(["RELEASED"]);
      await commitPorts(server, waiting[0]!, [{ operatorId: filterId(0), reservation: answer!.reservation }]);
      for (const { ended } of watches) await ended;
      expect(watches.slice(1).map(({ answers }) => outcomes(answers))).to.deep.equal([[OUTCOME_HIT], [OUTCOME_HIT]]);
    }
  });

  it("keeps the place of one who went away and comes back, and not that of one who ended", async () => {
    const [holder, away, ended, last] = await line(3);
    const first = watchKeys(server, away!, ports(away!));
    await until(async () => (await waitersOf(away!, ended!, last!)) === 3);
    first.cut();
    await rejection(first.ended);
    await cancel(ended!);
    const later = watchKeys(server, last!, ports(last!));
    await cancel(holder);
    await until(async () => (await reservationsOf(server, away!.executionId)).length === 1);
    const again = watchKeys(replica, away!, ports(away!));
    await again.ended;
    expect(outcomes(again.answers)).to.deep.equal([OUTCOME_RESERVED]);
    expect(later.answers).to.deep.equal([]);
    await cancel(away!);
    await later.ended;
    expect(outcomes(later.answers)).to.deep.equal([OUTCOME_RESERVED]);
  });

  it("ends with the reason when the execution that waits has ended or was taken over", async () => {
    const [, ended, taken] = await line(2);
    const watches = [ended!, taken!].map((one) => watchKeys(server, one, ports(one)));
    await until(async () => (await waitersOf(ended!, taken!)) === 2);
    await cancel(ended!);
    await server.db.query("update execution set epoch = epoch + 1 where id = :id", { id: taken!.executionId });
    const endings = watches.map(({ ended: over }) => rejection(over));
    expect(String(await endings[0])).to.match(/STALE_LEASE|no longer in force|KILLED/);
    expect(String(await endings[1])).to.match(/no longer in force/);
  });

  it("answers MISS where the entry that came is of another content", async () => {
    const [holder, waiter] = await line(1);
    const watch = watchKeys(server, waiter!, ports(waiter!));
    await server.db.query(
      "create function forge() returns trigger language plpgsql as $$ begin new.fingerprint_json = '{}'; return new; end $$",
    );
    await server.db.query("create trigger forge before insert on cache_entry for each row execute function forge()");
    try {
      await commitPorts(server, holder, [{ operatorId: filterId(0), reservation: await reservationOf(holder) }]);
      await watch.ended;
    } finally {
      await server.db.query("drop trigger forge on cache_entry");
      await server.db.query("drop function forge");
    }
    expect(outcomes(watch.answers)).to.deep.equal([OUTCOME_MISS]);
  });

  it("lets fifty executions compute each port once and wait for the rest", async () => {
    const id = `line-${++workflows}`;
    await putFilters(server, id, 3, workflows * 1_000);
    const all: Prepared[] = [];
    for (let i = 0; i < 50; i++) all.push(await prepareFor(server, id));
    const found = await Promise.all(all.map((one, i) => lookUp(i % 2 ? server : replica, one)));
    const computing = found.flatMap((answers, i) =>
      answers.flatMap(({ outcome, reservation }, port) =>
        outcome === OUTCOME_RESERVED ? [{ of: all[i]!, port, reservation }] : [],
      ),
    );
    expect(computing).to.have.lengthOf(3);
    const watches = found.flatMap((answers, i) => {
      const busy = answers.filter(({ outcome }) => outcome === OUTCOME_BUSY).map(({ globalPortId }) => globalPortId);
      return busy.length > 0 ? [watchKeys(i % 2 ? replica : server, all[i]!, busy)] : [];
    });
    for (const { of, port, reservation } of computing)
      await commitPorts(server, of, [{ operatorId: filterId(port), reservation }]);
    for (const { ended } of watches) await ended;
    expect(
      watches.flatMap(({ answers }) => outcomes(answers)).filter((outcome) => outcome !== OUTCOME_HIT),
    ).to.deep.equal([]);
  });

  it("passes a key between workflows of a project that shares its cache", async () => {
    await setPolicy(server, { shared: true });
    const ids = [`line-${++workflows}`, `line-${++workflows}`];
    for (const id of ids) await putFilters(server, id, 1, workflows * 1_000);
    const [holder, waiter] = [await prepareFor(server, ids[0]!), await prepareFor(server, ids[1]!)];
    expect(hashOf(holder, filterId(0))).to.equal(hashOf(waiter, filterId(0)));
    await lookUp(server, holder);
    expect(outcomes(await lookUp(server, waiter))).to.deep.equal([OUTCOME_BUSY]);
    const watch = watchKeys(replica, waiter, ports(waiter));
    // What somebody's own executor made stays in its workflow: the other one computes for itself, and remembers.
    await commitPorts(server, holder, [{ operatorId: filterId(0), reservation: await reservationOf(holder) }]);
    await watch.ended;
    expect(outcomes(watch.answers)).to.deep.equal([OUTCOME_RESERVED]);
    await setPolicy(server, { shared: false });
  });

  it("extends reservations that are held, and names those that are not", async () => {
    const [holder] = await line(0);
    const reservation = await reservationOf(holder);
    const extend = (reservations: bigint[], ttlMs = 5_000n) =>
      callUnary(
        server.client.caches,
        "extendReservations",
        { executionId: holder.executionId, reservations, ttlMs },
        { token: holder.token },
      );
    expect((await extend([reservation, 999_999n])).lost).to.deep.equal([999_999n]);
    expect(await rejection(extend([reservation], 999_999_999n))).to.include({ code: "invalid" });
  });
});
