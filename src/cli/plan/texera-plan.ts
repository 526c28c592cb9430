// The document of a workflow exported from Apache Texera: planned here, without a server.
import { groupBy } from "../../core/group-by.js";
import { findSchedule } from "../../core/scheduling/find-schedule.js";
import { readExportedWorkflow } from "../../core/texera/exported-workflow.js";
import { planningGraph } from "../../core/texera/planning-graph.js";
import { counted } from "../text.js";
import type { PlanDocument, PlannedLink } from "./plan-document.js";
import type { ScheduleChoice } from "./schedule-choice.js";

const DEFAULT_DEADLINE_MS = 1_000;
const CHOSEN = {
  exact: "Chosen by the schedule: without it the regions would form a cycle.",
  greedy: "Chosen by the schedule: without it the regions would form a cycle.",
  "all-materialized": "Every link passes through storage in this mode.",
};

/** Plans an exported workflow; `name` stands for its file in errors. Notes are sentences for the reader. */
export function texeraPlan(
  json: unknown,
  name: string,
  { cost = "ports", mode, deadline = DEFAULT_DEADLINE_MS }: ScheduleChoice,
): { document: PlanDocument; notes: string[] } {
  const { operators, links, viewed, unknown } = planningGraph(readExportedWorkflow(json, name), name);
  const found = findSchedule({ operators, links, viewed }, { cost: "ports", mode, deadlineMs: deadline });
  const chosen = new Set(found.materialized);
  const reason = (link: PlannedLink): string => (chosen.has(link.id) ? CHOSEN[mode] : link.why);
  return {
    document: {
      operators,
      links: links.map((link) => ({ ...link, why: reason(link) })),
      viewed,
      materialized: found.materialized,
      regions: found.regions.map(({ id, level, operators: members }) => ({
        id,
        level,
        operators: members,
        cached: false,
      })),
      levels: found.levels,
      cost: found.cost,
      optimal: found.optimal,
      explored: found.explored,
      millis: found.millis,
      costModel: "ports",
      mode,
    },
    notes: [
      ...(cost === "ports"
        ? []
        : [`A file tells nothing about earlier runs, which --cost ${cost} needs: ports are counted.`]),
      ...[...groupBy(unknown, ({ type }) => type)].map(
        ([type, { length }]) =>
          `Unknown operator type ${type} (${counted(length, "operator")}): planned by the ports in the file.`,
      ),
    ],
  };
}
