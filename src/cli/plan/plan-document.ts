// What `postern plan --json` prints, and what tables and drawings are made from: a physical plan and its schedule, in one
// form for workflows of our own and for those of other systems.
//
// D1  `from`, `to`, `viewed.operator` and the operators of regions are ids of `operators`.
// D2  Ports are numbers of the physical operator's own ports, inputs and outputs apart, internal ones included.
// D3  Through storage go the links that must, and those named in `materialized`.
import type { CostModel, ScheduleMode } from "../../core/scheduling/find-schedule.js";

export interface PlanDocument {
  /** Each after what it reads. */
  operators: PlannedOperator[];
  links: PlannedLink[];
  viewed: { operator: string; port: number }[];
  /** Ids of links the schedule materialises beyond those that must be. */
  materialized: string[];
  regions: PlannedRegion[];
  /** Region ids by level. */
  levels: number[][];
  /** In the unit of the cost model. */
  cost: number;
  optimal: boolean;
  /** Number of states the search looked at. */
  explored: number;
  millis: number;
  costModel: CostModel;
  mode: ScheduleMode;
}

export interface PlannedOperator {
  /** The logical operator's id, followed by "/" and the layer where that is not "main". */
  id: string;
  operatorId: string;
  layer: string;
  type: string;
  /** Empty: the id is shown. */
  displayName: string;
}

export interface PlannedLink {
  id: string;
  from: string;
  fromPort: number;
  to: string;
  toPort: number;
  mustMaterialize: boolean;
  /** Why it passes through storage, as a sentence; empty when it does not. */
  why: string;
}

export interface PlannedRegion {
  id: number;
  level: number;
  operators: string[];
  cached: boolean;
}

/** The id of a physical operator in a document. */
export const plannedId = ({ operatorId, layer }: { operatorId: string; layer: string }): string =>
  layer === "main" ? operatorId : `${operatorId}/${layer}`;

/** The links that pass through storage (D3). */
export function storedLinks({ links, materialized }: Pick<PlanDocument, "links" | "materialized">): PlannedLink[] {
  const chosen = new Set(materialized);
  return links.filter(({ id, mustMaterialize }) => mustMaterialize || chosen.has(id));
}

/** Region ids by level, from the regions themselves. */
export function levelsOf(regions: readonly PlannedRegion[]): number[][] {
  const levels = [...new Set(regions.map(({ level }) => level))].sort((a, b) => a - b);
  return levels.map((level) => regions.filter((region) => region.level === level).map(({ id }) => id));
}
