// The thread that searches schedules for as long as it is allowed to; started by plan-scheduler.ts. One at a time.
import { parentPort } from "node:worker_threads";
import type { PhysicalPlan } from "../../core/plan.js";
import { schedulePlan } from "../../core/scheduling/schedule-plan.js";
import type { SearchOptions } from "./plan-scheduler.js";

/** What is searched. */
export interface SearchRequest {
  plan: PhysicalPlan;
  viewed: ReadonlySet<string>;
  options: SearchOptions;
}

const port = parentPort;
if (!port) throw new Error("This module is started as a thread of a server.");

port.on("message", ({ plan, viewed, options }: SearchRequest) =>
  port.postMessage(schedulePlan(plan, { ...options, viewResult: (operatorId) => viewed.has(operatorId) })),
);
