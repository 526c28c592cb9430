import { expect } from "chai";
import { CostModel, ScheduleMode } from "../../src/contract/postern/v1/compile.js";
import { CacheMode, CacheUse } from "../../src/contract/postern/v1/execution.js";
import {
  cacheUseFromWire,
  cacheUseToWire,
  costModelFromWire,
  scheduleFiguresToWire,
  scheduleModeFromWire,
} from "../../src/rpc/cache-codec.js";

describe("cache codec", () => {
  it("takes silence for USE, of the execution and of an operator", () => {
    expect(cacheUseFromWire(undefined)).to.deep.equal({ mode: "USE", operators: {} });
    const silent = CacheUse.fromPartial({ operators: { a: CacheMode.CACHE_MODE_UNSPECIFIED } });
    expect(cacheUseFromWire(silent)).to.deep.equal({ mode: "USE", operators: { a: "USE" } });
  });

  it("brings every mode there and back", () => {
    const use = { mode: "READ_ONLY", operators: { a: "USE", b: "REFRESH", c: "SKIP" } } as const;
    expect(cacheUseFromWire(CacheUse.decode(CacheUse.encode(cacheUseToWire(use)).finish()))).to.deep.equal(use);
  });

  it("refuses modes and models it does not know", () => {
    expect(() => cacheUseFromWire({ mode: 99 as CacheMode, operators: {} })).to.throw(
      /cache mode is missing or unknown/,
    );
    expect(() => cacheUseFromWire({ mode: 1, operators: { a: 99 as CacheMode } })).to.throw(
      /cache mode is missing or unknown/,
    );
    expect(() => costModelFromWire(99 as CostModel)).to.throw(/cost model is missing or unknown/);
    expect(() => scheduleModeFromWire(99 as ScheduleMode)).to.throw(/schedule mode is missing or unknown/);
  });

  it("leaves the cost model open and searches exactly when nothing is asked", () => {
    expect(costModelFromWire(CostModel.COST_MODEL_UNSPECIFIED)).to.equal(undefined);
    expect(scheduleModeFromWire(ScheduleMode.SCHEDULE_MODE_UNSPECIFIED)).to.equal("exact");
  });

  it("tells what was asked with what was found", () => {
    const found = { cost: 2.5, optimal: false, explored: 7, millis: 1.25, materialized: ["a-b"] };
    expect(scheduleFiguresToWire(found, { costModel: "seconds", mode: "greedy" })).to.deep.equal({
      ...found,
      explored: 7n,
      costModel: CostModel.COST_MODEL_SECONDS,
      mode: ScheduleMode.SCHEDULE_MODE_GREEDY,
    });
  });
});
