import { expect } from "chai";
import { Role } from "../../src/contract/postern/v1/access.js";
import {
  type CompileRequest,
  type CompileResponse,
  CostModel,
  ScheduleMode,
} from "../../src/contract/postern/v1/compile.js";
import { LogicalPlan } from "../../src/contract/postern/v1/plan.js";
import { newExecutionId } from "../../src/core/ids.js";
import { OPERATOR_TYPES } from "../../src/core/operators/catalogue.js";
import { createLogger } from "../../src/process/log.js";
import { logicalPlanToWire, physicalPlanFromWire, planDigest } from "../../src/rpc/plan-codec.js";
import { planCompiler } from "../../src/server/binding/plan-compiler.js";
import { createSchemaBinder, type SchemaBinder } from "../../src/server/binding/schema-binder.js";
import { workflowVersion } from "../../src/server/repositories/workflows.js";
import { createPlanScheduler, type PlanScheduler } from "../../src/server/scheduling/plan-scheduler.js";
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
  let scheduler: PlanScheduler;
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
    search(source, {}, context);
  const search = (
    source: CompileRequest["source"],
    asked: Partial<Pick<CompileRequest, "costModel" | "scheduleMode" | "deadlineMs">> = {},
    context = owner,
  ): Promise<CompileResponse> =>
    service.compile({ projectId: "p", source, costModel: 0, scheduleMode: 0, deadlineMs: 0, ...asked }, context);

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
    await access.putComputingUnit({ projectId: "p", computingUnitId: "u", name: "" }, owner);
    const workflows = workflowService({ db });
    for (const predicate of ["delay > 1", "delay > 2"])
      await workflows.putWorkflow(
        { requestId: "", projectId: "p", workflowId: "w", plan: wirePlan(predicate), comment: "" },
        owner,
      );
    scheduler = createPlanScheduler({ log: createLogger("test", "silent") });
    service = compileService({
      db,
      schedule: scheduler.schedule,
      compile: planCompiler({ bindSchemas: binder.bindSchemas }),
      resolveDataset: async (_, caller, projectId, reference) => {
        asked.push({ subject: caller.kind === "user" ? caller.subject : "", projectId, reference });
        return resolveTestDataset(reference);
      },
      workflowVersion,
    });
  });
  after(async () => {
    await scheduler.close();
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

  describe("tells how it searched for the schedule", () => {
    const stored = { $case: "workflow" as const, value: { workflowId: "w", version: 0 } };

    it("by ports, exactly, when nothing is known and nothing is asked for", async () => {
      const { schedule, plan } = await search({ $case: "plan", value: wirePlan("delay > 10") });
      expect(schedule).to.deep.include({
        costModel: CostModel.COST_MODEL_PORTS,
        mode: ScheduleMode.SCHEDULE_MODE_EXACT,
        cost: 1,
        optimal: true,
        materialized: [],
      });
      expect(schedule!.millis).to.be.at.least(0);
      expect(plan!.regions.map(({ operators }) => operators.length)).to.deep.equal([2]);
    });

    it("as asked: what counts, and how to search", async () => {
      const { schedule, plan } = await search(stored, {
        costModel: CostModel.COST_MODEL_BYTES,
        scheduleMode: ScheduleMode.SCHEDULE_MODE_ALL_MATERIALIZED,
      });
      expect(schedule).to.deep.include({
        costModel: CostModel.COST_MODEL_BYTES,
        mode: ScheduleMode.SCHEDULE_MODE_ALL_MATERIALIZED,
        materialized: ["flights.0-late.0"],
      });
      expect(plan!.regions.length).to.equal(2);
    });

    it("by seconds, where every operator of a stored workflow has run before", async () => {
      const { db } = database;
      const execution = (operators: string[], state = "COMPLETED") =>
        db.transaction(async (tx) => {
          const id = newExecutionId();
          await tx.query(
            `insert into execution (id, project_id, workflow_id, workflow_version, computing_unit_id, name, state,
                                    attempt, max_attempts, epoch, queued, trusted, created_by, plan_digest)
             values (:id, 'p', 'w', 1, 'u', '', 'COMPLETED', 1, 1, 1, true, true, 'olga', '')`,
            { id },
          );
          await tx.query(
            `insert into operator_statistics (execution_id, operator_id, layer, state, output_bytes, busy_ms,
                                              peak_memory_bytes)
             select :id, operator, 'main', :state, 0, 1500, 0 from unnest(cast(:operators as text[])) operator`,
            { id, operators, state },
          );
        });
      const modelOf = async (source: CompileRequest["source"]) => (await search(source)).schedule!.costModel;
      await execution(["flights"]);
      await execution(["late"], "COMPLETED_FROM_CACHE");
      expect(await modelOf(stored), "what the cache served is no history").to.equal(CostModel.COST_MODEL_PORTS);
      await execution(["late"]);
      expect(await modelOf(stored)).to.equal(CostModel.COST_MODEL_SECONDS);
      expect((await search(stored)).schedule!.cost).to.equal(1.5);
      expect(await modelOf({ $case: "plan", value: wirePlan("true") })).to.equal(CostModel.COST_MODEL_PORTS);
    });

    it("not at all when the plan cannot run", async () => {
      const { schedule } = await search({ $case: "plan", value: wirePlan("dellay > 10") });
      expect(schedule).to.equal(undefined);
    });

    it("within ten seconds at most", async () => {
      for (const deadlineMs of [-1, 10_001])
        expect((await rejection(search(stored, { deadlineMs }))).message).to.match(/deadline_ms must be 1 to 10000/);
      expect((await search(stored, { deadlineMs: 10_000 })).schedule!.optimal).to.equal(true);
    });
  });

  it("lists every operator type with the JSON Schema of its settings", async () => {
    const { operatorTypes } = await service.listOperatorTypes({}, stranger);
    expect(operatorTypes.map(({ type }) => type)).to.deep.equal([...OPERATOR_TYPES.keys()]);
    for (const { summary, inputPorts, outputPorts, propertiesSchema, type } of operatorTypes) {
      expect(summary, type).to.match(/\.$/);
      const known = (ports: unknown) => (typeof ports === "number" ? ports : -1);
      expect(outputPorts, type).to.equal(known(OPERATOR_TYPES.get(type)!.outputs));
      expect(inputPorts, type).to.equal(known(OPERATOR_TYPES.get(type)!.inputs));
      expect(propertiesSchema, type).to.include({ type: "object", additionalProperties: false });
    }
  });
});
