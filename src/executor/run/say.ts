// Lines of an operator's console: told as far as the budget goes, and stored.
import { ConsoleMessage_Level } from "../../contract/postern/v1/execution.js";
import type { ConsoleLevel, ConsoleLog } from "./console-log.js";
import type { Report } from "./report.js";

export type Say = (level: ConsoleLevel, text: string) => void;

export const sayer =
  ({ report, consoleLog }: { report: Pick<Report, "console">; consoleLog: Pick<ConsoleLog, "add"> }) =>
  (operatorId: string): Say =>
  (level, text) => {
    report.console(operatorId, LEVELS[level], text);
    consoleLog.add(operatorId, level, text);
  };

const LEVELS = {
  output: ConsoleMessage_Level.LEVEL_OUTPUT,
  error: ConsoleMessage_Level.LEVEL_ERROR,
  note: ConsoleMessage_Level.LEVEL_NOTE,
} as const;
