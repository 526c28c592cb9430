import { expect } from "chai";
import { Role } from "../../src/contract/postern/v1/access.js";
import type { CompileRequest, CompileResponse } from "../../src/contract/postern/v1/compile.js";
import { LogicalPlan } from "../../src/contract/postern/v1/plan.js";
import { OPERATOR_TYPES } from "../../src/core/operators/catalogue.js";
import { logicalPlanToWire, physicalPlanFromWire, planDigest } from "../../src/rpc/plan-codec.js";
import { planCompiler } from "../../src/server/binding/plan-compiler.js";
import { createSchemaBinder, type SchemaBinder } from "../../src/server/binding/schema-binder.js";
import { workflowVersion } from "../../src/server/repositories/workflows.js";
import { accessService } from "../../src/server/services/access-service.js";
import { compileService } from "../../src/server/services/compile-service.js";
import { workflowService } from "../../src/server/services/workflow-service.js";
import { userContext } from "../support/contexts.js";
import { createMigratedDatabase, type MigratedDatabase } from "../support/migrated-database.js";
import { planOf, resolveTestDataset } from "../support/plans.js";
import { rejection } from "../support/rejection.js";

describe("CompileService", () => {
  let database: MigratedDatabase;
  let binder: SchemaBinder;
  let service: ReturnType<typeof compileService>;
  const owner = userContext("olga");
  const viewer = userContext("vera");
  const stranger = userContext("sam");
  const asked: { subject: string; projectId: string; reference: string }[] = [];
  const wirePlan = (predicate: string): LogicalPlan =>
    LogicalPlan.fromPartial(
      logicalPlanToWire(
        planOf({
          flights: { type: "scan", dataset: "flights" },
          late: { type: "filter", from: ["flights"], predicate },
        }),
      ),
    );
  const compile = (source: CompileRequest["source"], context = owner): Promise<CompileResponse> =>
    service.compile({ projectId: "p", source }, context);

  before(async () => {
    database = await createMigratedDatabase();
    binder = await createSchemaBinder();
    const { db } = database;
    const access = accessService({
      db,
      connectedExecutors: () => ({ executors: 0, freeSlots: 0 }),
      mintServeToken: () => Promise.reject(new Error("not in this test")),
    });
    await access.createProject({ requestId: "", projectId: "p", name: "" }, owner);
    await access.putMember({ projectId: "p", member: { subject: "vera", role: Role.ROLE_VIEWER } }, owner);
    const workflows = workflowService({ db });
    for (const predicate of ["delay > 1", "delay > 2"])
      await workflows.putWorkflow(
        { requestId: "", projectId: "p", workflowId: "w", plan: wirePlan(predicate), comment: "" },
        owner,
      );
    service = compileService({
      db,
      compile: planCompiler({ bindSchemas: binder.bindSchemas }),
      resolveDataset: async (_, caller, projectId, reference) => {
        asked.push({ subject: caller.kind === "user" ? caller.subject : "", projectId, reference });
        return resolveTestDataset(reference);
      },
      workflowVersion,
    });
  });
  after(async () => {
    await binder.close();
    await database.close();
  });

  const predicateOf = ({ plan }: CompileResponse): unknown => plan?.operators[1]?.properties?.predicate;

  it("answers with the plan and its digest, resolving datasets as the caller", async () => {
    const reply = await compile({ $case: "plan", value: wirePlan("delay > 10") }, viewer);
    expect(reply.diagnostics).to.deep.equal([]);
    expect(reply.planDigest).to.equal(planDigest(physicalPlanFromWire(reply.plan!)));
    expect(asked.at(-1)).to.deep.equal({ subject: "vera", projectId: "p", reference: "flights" });
  });

  it("answers with findings, and no plan, when the plan cannot run", async () => {
    const reply = await compile({ $case: "plan", value: wirePlan("dellay > 10") });
    expect([reply.plan, reply.planDigest]).to.deep.equal([undefined, ""]);
    expect(reply.diagnostics.map((d) => [d.operatorId, d.property])).to.deep.equal([["late", "predicate"]]);
  });

  it("compiles a stored version, the newest when none is named", async () => {
    const version = (number: number) =>
      compile({ $case: "workflow", value: { workflowId: "w", version: number } }, viewer);
    expect(predicateOf(await version(1))).to.equal("delay > 1");
    expect(predicateOf(await version(0))).to.equal("delay > 2");
    expect((await rejection(version(9))).message).to.match(/no version 9/);
  });

  it("tells a stranger the same of what exists and what does not", async () => {
    const plan = await rejection(compile({ $case: "plan", value: wirePlan("true") }, stranger));
    const stored = await rejection(compile({ $case: "workflow", value: { workflowId: "w", version: 0 } }, stranger));
    const absent = await rejection(compile({ $case: "workflow", value: { workflowId: "w2", version: 0 } }, stranger));
    expect([plan, stored, absent].map((error) => error.code)).to.deep.equal(["not-found", "not-found", "not-found"]);
    expect(stored.message.replace('"w"', "")).to.equal(absent.message.replace('"w2"', ""));
  });

  it("refuses a request without a plan", async () => {
    expect((await rejection(compile(undefined))).code).to.equal("invalid");
  });

  it("lists every operator type with the JSON Schema of its settings", async () => {
    const { operatorTypes } = await service.listOperatorTypes({}, stranger);
    expect(operatorTypes.map(({ type }) => type)).to.deep.equal([...OPERATOR_TYPES.keys()]);
    for (const { summary, inputPorts, outputPorts, propertiesSchema, type } of operatorTypes) {
      expect(summary, type).to.match(/\.$/);
      expect(outputPorts, type).to.equal(1);
      expect(inputPorts, type).to.be.within(0, 2);
      expect(propertiesSchema, type).to.include({ type: "object", additionalProperties: false });
    }
  });
});
