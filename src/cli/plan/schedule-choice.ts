// How a schedule is to be searched: the options of the command line and the request they make.
import { type Command, Option } from "commander";
import { CostModel as WireCostModel } from "../../contract/postern/v1/compile.js";
import type { CostModel, ScheduleMode } from "../../core/scheduling/find-schedule.js";
import { costModelToWire, scheduleModeToWire } from "../../rpc/cache-codec.js";
import { wholeNumber } from "../command.js";

export interface ScheduleChoice {
  /** Absent: seconds where the workflow has run before, else ports. */
  cost?: CostModel;
  mode: ScheduleMode;
  /** How long to search, in milliseconds; absent for the default. */
  deadline?: number;
}

/** The longest search a server allows, in milliseconds. */
const LONGEST_SEARCH_MS = 10_000;

export const withScheduleOptions = (command: Command): Command =>
  command
    .addOption(
      new Option(
        "--cost <model>",
        "what the schedule keeps small (default: seconds where the workflow has run, else ports)",
      ).choices(["ports", "seconds", "bytes"]),
    )
    .addOption(
      new Option("--mode <mode>", "how it is searched")
        .choices(["exact", "greedy", "all-materialized"])
        .default("exact"),
    )
    .option("--deadline <ms>", "how long to search at most", wholeNumber(1, LONGEST_SEARCH_MS));

/** The fields of a CompileRequest. */
export const choiceToWire = ({ cost, mode, deadline = 0 }: ScheduleChoice) => ({
  costModel: cost === undefined ? WireCostModel.COST_MODEL_UNSPECIFIED : costModelToWire(cost),
  scheduleMode: scheduleModeToWire(mode),
  deadlineMs: deadline,
});
