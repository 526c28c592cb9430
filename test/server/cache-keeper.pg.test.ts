// The keeper: entries that go because nobody uses them, or because a project's quota is full.
import { expect } from "chai";
import { LogicalPlan } from "../../src/contract/postern/v1/plan.js";
import { createLogger } from "../../src/process/log.js";
import { callUnary } from "../../src/rpc/channel.js";
import { createCacheKeeper } from "../../src/server/cache/cache-keeper.js";
import { clearCache, hashOf, storeEntries } from "../support/cache-entries.js";
import { FRUIT_PLAN, PROJECT, startTestServer, type TestServer } from "../support/test-server.js";

describe("the keeper of the cache", () => {
  let server: TestServer;
  before(async () => {
    server = await startTestServer();
    await server.furnish();
    const plan = LogicalPlan.fromJSON(FRUIT_PLAN);
    const other = { requestId: "", projectId: PROJECT, workflowId: "other", plan, comment: "" };
    await callUnary(server.client.workflows, "putWorkflow", other, { token: server.owner });
  });
  after(() => server.stop());
  afterEach(() => clearCache(server.db));

  const remaining = async () =>
    (await server.db.query<{ subdagHash: string }>("select subdag_hash from cache_entry order by subdag_hash")).map(
      (row) => row.subdagHash,
    );
  const setPolicy = (ttlSeconds: bigint, quotaBytes: bigint) =>
    server.db.query(
      `insert into cache_policy values (:p, :ttlSeconds, :quotaBytes, false)
       on conflict (project_id) do update set ttl_seconds = :ttlSeconds, quota_bytes = :quotaBytes`,
      { p: PROJECT, ttlSeconds, quotaBytes },
    );
  let clock = 0;
  const keeper = (batch = 100) =>
    createCacheKeeper({ db: server.db, log: createLogger("keeper", "silent"), clock: () => clock, batch });

  it("forgets what nobody used for the TTL, in batches, and nothing where the TTL is 0", async () => {
    const old = Array.from({ length: 7 }, (_, i) => ({ hash: hashOf(i), unusedSeconds: 100 + i }));
    await storeEntries(server.db, ...old, { hash: hashOf(90), unusedSeconds: 1 });
    await setPolicy(0n, 0n);
    await keeper(3).expire();
    expect(await remaining()).to.have.lengthOf(8);
    await setPolicy(60n, 0n);
    await keeper(3).expire();
    expect(await remaining()).to.deep.equal([hashOf(90)]);
  });

  it("forgets after 30 days where no policy says otherwise", async () => {
    const day = 24 * 60 * 60;
    await storeEntries(
      server.db,
      { hash: hashOf(1), unusedSeconds: 31 * day },
      { hash: hashOf(2), unusedSeconds: 29 * day },
    );
    await keeper().expire();
    expect(await remaining()).to.deep.equal([hashOf(2)]);
  });

  it("evicts what saves the least time per byte, the longest unused first where that is equal, until the rest fits", async () => {
    await storeEntries(
      server.db,
      { hash: hashOf(1), bytes: 100, computeMs: 100 }, // 1 ms per byte
      { hash: hashOf(2), bytes: 100, computeMs: 50, hits: 3 }, // 2
      { hash: hashOf(3), bytes: 10, computeMs: 30 }, // 3
      { hash: hashOf(4), bytes: 100, computeMs: 300, unusedSeconds: 50 }, // 3, and longer unused
      { hash: hashOf(5), bytes: 200, computeMs: 10_000 }, // 50
    );
    const evictDownTo = async (quota: bigint) => {
      await setPolicy(0n, quota);
      await keeper().evict();
      return remaining();
    };
    expect(await evictDownTo(510n)).to.deep.equal([1, 2, 3, 4, 5].map(hashOf));
    expect(await evictDownTo(509n)).to.deep.equal([2, 3, 4, 5].map(hashOf));
    expect(await evictDownTo(310n)).to.deep.equal([3, 4, 5].map(hashOf));
    expect(await evictDownTo(309n)).to.deep.equal([3, 5].map(hashOf));
  });

  it("evicts a result that alone exceeds the quota, and not the others for its sake", async () => {
    await storeEntries(
      server.db,
      { hash: hashOf(1), bytes: 1_000, computeMs: 1_000_000 },
      { hash: hashOf(2), bytes: 90, computeMs: 1 },
    );
    await setPolicy(0n, 100n);
    await keeper().evict();
    expect(await remaining()).to.deep.equal([hashOf(2)]);
  });

  it("counts a result of two entries once, and evicts both or none", async () => {
    const shared = { uri: "file:///shared", bytes: 100, computeMs: 10 };
    await storeEntries(server.db, { ...shared, hash: hashOf(1) }, { ...shared, hash: hashOf(2), workflowId: "other" });
    await setPolicy(0n, 100n);
    await keeper().evict();
    expect(await remaining()).to.have.lengthOf(2);
    await setPolicy(0n, 99n);
    await keeper().evict();
    expect(await remaining()).to.deep.equal([]);
  });

  it("goes on until the quota is kept, however small its batches", async () => {
    await storeEntries(
      server.db,
      ...Array.from({ length: 9 }, (_, i) => ({ hash: hashOf(i), bytes: 10, computeMs: i })),
    );
    await setPolicy(0n, 20n);
    await keeper(2).evict();
    expect(await remaining()).to.deep.equal([7, 8].map(hashOf));
  });

  it("adds up again when entries came, not more often than every 30 s, and at once when the quota is another", async () => {
    const one = keeper();
    await storeEntries(server.db, { hash: hashOf(1), bytes: 60 });
    await setPolicy(0n, 100n);
    await one.evict();
    await storeEntries(server.db, { hash: hashOf(2), bytes: 60, computeMs: 1 });
    await one.evict();
    expect(await remaining()).to.have.lengthOf(2);
    clock += 30_000;
    await one.evict();
    expect(await remaining()).to.deep.equal([hashOf(1)]);
    await setPolicy(0n, 50n);
    await one.evict();
    expect(await remaining()).to.deep.equal([]);
  });
});
