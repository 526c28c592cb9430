import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { ExecutionState, PrepareExecutionResponse } from "../../src/contract/postern/v1/execution.js";
import { LogicalPlan } from "../../src/contract/postern/v1/plan.js";
import type { AppError } from "../../src/core/app-error.js";
import { callUnary } from "../../src/rpc/channel.js";
import { physicalPlanFromWire, planDigest } from "../../src/rpc/plan-codec.js";
import { attachExecutor } from "../support/attached-executor.js";
import { rejection } from "../support/rejection.js";
import { FRUIT_PLAN, PROJECT, startTestServer, type TestServer, UNIT, WORKFLOW } from "../support/test-server.js";

describe("PrepareExecution", () => {
  let server: TestServer;
  before(async () => {
    server = await startTestServer();
    await server.furnish();
  });
  after(() => server.stop());

  const putPlan = (workflowId: string, plan: object) =>
    callUnary(
      server.client.workflows,
      "putWorkflow",
      { requestId: "", projectId: PROJECT, workflowId, plan: LogicalPlan.fromJSON(plan), comment: "" },
      { token: server.owner },
    );
  const prepareWorkflow = (workflowId: string, token = server.owner) =>
    callUnary(
      server.client.executions,
      "prepareExecution",
      {
        requestId: "",
        projectId: PROJECT,
        workflowId,
        workflowVersion: 0,
        computingUnitId: UNIT,
        name: "",
        queue: false,
        maxAttempts: 0,
        cache: undefined,
        costModel: 0,
      },
      { token },
    );
  const countExecutions = async () =>
    (await server.db.query<{ n: bigint }>("select count(*) as n from execution"))[0]!.n;

  it("gives the caller everything an executor needs: plan, digest, result prefix, token", async () => {
    const { execution, spec, token, tokenExpiresAt } = await server.prepare();
    expect(execution!.state).to.equal(ExecutionState.EXECUTION_STATE_PREPARED);
    expect(spec!.resultPrefix).to.equal(`${server.resultRoot}/${PROJECT}/${execution!.id}/1/`);
    expect(planDigest(physicalPlanFromWire(spec!.plan!))).to.equal(spec!.planDigest);
    expect(token.split(".")).to.have.lengthOf(3);
    expect(tokenExpiresAt!.getTime()).to.be.greaterThan(Date.now());
  });

  it("keeps spec and token from a caller who lets the server queue the execution", async () => {
    const { execution, spec, token } = await server.prepare({ queue: true });
    expect(execution!.state).to.equal(ExecutionState.EXECUTION_STATE_QUEUED);
    expect(spec).to.equal(undefined);
    expect(token).to.equal("");
  });

  it("pins the workflow's version: a later version does not change what runs", async () => {
    await putPlan("pinned", FRUIT_PLAN);
    const { spec } = await prepareWorkflow("pinned");
    await putPlan("pinned", { ...FRUIT_PLAN, operators: FRUIT_PLAN.operators.slice(0, 1), links: [] });
    const stored = await server.execution(spec!.executionId);
    expect(stored.workflowVersion).to.equal(1);
    expect(stored.planDigest).to.equal(spec!.planDigest);
  });

  it("returns the same execution for the same request id, with a token that works", async () => {
    const first = await server.prepare({ requestId: "once" });
    const second = await server.prepare({ requestId: "once" });
    expect(second.execution!.id).to.equal(first.execution!.id);
    const executor = attachExecutor(server.client.executions, second.token);
    await executor.hello(second.spec!);
    await executor.next("welcome");
    executor.cut();
  });

  it("makes one execution of many simultaneous calls with one request id", async () => {
    const replies = await Promise.all(Array.from({ length: 6 }, () => server.prepare({ requestId: "at-once" })));
    expect(new Set(replies.map((r) => r.execution!.id)).size).to.equal(1);
  });

  it("refuses a request id that was used with another body", async () => {
    await server.prepare({ requestId: "mine" });
    expect(await rejection(server.prepare({ requestId: "mine", queue: true }))).to.include({
      code: "conflict",
      reason: "REQUEST_ID_REUSED",
    });
  });

  it("stores no token", async () => {
    const { token } = await server.prepare({ requestId: "secret" });
    const rows = await server.db.query<{ reply: Buffer }>(
      "select reply from request_reply where request_id = 'secret'",
    );
    expect(PrepareExecutionResponse.decode(rows[0]!.reply).token).to.equal("");
    expect(rows[0]!.reply.toString("latin1")).not.to.contain(token.split(".")[2]);
  });

  it("spends no execution id on a plan that cannot run, and lists every finding", async () => {
    await putPlan("broken", {
      operators: [
        { id: "fruit", type: "scan", properties: { dataset: "fruit" } },
        { id: "missing", type: "filter", properties: { predicate: "colour = 'red'" } },
        { id: "odd", type: "no-such-operator", properties: {} },
      ],
      links: [
        { from: "fruit", to: "missing" },
        { from: "fruit", to: "odd" },
      ],
    });
    const before = await countExecutions();
    const refused = (await rejection(prepareWorkflow("broken"))) as AppError;
    expect(refused).to.include({ code: "invalid", reason: "PLAN_INVALID" });
    const detail = refused.detail as Extract<AppError["detail"], { kind: "PlanInvalid" }>;
    expect(detail.diagnostics.map((d) => d.operatorId)).to.include.members(["missing", "odd"]);
    expect(await countExecutions()).to.equal(before);
  });

  it("tells a forbidden dataset and an absent one apart in nothing but the name", async () => {
    const stranger = await server.userToken("stranger");
    const project = { requestId: "", projectId: "elsewhere", name: "" };
    await callUnary(server.client.access, "createProject", project, { token: stranger });
    const findingFor = async (dataset: string) => {
      const plan = LogicalPlan.fromJSON({ operators: [{ id: "s", type: "scan", properties: { dataset } }], links: [] });
      const put = { requestId: "", projectId: "elsewhere", workflowId: "w", plan, comment: "" };
      await callUnary(server.client.workflows, "putWorkflow", put, { token: stranger });
      await callUnary(
        server.client.access,
        "putComputingUnit",
        { projectId: "elsewhere", computingUnitId: UNIT, name: "" },
        { token: stranger },
      );
      const request = {
        requestId: "",
        projectId: "elsewhere",
        workflowId: "w",
        workflowVersion: 0,
        computingUnitId: UNIT,
        name: "",
        queue: false,
        maxAttempts: 0,
        cache: undefined,
        costModel: 0,
      };
      return (await rejection(callUnary(server.client.executions, "prepareExecution", request, { token: stranger })))
        .message;
    };
    const forbidden = await findingFor(`${PROJECT}/fruit`);
    const absent = await findingFor(`${PROJECT}/froot`);
    expect(forbidden.replace("fruit", "X")).to.equal(absent.replace("froot", "X"));
  });

  it("refuses a caller who may not see the workflow as if it did not exist", async () => {
    const stranger = await server.userToken("nobody");
    const hidden = await rejection(prepareWorkflow(WORKFLOW, stranger));
    const absent = await rejection(prepareWorkflow("absent", stranger));
    expect(hidden.message.replace(WORKFLOW, "X")).to.equal(absent.message.replace("absent", "X"));
    expect(hidden).to.include({ code: "not-found" });
  });

  it("refuses to run on a dataset whose file is not what was registered", async () => {
    const file = join(server.directory, "changing.csv");
    await writeFile(file, "a\n1\n");
    const dataset = { requestId: "", projectId: PROJECT, name: "changing", uri: `file://${file}`, format: undefined };
    await callUnary(server.client.datasets, "registerDataset", dataset, { token: server.owner });
    await putPlan("changing", {
      operators: [{ id: "s", type: "scan", properties: { dataset: "changing" } }],
      links: [],
    });
    await prepareWorkflow("changing");
    await writeFile(file, "a\n1\n2\n");
    expect(await rejection(prepareWorkflow("changing"))).to.include({
      code: "precondition",
      reason: "DATASET_CHANGED",
    });
    await rm(file);
    expect(await rejection(prepareWorkflow("changing"))).to.include({
      code: "precondition",
      reason: "DATASET_CHANGED",
    });
  });
});
