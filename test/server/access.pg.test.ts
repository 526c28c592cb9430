import { expect } from "chai";
import { Permission, ResourceKind, Role } from "../../src/contract/postern/v1/access.js";
import { Scope } from "../../src/contract/postern/v1/options.js";
import { requireResource, requireRole } from "../../src/server/access/authorization.js";
import { accessService } from "../../src/server/services/access-service.js";
import { workflowService } from "../../src/server/services/workflow-service.js";
import { callerContext, userContext } from "../support/contexts.js";
import { createMigratedDatabase, type MigratedDatabase } from "../support/migrated-database.js";
import { rejection } from "../support/rejection.js";

describe("AccessService", () => {
  let database: MigratedDatabase;
  let access: ReturnType<typeof accessService>;
  let workflows: ReturnType<typeof workflowService>;
  before(async () => {
    database = await createMigratedDatabase();
    access = accessService({
      db: database.db,
      connectedExecutors: (_project, unit) => ({
        executors: unit === "busy" ? 2 : 0,
        freeSlots: unit === "busy" ? 3 : 0,
      }),
      mintServeToken: async (of) => ({ token: `serve:${JSON.stringify(of)}`, expiresAt: new Date("2030-01-01") }),
    });
    workflows = workflowService({ db: database.db });
  });
  after(() => database.close());

  const owner = userContext("olga");
  let count = 0;
  /** A project of its own with a workflow "w" and a computing unit "u". */
  const makeProject = async () => {
    const projectId = `project-${++count}`;
    await access.createProject({ requestId: "", projectId, name: "" }, owner);
    await workflows.putWorkflow(
      { requestId: "", projectId, workflowId: "w", plan: { operators: [], links: [] }, comment: "" },
      owner,
    );
    await access.putComputingUnit({ projectId, computingUnitId: "u", name: "" }, owner);
    return projectId;
  };
  const putMember = (projectId: string, subject: string, role: Role, by = owner) =>
    access.putMember({ projectId, member: { subject, role } }, by);
  const workflow = { kind: ResourceKind.RESOURCE_KIND_WORKFLOW, id: "w" };
  const unit = { kind: ResourceKind.RESOURCE_KIND_COMPUTING_UNIT, id: "u" };
  const putGrant = (projectId: string, subject: string, permission: Permission, resource = workflow) =>
    access.putGrant({ projectId, grant: { resource, subject, permission } }, owner);
  const readWorkflow = (projectId: string, subject: string, workflowId = "w") =>
    workflows.getWorkflowVersion({ projectId, workflowId, version: 0 }, userContext(subject));
  const auditOf = (projectId: string) =>
    database.db.query<{ action: string; actor: string; resource: string; detail: unknown }>(
      "select action, actor, resource, detail from audit_log where project_id = :projectId order by id",
      { projectId },
    );

  describe("a project", () => {
    it("has its maker as owner, and is listed for its members only", async () => {
      const projectId = await makeProject();
      await putMember(projectId, "vera", Role.ROLE_VIEWER);
      const seen = async (subject: string) => (await access.listProjects({}, userContext(subject))).projects;
      expect((await seen("olga")).find(({ id }) => id === projectId)?.role).to.equal(Role.ROLE_OWNER);
      expect((await seen("vera")).map(({ id, name, role }) => ({ id, name, role }))).to.deep.equal([
        { id: projectId, name: projectId, role: Role.ROLE_VIEWER },
      ]);
      expect(await seen("stranger")).to.deep.equal([]);
    });

    it("is not made twice under one id, by whomever", async () => {
      const projectId = await makeProject();
      for (const context of [owner, userContext("stranger")]) {
        const error = await rejection(access.createProject({ requestId: "", projectId, name: "" }, context));
        expect(error).to.include({ code: "conflict", reason: "ALREADY_EXISTS" });
      }
    });

    it("is made once by a repeated request", async () => {
      const request = { requestId: "r-1", projectId: "repeated", name: "Repeated" };
      const first = await access.createProject(request, owner);
      expect(await access.createProject(request, owner)).to.deep.equal(first);
      const other = await rejection(access.createProject({ ...request, name: "Another" }, owner));
      expect(other).to.include({ reason: "REQUEST_ID_REUSED" });
    });

    it("refuses an id that is no name", async () => {
      for (const projectId of ["", "a/b", "a b", "ü", "x".repeat(129)])
        expect(await rejection(access.createProject({ requestId: "", projectId, name: "" }, owner))).to.include({
          code: "invalid",
        });
    });
  });

  describe("members", () => {
    it("are put, changed, listed by subject and deleted", async () => {
      const projectId = await makeProject();
      await putMember(projectId, "vera", Role.ROLE_VIEWER);
      await putMember(projectId, "ed", Role.ROLE_EDITOR);
      await putMember(projectId, "vera", Role.ROLE_EDITOR);
      const list = async () => (await access.listMembers({ projectId }, userContext("ed"))).members;
      expect(await list()).to.deep.equal([
        { subject: "ed", role: Role.ROLE_EDITOR },
        { subject: "olga", role: Role.ROLE_OWNER },
        { subject: "vera", role: Role.ROLE_EDITOR },
      ]);
      await access.deleteMember({ projectId, subject: "vera" }, owner);
      await access.deleteMember({ projectId, subject: "vera" }, owner);
      expect((await list()).map(({ subject }) => subject)).to.deep.equal(["ed", "olga"]);
      expect(await rejection(readWorkflow(projectId, "vera"))).to.include({ code: "not-found" });
    });

    it("are managed by owners only", async () => {
      const projectId = await makeProject();
      await putMember(projectId, "ed", Role.ROLE_EDITOR);
      const byEditor = await rejection(putMember(projectId, "x", Role.ROLE_VIEWER, userContext("ed")));
      expect(byEditor).to.include({ code: "forbidden", reason: "PERMISSION_DENIED" });
      const byStranger = await rejection(putMember(projectId, "x", Role.ROLE_VIEWER, userContext("stranger")));
      const ofNothing = await rejection(putMember("no-project", "x", Role.ROLE_VIEWER, userContext("stranger")));
      expect(byStranger).to.include({ code: "not-found" });
      expect(ofNothing.message.replace("no-project", projectId)).to.equal(byStranger.message);
    });

    it("keep one owner: the last one neither steps down nor leaves", async () => {
      const projectId = await makeProject();
      for (const attempt of [
        putMember(projectId, "olga", Role.ROLE_EDITOR),
        access.deleteMember({ projectId, subject: "olga" }, owner),
      ])
        expect(await rejection(attempt)).to.include({ code: "precondition", reason: "LAST_OWNER" });
      await putMember(projectId, "otto", Role.ROLE_OWNER);
      await putMember(projectId, "olga", Role.ROLE_EDITOR);
      expect(await rejection(putMember(projectId, "x", Role.ROLE_VIEWER))).to.include({ code: "forbidden" });
    });

    it("keep one owner when two owners demote each other at the same moment", async () => {
      for (let round = 0; round < 5; round++) {
        const projectId = await makeProject();
        await putMember(projectId, "otto", Role.ROLE_OWNER);
        await Promise.allSettled([
          putMember(projectId, "otto", Role.ROLE_VIEWER, owner),
          putMember(projectId, "olga", Role.ROLE_VIEWER, userContext("otto")),
        ]);
        const { members } = await access.listMembers({ projectId }, owner);
        expect(members.filter(({ role }) => role === Role.ROLE_OWNER)).to.have.length(1);
      }
    });

    it("need a subject and a role", async () => {
      const projectId = await makeProject();
      for (const [subject, role] of [
        ["", Role.ROLE_VIEWER],
        ["x", Role.ROLE_UNSPECIFIED],
        ["x", 99 as Role],
        ["x".repeat(256), Role.ROLE_VIEWER],
      ] as const)
        expect(await rejection(putMember(projectId, subject, role))).to.include({ code: "invalid" });
      expect(await rejection(access.putMember({ projectId, member: undefined }, owner))).to.include({
        code: "invalid",
      });
    });
  });

  describe("a grant", () => {
    it("opens one resource to a stranger, for reading or for writing", async () => {
      const projectId = await makeProject();
      await putGrant(projectId, "gina", Permission.PERMISSION_READ);
      await readWorkflow(projectId, "gina");
      const resource = { projectId, kind: "WORKFLOW", id: "w" } as const;
      const write = () => requireResource(database.db, userContext("gina").caller, resource, "WRITE");
      expect(await rejection(write())).to.include({ code: "forbidden" });
      await putGrant(projectId, "gina", Permission.PERMISSION_WRITE);
      await write();
      expect(
        (await workflows.listWorkflows({ projectId, pageSize: 0, pageToken: "" }, userContext("gina"))).workflows,
      ).to.have.length(1);
      const units = await access.listComputingUnits({ projectId }, userContext("gina"));
      expect(units.computingUnits).to.deep.equal([]);
      expect(await rejection(access.listMembers({ projectId }, userContext("gina")))).to.include({ code: "not-found" });
    });

    it("is taken back, and taking it back again is a no-op", async () => {
      const projectId = await makeProject();
      await putGrant(projectId, "gina", Permission.PERMISSION_READ);
      const request = { projectId, resource: workflow, subject: "gina" };
      await access.deleteGrant(request, owner);
      await access.deleteGrant(request, owner);
      expect(await rejection(readWorkflow(projectId, "gina"))).to.include({ code: "not-found" });
    });

    it("is listed for owners, of the project or of one resource", async () => {
      const projectId = await makeProject();
      await putGrant(projectId, "gina", Permission.PERMISSION_WRITE);
      await putGrant(projectId, "gus", Permission.PERMISSION_READ, unit);
      const all = await access.listGrants({ projectId, resource: undefined }, owner);
      expect(all.grants).to.deep.equal([
        { resource: unit, subject: "gus", permission: Permission.PERMISSION_READ },
        { resource: workflow, subject: "gina", permission: Permission.PERMISSION_WRITE },
      ]);
      const one = await access.listGrants({ projectId, resource: workflow }, owner);
      expect(one.grants.map(({ subject }) => subject)).to.deep.equal(["gina"]);
      await putMember(projectId, "ed", Role.ROLE_EDITOR);
      const byEditor = await rejection(access.listGrants({ projectId, resource: undefined }, userContext("ed")));
      expect(byEditor).to.include({ code: "forbidden" });
    });

    it("on something that does not exist is refused", async () => {
      const projectId = await makeProject();
      for (const kind of [1, 2, 3] as ResourceKind[]) {
        const error = await rejection(putGrant(projectId, "g", Permission.PERMISSION_READ, { kind, id: "nothing" }));
        expect(error).to.include({ code: "not-found" });
      }
    });
  });

  describe("a public flag", () => {
    it("opens a workflow to every user for reading, and closes it again", async () => {
      const projectId = await makeProject();
      const set = (open: boolean) => access.setPublic({ projectId, resource: workflow, public: open }, owner);
      await set(true);
      await readWorkflow(projectId, "stranger");
      const put = workflows.putWorkflow(
        { requestId: "", projectId, workflowId: "w", plan: { operators: [], links: [] }, comment: "" },
        userContext("stranger"),
      );
      expect(await rejection(put)).to.include({ code: "forbidden" });
      await set(false);
      expect(await rejection(readWorkflow(projectId, "stranger"))).to.include({ code: "not-found" });
    });

    it("opens a computing unit to every user for running", async () => {
      const projectId = await makeProject();
      const resource = { projectId, kind: "COMPUTING_UNIT", id: "u" } as const;
      const use = () => requireResource(database.db, userContext("stranger").caller, resource, "WRITE");
      expect(await rejection(use())).to.include({ code: "not-found" });
      await access.setPublic({ projectId, resource: unit, public: true }, owner);
      await use();
      const { computingUnits } = await access.listComputingUnits({ projectId }, userContext("stranger"));
      expect(computingUnits.map(({ id, public: open }) => [id, open])).to.deep.equal([["u", true]]);
    });

    it("is refused on something that does not exist", async () => {
      const projectId = await makeProject();
      const request = { projectId, resource: { ...workflow, id: "nothing" }, public: true };
      expect(await rejection(access.setPublic(request, owner))).to.include({ code: "not-found" });
    });
  });

  describe("a computing unit", () => {
    it("is made, renamed and listed with the executors connected now", async () => {
      const projectId = await makeProject();
      await access.putComputingUnit({ projectId, computingUnitId: "busy", name: "Busy" }, owner);
      const renamed = await access.putComputingUnit({ projectId, computingUnitId: "u", name: "Unit" }, owner);
      expect(renamed.computingUnit).to.include({ id: "u", name: "Unit", public: false });
      await putMember(projectId, "vera", Role.ROLE_VIEWER);
      const { computingUnits } = await access.listComputingUnits({ projectId }, userContext("vera"));
      expect(computingUnits).to.deep.equal([
        { projectId, id: "busy", name: "Busy", public: false, connectedExecutors: 2, freeSlots: 3 },
        { projectId, id: "u", name: "Unit", public: false, connectedExecutors: 0, freeSlots: 0 },
      ]);
    });

    it("may be seen but not used by a viewer", async () => {
      const projectId = await makeProject();
      await putMember(projectId, "vera", Role.ROLE_VIEWER);
      await putMember(projectId, "ed", Role.ROLE_EDITOR);
      const resource = { projectId, kind: "COMPUTING_UNIT", id: "u" } as const;
      const use = (subject: string) => requireResource(database.db, userContext(subject).caller, resource, "WRITE");
      expect(await rejection(use("vera"))).to.include({ code: "forbidden" });
      await use("ed");
    });

    it("gets serve tokens from owners only, each with an audit entry that holds no token", async () => {
      const projectId = await makeProject();
      const minted = await access.createServeToken({ projectId, computingUnitId: "u" }, owner);
      expect(minted.token).to.equal(`serve:${JSON.stringify({ projectId, computingUnitId: "u", subject: "olga" })}`);
      expect(minted.expiresAt).to.deep.equal(new Date("2030-01-01"));
      await putMember(projectId, "ed", Role.ROLE_EDITOR);
      const byEditor = access.createServeToken({ projectId, computingUnitId: "u" }, userContext("ed"));
      expect(await rejection(byEditor)).to.include({ code: "forbidden" });
      const ofNothing = access.createServeToken({ projectId, computingUnitId: "nothing" }, owner);
      expect(await rejection(ofNothing)).to.include({ code: "not-found" });
      const entries = (await auditOf(projectId)).filter(({ action }) => action === "CreateServeToken");
      expect(entries).to.deep.equal([
        {
          action: "CreateServeToken",
          actor: "olga",
          resource: 'computing unit "u"',
          detail: { expiresAt: "2030-01-01T00:00:00.000Z" },
        },
      ]);
    });
  });

  it("answers alike for a project that does not exist and one the caller may not see, in every call", async () => {
    const projectId = await makeProject();
    const stranger = userContext("stranger");
    const calls: ((project: string) => Promise<unknown>)[] = [
      (project) => putMember(project, "x", Role.ROLE_VIEWER, stranger),
      (project) => access.deleteMember({ projectId: project, subject: "x" }, stranger),
      (project) => access.listMembers({ projectId: project }, stranger),
      (project) =>
        access.putGrant(
          { projectId: project, grant: { resource: workflow, subject: "x", permission: Permission.PERMISSION_READ } },
          stranger,
        ),
      (project) => access.deleteGrant({ projectId: project, resource: workflow, subject: "x" }, stranger),
      (project) => access.listGrants({ projectId: project, resource: undefined }, stranger),
      (project) => access.setPublic({ projectId: project, resource: workflow, public: true }, stranger),
      (project) => access.putComputingUnit({ projectId: project, computingUnitId: "u", name: "" }, stranger),
      (project) => access.listComputingUnits({ projectId: project }, stranger),
      (project) => access.createServeToken({ projectId: project, computingUnitId: "u" }, stranger),
      (project) => workflows.listWorkflows({ projectId: project, pageSize: 0, pageToken: "" }, stranger),
      (project) => requireRole(database.db, stranger.caller, project, "VIEWER"),
    ];
    for (const call of calls) {
      const hidden = await rejection(call(projectId));
      const absent = await rejection(call("no-project"));
      expect(hidden).to.include({ code: "not-found", reason: "NOT_FOUND" });
      expect(absent).to.include({ code: "not-found", reason: "NOT_FOUND" });
      expect(absent.message.replace("no-project", projectId)).to.equal(hidden.message);
    }
  });

  it("writes down who changed whose access", async () => {
    const projectId = await makeProject();
    await putMember(projectId, "vera", Role.ROLE_VIEWER);
    await access.deleteMember({ projectId, subject: "vera" }, owner);
    await putGrant(projectId, "gina", Permission.PERMISSION_WRITE);
    await access.deleteGrant({ projectId, resource: workflow, subject: "gina" }, owner);
    await access.setPublic({ projectId, resource: workflow, public: true }, owner);
    await rejection(putMember(projectId, "olga", Role.ROLE_VIEWER));
    const entries = (await auditOf(projectId)).map(({ action, actor, resource }) => `${actor} ${action} ${resource}`);
    expect(entries).to.deep.equal([
      'olga CreateProject member "olga"',
      'olga PutComputingUnit computing unit "u"',
      'olga PutMember member "vera"',
      'olga DeleteMember member "vera"',
      'olga PutGrant workflow "w"',
      'olga DeleteGrant workflow "w"',
      'olga SetPublic workflow "w"',
    ]);
  });

  it("tells a user who it is, and refuses whoever is none", async () => {
    expect(await access.whoAmI({}, userContext("olga", ["run", "read"]))).to.deep.equal({
      subject: "olga",
      scopes: [Scope.SCOPE_READ, Scope.SCOPE_RUN],
    });
    const anonymous = await rejection(access.whoAmI({}, callerContext({ kind: "anonymous" })));
    expect(anonymous).to.include({ code: "unauthenticated" });
    const executor = callerContext({ kind: "execution", executionId: "e", attempt: 1, epoch: 1n });
    expect(await rejection(access.whoAmI({}, executor))).to.include({ code: "forbidden" });
  });
});
