import { expect } from "chai";
import { Role } from "../../src/contract/postern/v1/access.js";
import { LogicalPlan } from "../../src/contract/postern/v1/plan.js";
import { logicalPlanDigest, logicalPlanFromWire } from "../../src/rpc/plan-codec.js";
import { accessService } from "../../src/server/services/access-service.js";
import { workflowService } from "../../src/server/services/workflow-service.js";
import { userContext } from "../support/contexts.js";
import { createMigratedDatabase, type MigratedDatabase } from "../support/migrated-database.js";
import { rejection } from "../support/rejection.js";

describe("WorkflowService", () => {
  let database: MigratedDatabase;
  let workflows: ReturnType<typeof workflowService>;
  const owner = userContext("olga");
  const viewer = userContext("vera");
  const projectId = "p";
  before(async () => {
    database = await createMigratedDatabase();
    const { db } = database;
    workflows = workflowService({ db });
    const access = accessService({
      db,
      connectedExecutors: () => ({ executors: 0, freeSlots: 0 }),
      mintServeToken: () => Promise.reject(new Error("not in this test")),
    });
    await access.createProject({ requestId: "", projectId, name: "" }, owner);
    await access.putMember({ projectId, member: { subject: "vera", role: Role.ROLE_VIEWER } }, owner);
  });
  after(() => database.close());

  const planOf = (limit: unknown): LogicalPlan =>
    LogicalPlan.fromPartial({ operators: [{ id: "a", type: "limit", properties: { limit } }], links: [] });
  const put = (workflowId: string, plan: LogicalPlan | undefined, more = {}, context = owner) =>
    workflows.putWorkflow({ requestId: "", projectId, workflowId, plan, comment: "", ...more }, context);
  const get = (workflowId: string, version: number, context = owner) =>
    workflows.getWorkflowVersion({ projectId, workflowId, version }, context);
  let count = 0;
  const newId = () => `w-${++count}`;

  it("numbers versions from 1 and returns each as it was put", async () => {
    const id = newId();
    const first = await put(id, planOf(1), { comment: "start" });
    const second = await put(id, planOf(2));
    expect([first.created, first.version?.version, second.created, second.version?.version]).to.deep.equal([
      true,
      1,
      true,
      2,
    ]);
    expect(first.version).to.deep.include({ projectId, workflowId: id, comment: "start", createdBy: "olga" });
    expect((await get(id, 1)).version).to.deep.equal(first.version);
    expect((await get(id, 0)).version).to.deep.equal(second.version);
    expect(second.version?.plan).to.deep.equal(planOf(2));
  });

  it("makes no version for a plan equal to the newest, however its properties are ordered", async () => {
    const id = newId();
    const ordered = (properties: object) =>
      LogicalPlan.fromPartial({ operators: [{ id: "a", type: "x", properties }] });
    const first = await put(id, ordered({ b: 1, a: { d: [1, "x", null], c: true } }));
    const again = await put(id, ordered({ a: { c: true, d: [1, "x", null] }, b: 1 }), { comment: "again" });
    expect(again.created).to.equal(false);
    expect(again.version).to.deep.equal(first.version);
    const back = [await put(id, planOf(1)), await put(id, ordered({ b: 1, a: { d: [1, "x", null], c: true } }))];
    expect(back.map(({ created, version }) => [created, version?.version])).to.deep.equal([
      [true, 2],
      [true, 3],
    ]);
  });

  it("gives as digest the SHA-256 of the plan's canonical JSON", async () => {
    const { version } = await put(newId(), planOf(1));
    expect(version?.digest).to.equal(logicalPlanDigest(logicalPlanFromWire(planOf(1))));
    expect(version?.digest).to.match(/^[0-9a-f]{64}$/);
  });

  it("numbers concurrent versions without holes or repeats", async () => {
    const id = newId();
    const puts = await Promise.all(Array.from({ length: 20 }, (_, i) => put(id, planOf(i))));
    const numbers = puts.map(({ version }) => version!.version).sort((a, b) => a - b);
    expect(numbers).to.deep.equal(Array.from({ length: 20 }, (_, i) => i + 1));
    for (const { version } of puts) expect((await get(id, version!.version)).version).to.deep.equal(version);
  });

  it("makes one version of equal plans put at the same moment", async () => {
    const id = newId();
    for (const expected of [1, 2, 3]) {
      const puts = await Promise.all(Array.from({ length: 8 }, () => put(id, planOf(expected))));
      expect(puts.filter(({ created }) => created)).to.have.length(1);
      expect(new Set(puts.map(({ version }) => version?.version))).to.deep.equal(new Set([expected]));
    }
  });

  it("makes one version of a repeated request, also after newer versions", async () => {
    const id = newId();
    const request = { requestId: `r-${id}` };
    const first = await put(id, planOf(1), request);
    await put(id, planOf(2));
    expect(await put(id, planOf(1), request)).to.deep.equal(first);
    expect((await get(id, 0)).version?.version).to.equal(2);
    expect(await rejection(put(id, planOf(3), request))).to.include({ reason: "REQUEST_ID_REUSED" });
    const racing = await Promise.all(Array.from({ length: 5 }, () => put(id, planOf(4), { requestId: `race-${id}` })));
    expect(new Set(racing.map(({ version }) => version?.version))).to.deep.equal(new Set([3]));
    expect(racing.every(({ created }) => created)).to.equal(true);
  });

  it("hands a stored reply to nobody who has lost access since", async () => {
    const id = newId();
    await put(id, planOf(1));
    const write = { projectId, kind: "WORKFLOW", id, subject: "gina" };
    const { db } = database;
    await db.query(
      `insert into access_grant (project_id, resource_kind, resource_id, subject, permission, granted_by)
       values (:projectId, :kind, :id, :subject, 'WRITE', 'olga')`,
      write,
    );
    await put(id, planOf(2), { requestId: "gina-1" }, userContext("gina"));
    await db.query("delete from access_grant where resource_id = :id", { id });
    const error = await rejection(put(id, planOf(2), { requestId: "gina-1" }, userContext("gina")));
    expect(error).to.include({ code: "not-found" });
  });

  it("refuses a plan that JSON or Postgres cannot hold, a missing one, and an endless comment", async () => {
    for (const value of ["nul \0", Number.NaN, Number.POSITIVE_INFINITY, { "\0": 1 }])
      expect(await rejection(put(newId(), planOf(value)))).to.include({ code: "invalid" });
    expect(await rejection(put(newId(), undefined))).to.include({ code: "invalid" });
    expect(await rejection(put(newId(), planOf(1), { comment: "x".repeat(10_001) }))).to.include({ code: "invalid" });
  });

  it("keeps numbers as they are, from the smallest to the largest", async () => {
    for (const value of [5e-324, 1.7976931348623157e308, -0.1, 9007199254740991, 1e21]) {
      const id = newId();
      await put(id, planOf(value));
      expect((await get(id, 1)).version?.plan).to.deep.equal(planOf(value));
      expect((await put(id, planOf(value))).created).to.equal(false);
    }
  });

  it("lets viewers read but neither write nor make", async () => {
    const id = newId();
    await put(id, planOf(1));
    expect((await get(id, 0, viewer)).version?.version).to.equal(1);
    expect(await rejection(put(id, planOf(2), {}, viewer))).to.include({ code: "forbidden" });
    expect(await rejection(put(newId(), planOf(2), {}, viewer))).to.include({ code: "forbidden" });
  });

  it("answers a stranger alike for a workflow that exists, one that does not, and another project's", async () => {
    const id = newId();
    await put(id, planOf(1));
    const stranger = userContext("stranger");
    const calls = [
      (workflowId: string, project: string) =>
        workflows.getWorkflowVersion({ projectId: project, workflowId, version: 0 }, stranger),
      (workflowId: string, project: string) =>
        workflows.listWorkflowVersions({ projectId: project, workflowId, pageSize: 0, pageToken: "" }, stranger),
      (workflowId: string, project: string) =>
        workflows.putWorkflow(
          { requestId: "", projectId: project, workflowId, plan: planOf(1), comment: "" },
          stranger,
        ),
    ];
    for (const call of calls) {
      const errors = [];
      for (const [workflowId, project] of [
        [id, projectId],
        ["absent", projectId],
        ["absent", "no-project"],
      ] as const)
        errors.push((await rejection(call(workflowId, project))).message.replace(workflowId, "*"));
      expect(new Set(errors)).to.deep.equal(new Set(['There is no workflow "*", or you may not see it.']));
    }
  });

  it("says that a version is missing", async () => {
    const id = newId();
    await put(id, planOf(1));
    expect(await rejection(get(id, 2))).to.include({ code: "not-found" });
    expect(await rejection(get(id, -1))).to.include({ code: "invalid" });
  });

  describe("lists", () => {
    const pages = async <Page extends { nextPageToken: string }>(next: (pageToken: string) => Promise<Page>) => {
      const all = [await next("")];
      while (all.at(-1)!.nextPageToken !== "") all.push(await next(all.at(-1)!.nextPageToken));
      return all;
    };

    it("page through the workflows by id, each once", async () => {
      const ids = Array.from({ length: 5 }, (_, i) => `list-${i}`);
      for (const id of [...ids].reverse()) await put(id, planOf(1));
      const all = await pages((pageToken) => workflows.listWorkflows({ projectId, pageSize: 2, pageToken }, viewer));
      expect(all.slice(0, -1).every((page) => page.workflows.length === 2)).to.equal(true);
      const listed = all.flatMap((page) => page.workflows);
      expect(listed.map(({ id }) => id).filter((id) => id.startsWith("list-"))).to.deep.equal(ids);
      expect(new Set(listed.map(({ id }) => id)).size).to.equal(listed.length);
      expect(listed.find(({ id }) => id === "list-4")).to.include({
        projectId,
        latestVersion: 1,
        public: false,
        createdBy: "olga",
      });
    });

    it("page through the versions newest first, without plans", async () => {
      const id = newId();
      for (let i = 0; i < 5; i++) await put(id, planOf(i));
      const list = (pageToken: string) =>
        workflows.listWorkflowVersions({ projectId, workflowId: id, pageSize: 2, pageToken }, viewer);
      const listed = await pages(list);
      expect(listed.map((page) => page.versions.map(({ version }) => version))).to.deep.equal([[5, 4], [3, 2], [1]]);
      expect(listed.flatMap((page) => page.versions).every(({ plan }) => plan === undefined)).to.equal(true);
    });

    it("end when the last page is exactly full", async () => {
      const id = newId();
      await put(id, planOf(1));
      await put(id, planOf(2));
      const page = await workflows.listWorkflowVersions(
        { projectId, workflowId: id, pageSize: 2, pageToken: "" },
        owner,
      );
      expect([page.versions.length, page.nextPageToken]).to.deep.equal([2, ""]);
    });

    it("refuse page tokens that are malformed or another list's, and negative sizes", async () => {
      const id = newId();
      await put(id, planOf(1));
      await put(id, planOf(2));
      const request = { projectId, workflowId: id, pageSize: 1, pageToken: "" };
      const { nextPageToken } = await workflows.listWorkflowVersions(request, owner);
      const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
      for (const pageToken of [
        "x",
        "!!",
        nextPageToken,
        encode(["workflows", 3]),
        encode(["workflows", "a\0"]),
        encode(1),
      ])
        expect(await rejection(workflows.listWorkflows({ projectId, pageSize: 0, pageToken }, owner))).to.include({
          code: "invalid",
        });
      for (const key of [0, -1, 1.5, "1", 2 ** 31])
        expect(
          await rejection(
            workflows.listWorkflowVersions({ ...request, pageToken: encode(["workflow-versions", key]) }, owner),
          ),
        ).to.include({ code: "invalid" });
      const negative = workflows.listWorkflows({ projectId, pageSize: -1, pageToken: "" }, owner);
      expect(await rejection(negative)).to.include({ code: "invalid" });
    });
  });
});
