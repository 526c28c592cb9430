import { expect } from "chai";
import { ExecutionState, Manifest, UpdateExecutionRequest } from "../../src/contract/postern/v1/execution.js";
import { callUnary } from "../../src/rpc/channel.js";
import { attachExecutor, running } from "../support/attached-executor.js";
import {
  commitPorts,
  entriesOf,
  filterId,
  hashOf,
  lookUp,
  Outcome,
  outcomes,
  type Prepared,
  portEvent,
  portOf,
  portResult,
  prepareFor,
  putFilters,
  refusedOffers,
  reservationsOf,
  watchKeys,
} from "../support/cache-executions.js";
import { rejection } from "../support/rejection.js";
import { startTestServer, type TestServer } from "../support/test-server.js";
import { until } from "../support/until.js";

const REFUSED = { code: "forbidden", reason: "CACHE_COMMIT_REFUSED" };

describe("Commits to the cache", () => {
  let server: TestServer;
  let workflows = 0;
  before(async () => {
    server = await startTestServer({ leaseMs: 3_000, attachWithinMs: 3_000 });
    await server.furnish();
  });
  after(() => server.stop());

  async function executions(many: number, count = 2): Promise<Prepared[]> {
    const id = `commits-${++workflows}`;
    await putFilters(server, id, count, workflows * 1_000);
    const prepared: Prepared[] = [];
    for (let i = 0; i < many; i++) prepared.push(await prepareFor(server, id));
    return prepared;
  }

  async function attached(of: Prepared) {
    const executor = attachExecutor(server.client.executions, of.token);
    await executor.hello(of.spec);
    await executor.next("welcome");
    return executor;
  }
  type Executor = Awaited<ReturnType<typeof attached>>;

  async function stored(executor: Executor, sequence: bigint): Promise<void> {
    for (let ack = await executor.next("ack"); ack.sequence < sequence; ack = await executor.next("ack"));
  }

  const reserve = async (of: Prepared): Promise<bigint[]> => (await lookUp(server, of)).map((one) => one.reservation);
  const registered = async ({ executionId }: Prepared) => {
    const rows = await server.db.query<{ uri: string; rowCount: bigint }>(
      "select uri, row_count from port_result where execution_id = :executionId order by uri",
      { executionId },
    );
    return rows.map(({ uri }) => uri);
  };
  const complete = (of: Prepared, manifest: Partial<Manifest>, token = of.token) =>
    callUnary(
      server.client.executions,
      "completeExecution",
      {
        manifest: Manifest.fromPartial({
          executionId: of.executionId,
          attempt: of.spec.attempt,
          state: ExecutionState.EXECUTION_STATE_COMPLETED,
          ...manifest,
        }),
      },
      { token },
    );
  const stateOf = async ({ executionId }: Prepared) => (await server.execution(executionId)).state;

  describe("through the stream", () => {
    it("happen with the event of the port, and reach who waits", async () => {
      const [holder, waiter] = await executions(2);
      const [first] = await reserve(holder!);
      await lookUp(server, waiter!);
      const watch = watchKeys(server, waiter!, [portOf(waiter!, filterId(0))]);
      const executor = await attached(holder!);
      await executor.events(running(1n), portEvent(2n, holder!, filterId(0), { reservation: first! }));
      await watch.ended;
      expect(outcomes(watch.answers)).to.deep.equal([Outcome.OUTCOME_HIT]);
      const [entry] = await entriesOf(server, hashOf(holder!, filterId(0)));
      expect(entry).to.include({ resultUri: portResult(holder!, filterId(0)).uri, computeMs: 40n, shareable: false });
      expect(entry!.datasetVersions).to.have.lengthOf(1);
      expect((await reservationsOf(server, holder!.executionId)).map(({ state }) => state)).to.have.members([
        "COMMITTED",
        "HELD",
      ]);
      executor.cut();
    });

    it("are done once, however often the event is sent", async () => {
      const [holder] = await executions(1);
      const [first] = await reserve(holder!);
      const executor = await attached(holder!);
      const said = portEvent(2n, holder!, filterId(0), { reservation: first! });
      await executor.events(running(1n), said);
      await stored(executor, 2n);
      await executor.events(said);
      await executor.events({ ...said, sequence: 3n });
      await stored(executor, 3n);
      expect(await entriesOf(server, hashOf(holder!, filterId(0)))).to.have.lengthOf(1);
      expect(await refusedOffers(server, holder!.executionId)).to.deep.equal([]);
      executor.cut();
    });

    it("do not happen under a reservation that was lost or given back: the port is the execution's alone", async () => {
      for (const state of ["LOST", "RELEASED"]) {
        const [holder] = await executions(1);
        const [first] = await reserve(holder!);
        await server.db.query("update cache_reservation set state = :state where fencing = :first", { state, first });
        const executor = await attached(holder!);
        await executor.events(running(1n), portEvent(2n, holder!, filterId(0), { reservation: first! }));
        await stored(executor, 2n);
        expect(await registered(holder!)).to.deep.equal([portResult(holder!, filterId(0)).uri]);
        expect(await entriesOf(server, hashOf(holder!, filterId(0)))).to.deep.equal([]);
        expect(await refusedOffers(server, holder!.executionId)).to.deep.equal([]);
        executor.cut();
      }
    });

    it("happen under a lease that has run out, while nobody has taken the key over", async () => {
      const [holder] = await executions(1);
      const [first] = await reserve(holder!);
      const executor = await attached(holder!);
      await server.db.query("update execution set lease_expires_at = now() - interval '1 s' where id = :id", {
        id: holder!.executionId,
      });
      await executor.events(portEvent(1n, holder!, filterId(0), { reservation: first! }));
      await stored(executor, 1n);
      expect(await entriesOf(server, hashOf(holder!, filterId(0)))).to.have.lengthOf(1);
      executor.cut();
    });

    it("of what was never reserved, of another's reservation, or of another port's store no entry and are written down; the run goes on", async () => {
      const [holder, thief] = await executions(2, 3);
      const [first, second] = await reserve(holder!);
      await server.db.query("update cache_reservation set state = 'RELEASED' where fencing = :second", { second });
      const [, own] = await reserve(thief!);
      const executor = await attached(thief!);
      await executor.events(
        running(1n),
        portEvent(2n, thief!, filterId(0), { reservation: first! }),
        portEvent(3n, thief!, filterId(1), { reservation: 987_654_321n }),
        portEvent(4n, thief!, filterId(2), { reservation: own! }),
      );
      await stored(executor, 4n);
      for (const i of [0, 1, 2]) expect(await entriesOf(server, hashOf(thief!, filterId(i)))).to.deep.equal([]);
      const refused = await refusedOffers(server, thief!.executionId);
      expect(refused.map(({ subdagHash }) => subdagHash)).to.have.members(
        [0, 1, 2].map((i) => hashOf(thief!, filterId(i))),
      );
      expect(await registered(thief!)).to.have.lengthOf(3);
      await executor.events(portEvent(5n, thief!, filterId(1), { reservation: own! }));
      await stored(executor, 5n);
      expect(await entriesOf(server, hashOf(thief!, filterId(1)))).to.have.lengthOf(1);
      executor.cut();
    });

    it("of an object elsewhere are refused and written down", async () => {
      const [holder, other] = await executions(2);
      const [first] = await reserve(holder!);
      const executor = await attached(holder!);
      const { uri } = portResult(other!, filterId(0));
      await executor.events(portEvent(1n, holder!, filterId(0), { reservation: first!, uri }));
      expect(await rejection(executor.ended())).to.include(REFUSED);
      expect(await registered(holder!)).to.deep.equal([]);
      expect((await refusedOffers(server, holder!.executionId)).map((one) => one.uri)).to.deep.equal([uri]);
    });

    it("leave what others say in the same moment as it is", async () => {
      const some = await executions(6, 1);
      const holder = some[0]!;
      const [first] = await reserve(holder);
      const executors = await Promise.all(some.map(attached));
      await Promise.all(
        executors.map((executor, i) =>
          executor.events(running(1n), portEvent(2n, some[i]!, filterId(0), { reservation: i === 0 ? first! : 1n })),
        ),
      );
      for (const executor of executors) await stored(executor, 2n);
      const [entry] = await entriesOf(server, hashOf(holder, filterId(0)));
      expect(entry!.sourceExecutionId).to.equal(holder.executionId);
      for (const one of some.slice(1)) expect(await refusedOffers(server, one.executionId)).to.have.lengthOf(1);
      for (const executor of executors) executor.cut();
    });
  });

  describe("by CommitPorts", () => {
    it("register the port and remember it, and say which were lost meanwhile", async () => {
      const [holder] = await executions(1);
      const [first, second] = await reserve(holder!);
      await server.db.query("update cache_reservation set state = 'LOST' where fencing = :second", { second });
      const commits = [
        { operatorId: filterId(0), reservation: first! },
        { operatorId: filterId(1), reservation: second! },
      ];
      for (let times = 0; times < 2; times++)
        expect(await commitPorts(server, holder!, commits)).to.deep.equal({
          committed: [portOf(holder!, filterId(0))],
          lost: [portOf(holder!, filterId(1))],
        });
      expect(await registered(holder!)).to.have.lengthOf(2);
      expect(await entriesOf(server, hashOf(holder!, filterId(1)))).to.deep.equal([]);
    });

    it("are refused, with nothing stored and the attempt written down, for whatever is not the execution's to offer", async () => {
      const [holder, thief] = await executions(2, 3);
      const [first] = await reserve(holder!);
      await server.db.query("update cache_reservation set state = 'RELEASED' where fencing <> :first", { first });
      const [, own] = await reserve(thief!);
      const uri = portResult(holder!, filterId(1)).uri;
      const lies = [
        { operatorId: filterId(1), reservation: 0n },
        { operatorId: filterId(0), reservation: first! },
        { operatorId: filterId(2), reservation: own! },
        { operatorId: filterId(1), reservation: own!, uri },
        { operatorId: filterId(1), reservation: own!, uri: `${thief!.spec.resultPrefix}../../x.parquet` },
        { operatorId: filterId(1), reservation: own!, fingerprintJson: `{"forged":true}` },
        { operatorId: filterId(1), reservation: own!, subdagHash: hashOf(thief!, filterId(2)) },
      ];
      for (const lie of lies) {
        const honest = { operatorId: filterId(lie.operatorId === filterId(2) ? 1 : 2), reservation: own! };
        expect(await rejection(commitPorts(server, thief!, [lie, ...(lie === lies[2] ? [honest] : [])]))).to.include(
          REFUSED,
        );
      }
      expect(await refusedOffers(server, thief!.executionId)).to.have.lengthOf(lies.length);
      expect(await registered(thief!)).to.deep.equal([]);
      for (const i of [0, 1, 2]) expect(await entriesOf(server, hashOf(thief!, filterId(i)))).to.deep.equal([]);
      expect(
        (await commitPorts(server, thief!, [{ operatorId: filterId(1), reservation: own! }])).committed,
      ).to.have.lengthOf(1);
    });

    it("are refused for an execution that is somebody else's by now", async () => {
      const [holder] = await executions(1);
      const [first] = await reserve(holder!);
      await server.db.query("update execution set epoch = epoch + 1 where id = :id", { id: holder!.executionId });
      const late = commitPorts(server, holder!, [{ operatorId: filterId(0), reservation: first! }]);
      expect(await rejection(late)).to.include({ reason: "STALE_LEASE" });
    });
  });

  describe("in the manifest", () => {
    const ports = (of: Prepared) => [portResult(of, filterId(0)), portResult(of, filterId(1))];
    const hashes = (of: Prepared) => [0, 1].map((i) => hashOf(of, filterId(i)));

    it("happen with the end; those committed before may be named again, and what is left is given back", async () => {
      const [holder, waiter] = await executions(2, 3);
      const [first] = await reserve(holder!);
      await lookUp(server, waiter!);
      const watch = watchKeys(
        server,
        waiter!,
        [0, 1, 2].map((i) => portOf(waiter!, filterId(i))),
      );
      await commitPorts(server, holder!, [{ operatorId: filterId(0), reservation: first! }]);
      await complete(holder!, { ports: ports(holder!), cacheCommits: hashes(holder!) });
      await watch.ended;
      expect(watch.answers.map(({ outcome }) => outcome)).to.have.members([
        Outcome.OUTCOME_HIT,
        Outcome.OUTCOME_HIT,
        Outcome.OUTCOME_RESERVED,
      ]);
      expect((await reservationsOf(server, holder!.executionId)).map(({ state }) => state)).to.have.members([
        "COMMITTED",
        "COMMITTED",
        "RELEASED",
      ]);
    });

    it("do not bring back what was forgotten since it was committed, nor replace what is newer", async () => {
      const [holder, other] = await executions(2);
      const [first, second] = await reserve(holder!);
      await commitPorts(server, holder!, [
        { operatorId: filterId(0), reservation: first! },
        { operatorId: filterId(1), reservation: second! },
      ]);
      await server.db.query("delete from cache_entry where subdag_hash = :hash", { hash: hashes(holder!)[0] });
      await server.db.query("update cache_entry set source_execution_id = :newer where subdag_hash = :hash", {
        newer: other!.executionId,
        hash: hashes(holder!)[1],
      });
      await complete(holder!, { ports: ports(holder!), cacheCommits: hashes(holder!) });
      const entries = await Promise.all(hashes(holder!).map((hash) => entriesOf(server, hash)));
      expect(entries.map((of) => of.map((one) => one.sourceExecutionId))).to.deep.equal([[], [other!.executionId]]);
    });

    it("are refused for what was never reserved: the execution has not ended, and the attempt is written down", async () => {
      const [holder, thief] = await executions(2);
      await reserve(holder!);
      for (const cacheCommits of [hashes(thief!), ["f".repeat(64)]])
        expect(await rejection(complete(thief!, { ports: ports(thief!), cacheCommits }))).to.include(REFUSED);
      expect(await stateOf(thief!)).to.equal(ExecutionState.EXECUTION_STATE_PREPARED);
      expect(await registered(thief!)).to.deep.equal([]);
      expect(await refusedOffers(server, thief!.executionId)).to.have.lengthOf(2);
      await complete(thief!, { ports: ports(thief!) });
    });

    it("pass over what was lost", async () => {
      const [holder] = await executions(1);
      await reserve(holder!);
      await server.db.query("update cache_reservation set state = 'LOST' where execution_id = :id", {
        id: holder!.executionId,
      });
      await complete(holder!, { ports: ports(holder!), cacheCommits: hashes(holder!) });
      for (const hash of hashes(holder!)) expect(await entriesOf(server, hash)).to.deep.equal([]);
    });

    it("of an execution that failed give everything back", async () => {
      const [holder] = await executions(1);
      await reserve(holder!);
      const failure = { reason: "X", operatorId: "", message: "", detail: "" };
      await complete(holder!, { state: ExecutionState.EXECUTION_STATE_FAILED, failure });
      expect((await reservationsOf(server, holder!.executionId)).map(({ state }) => state)).to.deep.equal([
        "RELEASED",
        "RELEASED",
      ]);
    });
  });

  it("of a queued execution are its executor's alone: nobody else has results remembered as the pool's", async () => {
    const [queued] = await executions(1);
    await server.db.query("update execution set queued = true where id = :id", { id: queued!.executionId });
    const byUser = { ...queued!, token: server.owner };
    const [first] = await reserve(byUser);
    const commit = commitPorts(server, byUser, [{ operatorId: filterId(0), reservation: first! }]);
    expect(await rejection(commit)).to.include({ code: "forbidden" });
    const { executionId } = queued!;
    const ports = [portResult(queued!, filterId(0))];
    const register = callUnary(server.client.ports, "registerPorts", { executionId, ports }, { token: server.owner });
    expect(await rejection(register)).to.include({ code: "forbidden" });
    await complete(byUser, { ports, cacheCommits: [hashOf(queued!, filterId(0))] });
    expect(await entriesOf(server, hashOf(queued!, filterId(0)))).to.deep.equal([]);
  });

  describe("of reused ports", () => {
    /** An execution that found the first result of another. */
    async function found(): Promise<[Prepared, Prepared, string]> {
      const [source, reader] = await executions(2);
      const [first] = await reserve(source!);
      await commitPorts(server, source!, [{ operatorId: filterId(0), reservation: first! }]);
      await complete(source!, {});
      const [hit] = await lookUp(server, reader!);
      return [source!, reader!, hit!.result!.uri];
    }

    it("register the object with the ledger's counts, by an event or in the manifest", async () => {
      const [, reader, uri] = await found();
      const executor = await attached(reader);
      const forged = { uri, reused: true, rowCount: 5_000n, byteCount: 1n };
      await executor.events(running(1n), portEvent(2n, reader, filterId(0), forged));
      await stored(executor, 2n);
      const counts = () =>
        server.db.query("select uri, row_count, byte_count from port_result where execution_id = :id", {
          id: reader.executionId,
        });
      expect(await counts()).to.deep.equal([{ uri, rowCount: 3n, byteCount: 300n }]);
      await executor.complete(reader.spec, { lastSequence: 2n, ports: [portResult(reader, filterId(0), forged)] });
      await executor.next("completeAck");
      expect(await counts()).to.deep.equal([{ uri, rowCount: 3n, byteCount: 300n }]);
      expect(await refusedOffers(server, reader.executionId)).to.deep.equal([]);
    });

    it("are dropped and written down when no lookup of the execution found the object", async () => {
      const [source, reader] = await found();
      const [stranger] = await executions(1);
      const uri = portResult(source, filterId(0)).uri;
      const executor = await attached(stranger!);
      await executor.events(running(1n), portEvent(2n, stranger!, filterId(0), { uri, reused: true }));
      await stored(executor, 2n);
      expect(await registered(stranger!)).to.deep.equal([]);
      expect((await refusedOffers(server, stranger!.executionId)).map((one) => one.uri)).to.deep.equal([uri]);
      executor.cut();
      const elsewhere = portResult(reader, filterId(1), { uri: portResult(source, filterId(1)).uri, reused: true });
      expect(await rejection(complete(reader, { ports: [elsewhere] }))).to.include(REFUSED);
      expect(await stateOf(reader)).to.equal(ExecutionState.EXECUTION_STATE_PREPARED);
    });

    it("are never remembered as the execution's own", async () => {
      const [, reader, uri] = await found();
      // It holds the second port's key, and registers the first one's object there.
      const cacheCommits = [hashOf(reader, filterId(1))];
      await complete(reader, { ports: [portResult(reader, filterId(1), { uri, reused: true })], cacheCommits });
      expect(await entriesOf(server, cacheCommits[0]!)).to.deep.equal([]);
    });
  });

  it("leave nothing behind, however an execution ends: reported, cancelled, or lost", async () => {
    const ends: Record<string, (of: Prepared) => Promise<unknown>> = {
      reported: ({ executionId, token }) =>
        callUnary(
          server.client.executions,
          "updateExecution",
          UpdateExecutionRequest.fromPartial({ executionId, state: ExecutionState.EXECUTION_STATE_KILLED }),
          { token },
        ),
      cancelled: ({ executionId }) =>
        callUnary(
          server.client.executions,
          "cancelExecution",
          { executionId, reason: "", force: false },
          { token: server.owner },
        ),
      lost: ({ executionId }) =>
        server.db.query("update execution set lease_expires_at = now() - interval '1 s' where id = :executionId", {
          executionId,
        }),
    };
    for (const [how, end] of Object.entries(ends)) {
      const [source, holder, waiter] = await executions(3);
      const [first] = await reserve(source!);
      await commitPorts(server, source!, [{ operatorId: filterId(0), reservation: first! }]);
      await complete(source!, {});
      await lookUp(server, holder!);
      await lookUp(server, waiter!);
      const watch = watchKeys(server, waiter!, [portOf(waiter!, filterId(1))]);
      await end(holder!);
      await watch.ended;
      expect(outcomes(watch.answers), how).to.deep.equal([Outcome.OUTCOME_RESERVED]);
      expect(
        (await reservationsOf(server, holder!.executionId)).map(({ state }) => state),
        how,
      ).to.deep.equal(["RELEASED"]);
      const pins = "select from cache_pin where execution_id = :id";
      expect(await server.db.query(pins, { id: holder!.executionId }), how).to.deep.equal([]);
    }
  });

  it("outlive the attempt that made them: the next one finds the ports done, and its reservations are its own", async () => {
    const [holder] = await executions(1);
    const [first, second] = await reserve(holder!);
    await commitPorts(server, holder!, [{ operatorId: filterId(0), reservation: first! }]);
    await server.db.query("update execution set queued = true, max_attempts = 3 where id = :id", {
      id: holder!.executionId,
    });
    const executor = await attached(holder!);
    await executor.say({ $case: "goodbye", value: { reason: "the test asked for it" } });
    await until(async () => (await stateOf(holder!)) === ExecutionState.EXECUTION_STATE_QUEUED);
    expect((await reservationsOf(server, holder!.executionId)).map(({ state }) => state)).to.have.members([
      "COMMITTED",
      "LOST",
    ]);
    await server.db.query(
      "update execution set state = 'PREPARED', lease_expires_at = now() + interval '1 hour' where id = :id",
      {
        id: holder!.executionId,
      },
    );
    const found = await lookUp(server, { ...holder!, token: server.owner });
    expect(outcomes(found)).to.deep.equal([Outcome.OUTCOME_HIT, Outcome.OUTCOME_RESERVED]);
    expect(found[1]!.reservation > second!).to.equal(true);
  });
});
