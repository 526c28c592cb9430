import { expect } from "chai";
import fc from "fast-check";
import { ExecutionState, RunState } from "../../src/contract/postern/v1/execution.js";
import { LogicalPlan, PhysicalPlan } from "../../src/contract/postern/v1/plan.js";
import { AppError } from "../../src/core/app-error.js";
import { EXECUTION_STATES, RUN_STATES } from "../../src/core/execution-state.js";
import { PLAN_FORMAT } from "../../src/core/plan.js";
import {
  diagnosticFromWire,
  diagnosticToWire,
  executionStateFromWire,
  executionStateToWire,
  logicalPlanDigest,
  logicalPlanFromWire,
  logicalPlanToWire,
  physicalPlanFromWire,
  physicalPlanToWire,
  planDigest,
  runStateFromWire,
  runStateToWire,
} from "../../src/rpc/plan-codec.js";
import { logicalPlanArbitrary, physicalPlanArbitrary } from "../support/plan-arbitraries.js";

describe("plan codec", () => {
  it("carries every logical plan through bytes and through JSON unchanged, with its digest", () => {
    fc.assert(
      fc.property(logicalPlanArbitrary, (plan) => {
        const wire = logicalPlanToWire(plan);
        const throughBytes = logicalPlanFromWire(LogicalPlan.decode(LogicalPlan.encode(wire).finish()));
        const throughJson = logicalPlanFromWire(
          LogicalPlan.fromJSON(JSON.parse(JSON.stringify(LogicalPlan.toJSON(wire)))),
        );
        expect(throughBytes).to.deep.equal(plan);
        expect(throughJson).to.deep.equal(plan);
        expect(logicalPlanDigest(throughBytes)).to.equal(logicalPlanDigest(plan));
      }),
    );
  });

  it("carries every physical plan through bytes and through JSON unchanged, with its digest", () => {
    fc.assert(
      fc.property(physicalPlanArbitrary, (plan) => {
        const wire = physicalPlanToWire(plan);
        const throughBytes = physicalPlanFromWire(PhysicalPlan.decode(PhysicalPlan.encode(wire).finish()));
        const throughJson = physicalPlanFromWire(
          PhysicalPlan.fromJSON(JSON.parse(JSON.stringify(PhysicalPlan.toJSON(wire)))),
        );
        expect(throughBytes).to.deep.equal(plan);
        expect(throughJson).to.deep.equal(plan);
        expect(planDigest(throughBytes)).to.equal(planDigest(plan));
      }),
    );
  });

  it("gives two different plans two digests", () => {
    const plan = { format: PLAN_FORMAT, operators: [], links: [], regions: [] };
    const other = { ...plan, regions: [{ id: 1, level: 0, operators: [], cached: false }] };
    expect(planDigest(other)).not.to.equal(planDigest(plan));
  });

  it("takes a logical operator without properties as one with none", () => {
    const wire = LogicalPlan.fromJSON({ operators: [{ id: "a", type: "distinct" }] });
    expect(logicalPlanFromWire(wire).operators[0]?.properties).to.deep.equal({});
  });

  it("refuses a physical plan of a newer format", () => {
    const wire = { format: PLAN_FORMAT + 1, operators: [], links: [], regions: [] };
    expect(() => physicalPlanFromWire(wire)).to.throw(AppError, "upgrade");
  });

  it("refuses an operator without an implementation, and a schema without types", () => {
    const operator = {
      operatorId: "a",
      layer: "main",
      type: "x",
      properties: {},
      displayName: "",
      inputs: [],
      outputs: [],
      implementation: undefined,
    };
    const wire = PhysicalPlan.fromPartial({ format: PLAN_FORMAT, operators: [operator] });
    expect(() => physicalPlanFromWire(wire)).to.throw(AppError, "nothing this release can run");
    const untyped = PhysicalPlan.fromPartial({
      format: PLAN_FORMAT,
      operators: [
        { ...operator, outputs: [{ key: { operatorId: "a" }, schema: { attributes: [{ name: "c" }] }, mode: 1 }] },
      ],
    });
    expect(() => physicalPlanFromWire(untyped)).to.throw(AppError, "column type");
  });

  it("refuses properties nested deeper than any operator means", () => {
    let deep: object = {};
    for (let level = 0; level < 70; level++) deep = { deeper: deep };
    const plan = { operators: [{ id: "a", type: "filter", properties: deep }], links: [] };
    expect(() => logicalPlanFromWire(LogicalPlan.fromPartial(plan))).to.throw(/"a" are nested more than 64 levels/);
  });

  it("refuses a setting or an environment entry called __proto__, which no decoder would keep", () => {
    const lost = JSON.parse('{"__proto__": {"a": 1}}');
    const operator = { id: "a", type: "filter", displayName: "", disabled: false, viewResult: false };
    for (const properties of [lost, { deeper: [{ still: lost }] }])
      expect(() => logicalPlanToWire({ operators: [{ ...operator, properties }], links: [] })).to.throw(
        'Operator "a" has a setting called "__proto__"',
      );
    const physical = {
      operatorId: "a",
      layer: "main",
      type: "python",
      properties: {},
      displayName: "",
      inputs: [],
      outputs: [],
      implementation: {
        kind: "user-function" as const,
        userFunction: {
          language: "python" as const,
          code: "",
          entryPoint: "",
          retainInputColumns: false,
          environment: lost,
          call: "tuple" as const,
        },
      },
    };
    const plan = { format: PLAN_FORMAT, operators: [physical], links: [], regions: [] };
    expect(() => physicalPlanToWire(plan)).to.throw("__proto__");
    expect(() => physicalPlanToWire({ ...plan, operators: [{ ...physical, properties: lost }] })).to.throw("__proto__");
  });

  it("carries diagnostics both ways", () => {
    const finding = { severity: "warning" as const, operatorId: "a", property: "by.0.column", message: "Look." };
    expect(diagnosticFromWire(diagnosticToWire(finding))).to.deep.equal(finding);
  });

  it("knows every state of the contract, and refuses the unspecified one", () => {
    for (const state of EXECUTION_STATES) expect(executionStateFromWire(executionStateToWire(state))).to.equal(state);
    for (const state of RUN_STATES) expect(runStateFromWire(runStateToWire(state))).to.equal(state);
    const numbers = (e: object) => Object.values(e).filter((v) => typeof v === "number" && v > 0).length;
    expect(numbers(ExecutionState)).to.equal(EXECUTION_STATES.length);
    expect(numbers(RunState)).to.equal(RUN_STATES.length);
    expect(() => executionStateFromWire(ExecutionState.EXECUTION_STATE_UNSPECIFIED)).to.throw(AppError);
  });
});
