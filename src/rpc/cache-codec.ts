// How executions use the cache, what came of it, and how a schedule was searched ⇄ the wire.
import * as wireCompile from "../contract/postern/v1/compile.js";
import * as wire from "../contract/postern/v1/execution.js";
import { CACHE_MODES, type CacheMode, type CacheUse, PLAIN_CACHE_USE } from "../core/cache-use.js";
import type { CostModel, Schedule, ScheduleMode } from "../core/scheduling/find-schedule.js";
import { enumCodec } from "./enum-codec.js";

const modes = enumCodec<CacheMode, wire.CacheMode>("cache mode", {
  USE: wire.CacheMode.CACHE_MODE_USE,
  REFRESH: wire.CacheMode.CACHE_MODE_REFRESH,
  SKIP: wire.CacheMode.CACHE_MODE_SKIP,
  READ_ONLY: wire.CacheMode.CACHE_MODE_READ_ONLY,
});

/** Unspecified is USE; refuses unknown numbers. */
const modeFromWire = (mode: wire.CacheMode): CacheMode =>
  mode === wire.CacheMode.CACHE_MODE_UNSPECIFIED ? CACHE_MODES[0] : modes.fromWire(mode);

/** Absent: reuse and remember. */
export const cacheUseFromWire = (use: wire.CacheUse | undefined): CacheUse =>
  use === undefined
    ? PLAIN_CACHE_USE
    : {
        mode: modeFromWire(use.mode),
        operators: Object.fromEntries(Object.entries(use.operators).map(([id, mode]) => [id, modeFromWire(mode)])),
      };

export const cacheUseToWire = ({ mode, operators }: CacheUse): wire.CacheUse => ({
  mode: modes.toWire(mode),
  operators: Object.fromEntries(Object.entries(operators).map(([id, own]) => [id, modes.toWire(own)])),
});

const costModels = enumCodec<CostModel, wireCompile.CostModel>("cost model", {
  ports: wireCompile.CostModel.COST_MODEL_PORTS,
  seconds: wireCompile.CostModel.COST_MODEL_SECONDS,
  bytes: wireCompile.CostModel.COST_MODEL_BYTES,
});

export const costModelToWire = costModels.toWire;

/** Undefined where the server is to choose. */
export const costModelFromWire = (model: wireCompile.CostModel): CostModel | undefined =>
  model === wireCompile.CostModel.COST_MODEL_UNSPECIFIED ? undefined : costModels.fromWire(model);

const scheduleModes = enumCodec<ScheduleMode, wireCompile.ScheduleMode>("schedule mode", {
  exact: wireCompile.ScheduleMode.SCHEDULE_MODE_EXACT,
  greedy: wireCompile.ScheduleMode.SCHEDULE_MODE_GREEDY,
  "all-materialized": wireCompile.ScheduleMode.SCHEDULE_MODE_ALL_MATERIALIZED,
});

export const scheduleModeToWire = scheduleModes.toWire;

/** Unspecified is exact. */
export const scheduleModeFromWire = (mode: wireCompile.ScheduleMode): ScheduleMode =>
  mode === wireCompile.ScheduleMode.SCHEDULE_MODE_UNSPECIFIED ? "exact" : scheduleModes.fromWire(mode);

/** How a schedule was found. */
export const scheduleFiguresToWire = (
  { cost, optimal, explored, millis, materialized }: Omit<Schedule, "regions" | "levels">,
  asked: { costModel: CostModel; mode: ScheduleMode },
): wireCompile.ScheduleFigures => ({
  costModel: costModels.toWire(asked.costModel),
  mode: scheduleModes.toWire(asked.mode),
  cost,
  optimal,
  explored: BigInt(explored),
  millis,
  materialized,
});
