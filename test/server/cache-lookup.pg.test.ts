import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { callUnary } from "../../src/rpc/channel.js";
import { planPorts } from "../../src/server/cache/plan-ports.js";
import { storedPlan } from "../../src/server/executions/execution-plan.js";
import { commitOffers } from "../../src/server/repositories/cache-commits.js";
import {
  CacheMode,
  cacheUse,
  commitPorts,
  entriesOf,
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
} from "../support/cache-executions.js";
import { deferred } from "../support/deferred.js";
import { writeLikeParquet } from "../support/parquet-file.js";
import { rejection } from "../support/rejection.js";
import { PROJECT, startTestServer, type TestServer } from "../support/test-server.js";
import { until } from "../support/until.js";

const { OUTCOME_HIT, OUTCOME_RESERVED, OUTCOME_BUSY, OUTCOME_MISS, OUTCOME_BYPASSED } = Outcome;

describe("LookupPlan", () => {
  let server: TestServer;
  let workflows = 0;
  before(async () => {
    server = await startTestServer();
    await server.furnish();
  });
  after(() => server.stop());

  /** Executions of a workflow of its own with `count` results. */
  async function executions(
    many: number,
    count = 2,
    uses: Parameters<typeof prepareFor>[2][] = [],
  ): Promise<Prepared[]> {
    const id = `lookup-${++workflows}`;
    await putFilters(server, id, count, workflows * 1_000);
    const prepared: Prepared[] = [];
    for (let i = 0; i < many; i++) prepared.push(await prepareFor(server, id, uses[i]));
    return prepared;
  }

  /** Reserves and commits every result. */
  async function computeAll(of: Prepared, count = 2): Promise<void> {
    const found = await lookUp(server, of);
    expect(outcomes(found)).to.deep.equal(Array(count).fill(OUTCOME_RESERVED));
    const commits = found.map(({ reservation }, i) => ({ operatorId: filterId(i), reservation }));
    await commitPorts(server, of, commits);
  }

  const pinsOf = async ({ executionId }: Prepared): Promise<string[]> => {
    const [row] = await server.db.query<{ uris: string[] }>(
      "select uris from cache_pin where execution_id = :executionId",
      {
        executionId,
      },
    );
    return row?.uris ?? [];
  };

  it("reserves every missing port, says BUSY to the next, and HIT once they are there", async () => {
    const [first, second] = await executions(2);
    const reserved = await lookUp(server, first!);
    expect(outcomes(reserved)).to.deep.equal([OUTCOME_RESERVED, OUTCOME_RESERVED]);
    const busy = await lookUp(server, second!);
    expect(outcomes(busy)).to.deep.equal([OUTCOME_BUSY, OUTCOME_BUSY]);
    expect(busy[0]!.reason).to.not.equal("");
    await commitPorts(server, first!, [{ operatorId: filterId(0), reservation: reserved[0]!.reservation }]);
    const found = await lookUp(server, second!);
    expect(outcomes(found)).to.deep.equal([OUTCOME_HIT, OUTCOME_BUSY]);
    expect(found[0]!.result).to.deep.equal({
      uri: portResult(first!, filterId(0)).uri,
      tupleCount: 3n,
      byteCount: 300n,
      computeMs: 40n,
      sourceExecutionId: first!.executionId,
    });
  });

  it("gives the same reservations to an execution that asks again", async () => {
    const [one] = await executions(1);
    const first = await lookUp(server, one!);
    const again = await lookUp(server, one!);
    expect(again).to.deep.equal(first);
    expect(await reservationsOf(server, one!.executionId)).to.have.lengthOf(2);
  });

  it("answers the ports that were asked for, in that order, and refuses one the plan does not have", async () => {
    const [one] = await executions(1, 3);
    const ids = [filterId(2), filterId(0)].map((id) => portOf(one!, id));
    const found = await lookUp(server, one!, { globalPortIds: ids });
    expect(found.map(({ globalPortId }) => globalPortId)).to.deep.equal(ids);
    const strange = lookUp(server, one!, { globalPortIds: ["(nowhere)"] });
    expect(await rejection(strange)).to.include({ code: "invalid" });
  });

  it("pins what it found until the execution ends, and what a second lookup found too", async () => {
    const [first, second] = await executions(2);
    const reserved = await lookUp(server, first!);
    await commitPorts(server, first!, [{ operatorId: filterId(0), reservation: reserved[0]!.reservation }]);
    await lookUp(server, second!);
    await commitPorts(server, first!, [{ operatorId: filterId(1), reservation: reserved[1]!.reservation }]);
    await lookUp(server, second!);
    const uris = [0, 1].map((i) => portResult(first!, filterId(i)).uri);
    expect(await pinsOf(second!)).to.have.members(uris);
    const cancel = { executionId: second!.executionId, reason: "", force: false };
    await callUnary(server.client.executions, "cancelExecution", cancel, { token: server.owner });
    expect(await pinsOf(second!)).to.deep.equal([]);
  });

  it("writes nothing, not even a lock, when everything is there and pinned already", async () => {
    const [first, second] = await executions(2);
    await computeAll(first!);
    const versionOf = () =>
      server.db.query("select ctid, xmin, xmax from cache_pin where execution_id = :executionId", {
        executionId: second!.executionId,
      });
    const found = await lookUp(server, second!);
    const before = await versionOf();
    expect(before).to.have.lengthOf(1);
    expect(await lookUp(server, second!)).to.deep.equal(found);
    const some = await lookUp(server, second!, { globalPortIds: [portOf(second!, filterId(1))] });
    expect(some).to.deep.equal([found[1]]);
    expect(await versionOf()).to.deep.equal(before);
  });

  it("takes a fingerprint with the same hash and other content for a miss", async () => {
    const [first, second] = await executions(2);
    await computeAll(first!);
    const forged = "update cache_entry set fingerprint_json = '{}' where subdag_hash = :hash";
    await server.db.query(forged, { hash: hashOf(first!, filterId(0)) });
    expect(outcomes(await lookUp(server, second!))).to.deep.equal([OUTCOME_RESERVED, OUTCOME_HIT]);
  });

  it("finds a re-drawn operator of the same workflow by its hash", async () => {
    const [first, second] = await executions(2);
    await computeAll(first!);
    const redraw = "update cache_entry set global_port_id = 'elsewhere' where subdag_hash = :hash";
    await server.db.query(redraw, { hash: hashOf(first!, filterId(0)) });
    expect(outcomes(await lookUp(server, second!))).to.deep.equal([OUTCOME_HIT, OUTCOME_HIT]);
  });

  it("prefers the entry of the port itself", async () => {
    const [first, second] = await executions(2);
    await computeAll(first!);
    await server.db.query(
      `insert into cache_entry (project_id, workflow_id, global_port_id, subdag_hash, fingerprint_json, result_uri,
                                tuple_count, byte_count, source_execution_id, updated_at)
       select project_id, workflow_id, 'elsewhere', subdag_hash, fingerprint_json, result_uri, 77, byte_count,
              source_execution_id, now() + interval '1 hour' from cache_entry where subdag_hash = :hash`,
      { hash: hashOf(first!, filterId(0)) },
    );
    const [found] = await lookUp(server, second!);
    expect(found!.result!.tupleCount).to.equal(3n);
  });

  it("asks nothing of the cache where the run skips it, and remembers nothing where it only reads", async () => {
    const { CACHE_MODE_SKIP, CACHE_MODE_READ_ONLY, CACHE_MODE_USE } = CacheMode;
    const [first, skips, reads, mixed] = await executions(4, 2, [
      {},
      { cache: cacheUse(CACHE_MODE_SKIP) },
      { cache: cacheUse(CACHE_MODE_READ_ONLY) },
      { cache: cacheUse(CACHE_MODE_USE, { [filterId(0)]: CACHE_MODE_SKIP, [filterId(1)]: CACHE_MODE_READ_ONLY }) },
    ]);
    expect(outcomes(await lookUp(server, reads!))).to.deep.equal([OUTCOME_MISS, OUTCOME_MISS]);
    expect(outcomes(await lookUp(server, mixed!))).to.deep.equal([OUTCOME_BYPASSED, OUTCOME_MISS]);
    await computeAll(first!);
    const skipped = await lookUp(server, skips!);
    expect(outcomes(skipped)).to.deep.equal([OUTCOME_BYPASSED, OUTCOME_BYPASSED]);
    expect(skipped[0]!.reason).to.not.equal("");
    expect(outcomes(await lookUp(server, reads!))).to.deep.equal([OUTCOME_HIT, OUTCOME_HIT]);
    expect(outcomes(await lookUp(server, mixed!))).to.deep.equal([OUTCOME_BYPASSED, OUTCOME_HIT]);
    for (const one of [skips!, reads!, mixed!]) expect(await reservationsOf(server, one.executionId)).to.deep.equal([]);
  });

  it("computes anew and replaces what is there where the run refreshes; another that refreshes does not wait for it", async () => {
    const refresh = { cache: cacheUse(CacheMode.CACHE_MODE_REFRESH) };
    const [first, anew, other] = await executions(3, 2, [{}, refresh, refresh]);
    await computeAll(first!);
    const reserved = await lookUp(server, anew!);
    expect(outcomes(reserved)).to.deep.equal([OUTCOME_RESERVED, OUTCOME_RESERVED]);
    expect(outcomes(await lookUp(server, other!))).to.deep.equal([OUTCOME_MISS, OUTCOME_MISS]);
    await commitPorts(server, anew!, [{ operatorId: filterId(0), reservation: reserved[0]!.reservation }]);
    const [entry] = await entriesOf(server, hashOf(anew!, filterId(0)));
    expect(entry!.sourceExecutionId).to.equal(anew!.executionId);
  });

  it("reserves nothing for somebody who may only read the workflow", async () => {
    const id = `lookup-${++workflows}`;
    await putFilters(server, id, 1, workflows * 1_000);
    for (const resource of [
      { kind: "WORKFLOW", id },
      { kind: "DATASET", id: "fruit" },
      { kind: "COMPUTING_UNIT", id: "bench" },
    ])
      await server.db.query(
        `insert into access_grant (project_id, resource_kind, resource_id, subject, permission, granted_by)
         values (:project, :kind, :id, 'reader', :permission, 'owner') on conflict do nothing`,
        { project: PROJECT, ...resource, permission: resource.kind === "COMPUTING_UNIT" ? "WRITE" : "READ" },
      );
    const trusted = await prepareFor(server, id);
    const reader = await prepareFor(server, id, { token: await server.userToken("reader") });
    expect(outcomes(await lookUp(server, reader))).to.deep.equal([OUTCOME_MISS]);
    await computeAll(trusted, 1);
    expect(outcomes(await lookUp(server, reader))).to.deep.equal([OUTCOME_HIT]);
  });

  it("finds what was committed between its first look and its reservation", async () => {
    const [holder, late] = await executions(2, 1);
    const [reserved] = await lookUp(server, holder!);
    await callUnary(
      server.client.ports,
      "registerPorts",
      { executionId: holder!.executionId, ports: [portResult(holder!, filterId(0))] },
      { token: holder!.token },
    );
    const { wanted, operatorType, datasetVersions } = planPorts(await storedPlan(server.db, holder!.executionId)).get(
      portOf(holder!, filterId(0)),
    )!;
    if ("reason" in wanted) throw new Error(wanted.reason);
    const written = deferred<void>();
    const committing = deferred<void>();
    const commit = server.db.transaction(async (tx) => {
      const { executionId } = holder!;
      const offer = { ...wanted, executionId, epoch: 1n, operatorType, datasetVersions, computeMs: 1n };
      const [done] = await commitOffers(tx, [{ ...offer, reservation: reserved!.reservation }]);
      expect(done).to.include({ outcome: "COMMITTED" });
      written.resolve();
      await committing.promise;
    });
    await written.promise;
    const looking = lookUp(server, late!);
    // It has looked for entries by now, and waits for the holder's transaction before it may reserve.
    await until(async () => {
      const waiting = await server.db.query(
        "select from pg_stat_activity where wait_event_type = 'Lock' and query like '%fenced as materialized%'",
      );
      return waiting.length > 0;
    });
    committing.resolve();
    await commit;
    expect(outcomes(await looking)).to.deep.equal([OUTCOME_HIT]);
    expect((await reservationsOf(server, late!.executionId)).map(({ state }) => state)).to.deep.equal(["RELEASED"]);
    expect(await pinsOf(late!)).to.deep.equal([portResult(holder!, filterId(0)).uri]);
  });

  it("refuses an epoch that has passed and an execution that has ended, and writes nothing for them", async () => {
    const [fenced, ended] = await executions(2, 1);
    await server.db.query("update execution set epoch = epoch + 1 where id = :id", { id: fenced!.executionId });
    expect(await rejection(lookUp(server, fenced!))).to.include({ code: "precondition", reason: "STALE_LEASE" });
    const cancel = { executionId: ended!.executionId, reason: "", force: false };
    await callUnary(server.client.executions, "cancelExecution", cancel, { token: server.owner });
    expect(await rejection(lookUp(server, ended!))).to.include({ reason: "STALE_LEASE" });
    const byOwner = lookUp(server, { ...ended!, token: server.owner });
    expect(await rejection(byOwner)).to.include({ code: "precondition", reason: "ILLEGAL_TRANSITION" });
    for (const { executionId } of [fenced!, ended!])
      expect(await reservationsOf(server, executionId)).to.deep.equal([]);
  });

  it("refuses an executor whose lease is gone though it has asked before, and one whose execution has ended", async () => {
    const [fenced, ended, other] = await executions(3, 1);
    for (const one of [fenced!, ended!, other!]) for (let i = 0; i < 2; i++) await lookUp(server, one);
    const foreign = lookUp(server, { ...other!, token: fenced!.token });
    expect(await rejection(foreign)).to.include({ code: "not-found" });
    await server.db.query("update execution set epoch = epoch + 1 where id = :id", { id: fenced!.executionId });
    expect(await rejection(lookUp(server, fenced!))).to.include({ code: "precondition", reason: "STALE_LEASE" });
    await server.db.query("update execution set state = 'FAILED', ended_at = now() where id = :id", {
      id: ended!.executionId,
    });
    expect(await rejection(lookUp(server, ended!))).to.include({ reason: "TOKEN_INVALID" });
  });

  it("forgets an entry whose object is gone or cut short, says so in the audit log, and keeps one that is whole", async () => {
    const [first, second] = await executions(2, 3);
    await computeAll(first!, 3);
    const uris = [0, 1, 2].map((i) => portResult(first!, filterId(i)).uri);
    await mkdir(dirname(fileURLToPath(uris[0]!)), { recursive: true });
    await writeLikeParquet(fileURLToPath(uris[0]!), 300);
    await writeFile(fileURLToPath(uris[1]!), Buffer.alloc(299));
    // What it has not found itself it cannot have found broken.
    await lookUp(server, second!, { brokenUris: uris });
    expect(outcomes(await lookUp(server, second!))).to.deep.equal([OUTCOME_HIT, OUTCOME_HIT, OUTCOME_HIT]);
    const found = await lookUp(server, second!, { brokenUris: uris });
    expect(outcomes(found)).to.deep.equal([OUTCOME_HIT, OUTCOME_RESERVED, OUTCOME_RESERVED]);
    const [audit] = await server.db.query<{ detail: unknown }>(
      "select detail from audit_log where action = 'ForgetBrokenObjects' and resource = :resource",
      { resource: `execution "${second!.executionId}"` },
    );
    expect(audit!.detail).to.deep.equal({ uris: uris.slice(1), entries: 2 });
  });

  describe("where the project shares its cache", () => {
    before(() => setPolicy(server, { shared: true }));
    after(() => setPolicy(server, { shared: false }));

    /** Two workflows with the same results, and an execution of each. */
    async function twins(token?: string): Promise<[Prepared, Prepared]> {
      const ids = [`twin-${++workflows}`, `twin-${++workflows}`];
      for (const id of ids) await putFilters(server, id, 1, workflows * 1_000);
      return [await prepareFor(server, ids[0]!), await prepareFor(server, ids[1]!, { token })];
    }
    const share = ({ executionId }: Prepared) =>
      server.db.query("update execution set queued = true where id = :executionId", { executionId });

    it("reuses what a pooled executor computed for another workflow, and waits for it", async () => {
      const [first, second] = await twins();
      await share(first);
      const [reserved] = await lookUp(server, first);
      expect(outcomes(await lookUp(server, second))).to.deep.equal([OUTCOME_BUSY]);
      await commitPorts(server, first, [{ operatorId: filterId(0), reservation: reserved!.reservation }]);
      const [entry] = await entriesOf(server, hashOf(first, filterId(0)));
      expect(entry).to.include({ shareable: true });
      expect(entry!.datasetVersions).to.have.lengthOf(1);
      expect(outcomes(await lookUp(server, second))).to.deep.equal([OUTCOME_HIT]);
    });

    it("keeps what somebody's own executor computed to its workflow", async () => {
      const [first, second] = await twins();
      await computeAll(first, 1);
      expect(outcomes(await lookUp(server, second))).to.deep.equal([OUTCOME_RESERVED]);
    });

    it("gives nothing to somebody who may not read a dataset behind it any more", async () => {
      const guest = await server.userToken("guest");
      for (const [kind, permission, id] of [
        ["DATASET", "READ", "fruit"],
        ["COMPUTING_UNIT", "WRITE", "bench"],
        ["WORKFLOW", "WRITE", `twin-${workflows + 2}`],
      ])
        await server.db.query(
          `insert into access_grant (project_id, resource_kind, resource_id, subject, permission, granted_by)
           values (:project, :kind, :id, 'guest', :permission, 'owner')`,
          { project: PROJECT, kind, id, permission },
        );
      const [first, second] = await twins(guest);
      await share(first);
      await computeAll(first, 1);
      const gone = "delete from access_grant where subject = 'guest' and resource_kind = 'DATASET'";
      await server.db.query(gone);
      expect(outcomes(await lookUp(server, second))).to.deep.equal([OUTCOME_RESERVED]);
    });

    it("gives nothing of another workflow once it does not share any more", async () => {
      const [first, second] = await twins();
      await share(first);
      await computeAll(first, 1);
      await setPolicy(server, { shared: false });
      expect(outcomes(await lookUp(server, second))).to.deep.equal([OUTCOME_RESERVED]);
      await setPolicy(server, { shared: true });
    });
  });
});
