// What a project keeps in the port cache: lists, invalidation, statistics, policy.
import { expect } from "chai";
import {
  type CacheEntry,
  type CachePolicy,
  InvalidateRequest,
  ListEntriesRequest,
} from "../../src/contract/postern/v1/cache.js";
import { LogicalPlan } from "../../src/contract/postern/v1/plan.js";
import { newId } from "../../src/core/ids.js";
import { callUnary } from "../../src/rpc/channel.js";
import { clearCache, hashOf, outputPort, storeEntries } from "../support/cache-entries.js";
import { rejection } from "../support/rejection.js";
import { FRUIT_PLAN, PROJECT, startTestServer, type TestServer, WORKFLOW } from "../support/test-server.js";

const DATASET = "0190a000-0000-7000-8000-000000000001";

describe("CacheService, what is kept", () => {
  let server: TestServer;
  let strangers: { stranger: string; viewer: string; editor: string };
  before(async () => {
    server = await startTestServer();
    await server.furnish();
    const [stranger, viewer, editor] = await Promise.all(
      ["stranger", "viewer", "editor"].map((s) => server.userToken(s)),
    );
    strangers = { stranger: stranger!, viewer: viewer!, editor: editor! };
    await server.db.query(
      "insert into project_member (project_id, subject, role) values (:p, 'viewer', 'VIEWER'), (:p, 'editor', 'EDITOR')",
      { p: PROJECT },
    );
    const plan = LogicalPlan.fromJSON(FRUIT_PLAN);
    const other = { requestId: "", projectId: PROJECT, workflowId: "other", plan, comment: "" };
    await callUnary(server.client.workflows, "putWorkflow", other, { token: server.owner });
  });
  after(() => server.stop());
  afterEach(() => clearCache(server.db));

  const list = (more: Partial<ListEntriesRequest> = {}, token = server.owner) =>
    callUnary(
      server.client.caches,
      "listEntries",
      ListEntriesRequest.fromPartial({ projectId: PROJECT, workflowId: WORKFLOW, ...more }),
      { token },
    );
  const invalidate = (more: Partial<InvalidateRequest>, token = server.owner) =>
    callUnary(server.client.caches, "invalidate", InvalidateRequest.fromPartial({ projectId: PROJECT, ...more }), {
      token,
    });
  const hashes = (entries: CacheEntry[]) => entries.map((entry) => entry.subdagHash);
  const remaining = async () =>
    (await server.db.query<{ subdagHash: string }>("select subdag_hash from cache_entry order by subdag_hash")).map(
      (row) => row.subdagHash,
    );
  const audited = (action: string) =>
    server.db.query<{ actor: string; detail: object }>(
      "select actor, detail from audit_log where action = :action order by id desc limit 1",
      { action },
    );

  describe("ListEntries", () => {
    it("pages through a workflow's entries, newest first, each once, with everything that is known of them", async () => {
      await storeEntries(
        server.db,
        ...Array.from({ length: 7 }, (_, i) => ({
          hash: hashOf(i),
          computeMs: i,
          hits: i,
          datasets: [`${DATASET}@2`],
        })),
        { workflowId: "other" },
      );
      const seen: CacheEntry[] = [];
      for (let pageToken = ""; ; ) {
        const page = await list({ pageSize: 3, pageToken });
        seen.push(...page.entries);
        pageToken = page.nextPageToken;
        if (pageToken === "") break;
      }
      expect(hashes(seen)).to.deep.equal([6, 5, 4, 3, 2, 1, 0].map(hashOf));
      expect(seen[0]).to.include({ projectId: PROJECT, workflowId: WORKFLOW, globalPortId: outputPort("order") });
      expect(seen[0]).to.include({ computeMs: 6n, hitCount: 6n, operatorType: "sort", byteCount: 100n });
      expect(seen[0]!.datasetVersions).to.deep.equal([`${DATASET}@2`]);
      expect(seen[0]!.lastUsedAt).to.be.instanceOf(Date);
    });

    it("pages through entries that were stored in one moment", async () => {
      await storeEntries(server.db, ...Array.from({ length: 5 }, (_, i) => ({ hash: hashOf(i) })));
      await server.db.query("update cache_entry set created_at = '2026-01-01 00:00:00.123457'");
      const first = await list({ pageSize: 2 });
      const second = await list({ pageSize: 3, pageToken: first.nextPageToken });
      expect(hashes([...first.entries, ...second.entries])).to.deep.equal([0, 1, 2, 3, 4].map(hashOf));
      expect(second.nextPageToken).to.equal("");
    });

    it("ends a page before it grows beyond a message", async () => {
      const fingerprint = "x".repeat(900_000);
      await storeEntries(server.db, ...Array.from({ length: 6 }, (_, i) => ({ hash: hashOf(i), fingerprint })));
      const page = await list({ pageSize: 500 });
      expect(page.entries).to.have.lengthOf(2);
      expect((await list({ pageSize: 500, pageToken: page.nextPageToken })).entries).to.have.lengthOf(2);
    });

    it("refuses page tokens of no page, sizes below zero and ids that are none", async () => {
      const token = (key: unknown) => Buffer.from(JSON.stringify(["cache-entries", key])).toString("base64url");
      const tokens = [
        "x",
        token(5),
        token("99999999999999999999 a b"),
        token(`1 ${hashOf(1)} nonsense`),
        token("1 2 3"),
        "a".repeat(100_000),
      ];
      for (const pageToken of tokens)
        expect(await rejection(list({ pageToken })), pageToken.slice(0, 80)).to.include({ code: "invalid" });
      for (const more of [{ pageSize: -1 }, { workflowId: "" }, { workflowId: "../x" }, { projectId: "a\0b" }])
        expect(await rejection(list(more)), JSON.stringify(more)).to.include({ code: "invalid" });
    });

    it("shows a workflow's entries to its readers only", async () => {
      expect((await list({}, strangers.viewer)).entries).to.deep.equal([]);
      expect(await rejection(list({}, strangers.stranger))).to.include({ code: "not-found" });
    });
  });

  describe("Invalidate", () => {
    beforeEach(() =>
      storeEntries(
        server.db,
        { hash: hashOf(1), type: "sort", datasets: [`${DATASET}@1`], uri: "file:///same" },
        { hash: hashOf(2), type: "sort", datasets: [`${DATASET}@2`], uri: "file:///same" },
        { hash: hashOf(3), type: "filter", datasets: [`${DATASET}@12`], port: outputPort("heavy") },
        { hash: hashOf(4), type: "sort", workflowId: "other", datasets: [`${newId()}@1`] },
      ),
    );

    const selections: [what: string, request: Partial<InvalidateRequest>, gone: number[]][] = [
      ["a workflow", { workflowId: WORKFLOW }, [1, 2, 3]],
      ["a port", { workflowId: WORKFLOW, globalPortId: outputPort("heavy") }, [3]],
      ["a key", { workflowId: WORKFLOW, globalPortId: outputPort("order"), subdagHash: hashOf(2) }, [2]],
      ["a hash", { workflowId: WORKFLOW, subdagHash: hashOf(1) }, [1]],
      ["a dataset, whichever workflow", { datasetId: DATASET }, [1, 2, 3]],
      ["one version of a dataset, and not those that begin like it", { datasetId: DATASET, datasetVersion: 1 }, [1]],
      ["an operator type, whichever workflow", { operatorType: "sort" }, [1, 2, 4]],
      ["what meets every condition", { workflowId: WORKFLOW, operatorType: "sort", datasetId: DATASET }, [1, 2]],
      ["nothing", { workflowId: WORKFLOW, operatorType: "join" }, []],
    ];
    for (const [what, request, gone] of selections) {
      it(`forgets ${what}, and a dry run tells the same and forgets nothing`, async () => {
        const before = await remaining();
        const dry = await invalidate({ ...request, dryRun: true });
        expect(await remaining()).to.deep.equal(before);
        const wet = await invalidate(request);
        expect(wet).to.deep.equal(dry);
        expect(hashes(wet.entries).sort()).to.deep.equal(gone.map(hashOf));
        expect(wet.entryCount).to.equal(BigInt(gone.length));
        expect(await remaining()).to.deep.equal(before.filter((one) => !gone.map(hashOf).includes(one)));
        expect((await invalidate(request)).entryCount).to.equal(0n);
      });
    }

    it("counts a result two entries point to once, and leaves its object to the sweeper", async () => {
      expect((await invalidate({ workflowId: WORKFLOW })).byteCount).to.equal(200n);
      const rows = await server.db.query("select uri from blob where check_at is not null");
      expect(rows).to.have.lengthOf(2);
    });

    it("lists 1,000 of many, without their fingerprints, and counts all", async () => {
      await server.db.query(
        `insert into cache_entry (project_id, workflow_id, global_port_id, subdag_hash, fingerprint_json, result_uri,
                                  tuple_count, byte_count, source_execution_id)
         select :p, :w, 'many', lpad(to_hex(i), 64, '0'), repeat('x', 10000), 'file:///same', 1, 100, :source
           from generate_series(1, 1500) i`,
        { p: PROJECT, w: WORKFLOW, source: newId() },
      );
      const reply = await invalidate({ workflowId: WORKFLOW, dryRun: true });
      expect(reply.entries).to.have.lengthOf(1_000);
      expect(reply.entries.every((entry) => entry.fingerprintJson === "")).to.equal(true);
      expect(reply.entryCount).to.equal(1_503n);
    });

    it("writes who did it into the audit log, and nothing for a dry run", async () => {
      await invalidate({ workflowId: WORKFLOW, dryRun: true }, strangers.editor);
      expect((await audited("Invalidate"))[0]?.actor).not.to.equal("editor");
      await invalidate({ workflowId: WORKFLOW }, strangers.editor);
      expect((await audited("Invalidate"))[0]).to.containSubset({
        actor: "editor",
        detail: { workflowId: WORKFLOW, entries: 3 },
      });
    });

    it("needs the right to write the workflow; without a workflow, the role EDITOR", async () => {
      for (const request of [{ workflowId: WORKFLOW }, { operatorType: "sort" }]) {
        expect(await rejection(invalidate(request, strangers.viewer))).to.include({ code: "forbidden" });
        expect(await rejection(invalidate(request, strangers.stranger))).to.include({ code: "not-found" });
      }
      expect((await invalidate({ operatorType: "sort" }, strangers.editor)).entryCount).to.equal(3n);
    });

    it("refuses to forget without saying whose, and what is no id, hash, version or type", async () => {
      const refused: Partial<InvalidateRequest>[] = [
        {},
        { subdagHash: hashOf(1) },
        { globalPortId: outputPort("order") },
        { projectId: "" },
        { workflowId: "a/b" },
        { workflowId: WORKFLOW, subdagHash: "xyz" },
        { workflowId: WORKFLOW, globalPortId: "order" },
        { workflowId: WORKFLOW, datasetVersion: 1 },
        { datasetId: "fruit" },
        { datasetId: DATASET, datasetVersion: -1 },
        { operatorType: "a\0b" },
        { operatorType: "x".repeat(100_000) },
      ];
      for (const request of refused)
        expect(await rejection(invalidate(request)), JSON.stringify(request).slice(0, 90)).to.include({
          code: "invalid",
        });
      expect(await remaining()).to.have.lengthOf(4);
    });
  });

  describe("the policy", () => {
    const get = (token = server.owner) =>
      callUnary(server.client.caches, "getCachePolicy", { projectId: PROJECT }, { token });
    const set = (policy: CachePolicy | undefined, token = server.owner) =>
      callUnary(server.client.caches, "setCachePolicy", { projectId: PROJECT, policy }, { token });

    it("is 30 days, no quota and not shared until an owner says otherwise, and then what that one says", async () => {
      expect((await get(strangers.viewer)).policy).to.deep.equal({
        ttlSeconds: 2_592_000n,
        quotaBytes: 0n,
        shared: false,
      });
      for (const policy of [
        { ttlSeconds: 60n, quotaBytes: 2n ** 62n, shared: true },
        { ttlSeconds: 0n, quotaBytes: 0n, shared: false },
      ]) {
        expect((await set(policy)).policy).to.deep.equal(policy);
        expect((await get()).policy).to.deep.equal(policy);
      }
      expect((await audited("SetCachePolicy"))[0]).to.containSubset({ actor: "owner", detail: { quotaBytes: "0" } });
    });

    it("refuses who does not own the project, and limits below zero or beyond all dates", async () => {
      const policy = { ttlSeconds: 60n, quotaBytes: 0n, shared: false };
      expect(await rejection(set(policy, strangers.editor))).to.include({ code: "forbidden" });
      expect(await rejection(set(policy, strangers.stranger))).to.include({ code: "not-found" });
      expect(await rejection(get(strangers.stranger))).to.include({ code: "not-found" });
      const refused = [{ ttlSeconds: -1n }, { quotaBytes: -1n }, { ttlSeconds: 2n ** 63n - 1n }];
      for (const more of refused) expect(await rejection(set({ ...policy, ...more }))).to.include({ code: "invalid" });
      expect(await rejection(set(undefined))).to.include({ code: "invalid" });
    });
  });

  describe("GetCacheStatistics", () => {
    const statistics = (workflowId = "", token = server.owner) =>
      callUnary(server.client.caches, "getCacheStatistics", { projectId: PROJECT, workflowId }, { token });

    it("counts entries, bytes of distinct results, and what executions reused, of the project or one workflow", async () => {
      await storeEntries(
        server.db,
        { hash: hashOf(1), uri: "file:///a", bytes: 100 },
        { hash: hashOf(2), uri: "file:///a", bytes: 100 },
        { hash: hashOf(3), workflowId: "other", bytes: 7 },
      );
      const { execution } = await server.prepare();
      await server.db.query(
        `insert into execution_reuse values (:id, 5, 2, 10, 4, :ms, :bytes, '[]')
         on conflict (execution_id) do update
           set ports_looked_up = 10, ports_reused = 4, saved_ms = :ms, saved_bytes = :bytes`,
        { id: execution!.id, ms: 2n ** 53n + 1n, bytes: 9n },
      );
      const use = { lookupCount: 10n, hitCount: 4n, savedMs: 2n ** 53n + 1n, savedBytes: 9n, executionCount: 1n };
      expect(await statistics()).to.deep.equal({ entryCount: 3n, byteCount: 107n, ...use });
      expect(await statistics(WORKFLOW)).to.deep.equal({ entryCount: 2n, byteCount: 100n, ...use });
      expect(await statistics("other")).to.deep.equal({
        entryCount: 1n,
        byteCount: 7n,
        lookupCount: 0n,
        hitCount: 0n,
        savedMs: 0n,
        savedBytes: 0n,
        executionCount: 0n,
      });
    });

    it("is for members, and of workflows that exist", async () => {
      expect((await statistics("", strangers.viewer)).entryCount).to.equal(0n);
      expect(await rejection(statistics("", strangers.stranger))).to.include({ code: "not-found" });
      expect(await rejection(statistics("nowhere"))).to.include({ code: "not-found" });
      expect(await rejection(statistics("a/b"))).to.include({ code: "invalid" });
    });
  });
});
