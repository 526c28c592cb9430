// Which ports of a plan the cache has, and what differs where it has none: `postern cache explain` and
// `postern plan --what-if`.
import type { ExplainMissRequest, PortExplanation } from "../contract/postern/v1/cache.js";
import { ExplainMissResponse } from "../contract/postern/v1/cache.js";
import { AppError, invalid } from "../core/app-error.js";
import { didYouMean, listNames } from "../core/names.js";
import type { Api } from "./api.js";
import { globalPortName } from "./cache-port.js";
import { changeLines } from "./change-lines.js";
import { print, printJson, printTable } from "./output.js";
import { portName } from "./outputs.js";
import { choiceToWire } from "./plan/schedule-choice.js";
import type { Terminal } from "./terminal.js";
import { counted } from "./text.js";

/** What a run would do with one port. */
type Fate = "cached" | "changed" | "new" | "not cacheable";

type Explained = Omit<ExplainMissRequest, "projectId" | "globalPortIds"> & {
  globalPortIds?: string[];
  /** The file the plan is from. */
  file?: string | undefined;
};

export const explainPlan = (api: Api, { file, globalPortIds = [], ...of }: Explained): Promise<ExplainMissResponse> =>
  api
    .call(api.cache, "explainMiss", { ...of, globalPortIds, projectId: api.connection.project() })
    .catch(async (error: unknown) => {
      if (!(error instanceof AppError)) throw error;
      if (error.code === "invalid" && globalPortIds.length > 0) await requirePorts(api, { ...of, globalPortIds });
      if (file === undefined || !error.message.startsWith("There is no workflow ")) throw error;
      const next = `To explain a file, name a stored workflow with --workflow, or run the file first: postern run ${file}`;
      throw new AppError(error.code, error.reason, `${error.message} ${next}`, { cause: error });
    });

type Asked = Omit<ExplainMissRequest, "projectId">;

/** Refuses ports the plan does not have, and names those it has; returns when they are not what was wrong. */
async function requirePorts(api: Api, { plan, workflowId, version, globalPortIds }: Asked) {
  const source = plan
    ? ({ $case: "plan", value: plan } as const)
    : ({ $case: "workflow", value: { workflowId, version } } as const);
  const mode = choiceToWire({ mode: "greedy" });
  const request = { projectId: api.connection.project(), source, ...mode };
  // When that is refused as well, the first refusal is the one to tell.
  const reply = await api.call(api.compiler, "compile", request).catch(() => undefined);
  const names = (reply?.plan?.operators ?? []).flatMap(({ outputs }) => outputs.map(({ key }) => portName(key)));
  const asked = globalPortIds.map(globalPortName).find((name) => !names.includes(name));
  if (asked === undefined || names.length === 0) return;
  throw invalid(
    `The plan has no result ${JSON.stringify(asked)}${didYouMean(asked, names)} It has: ${listNames(names)}.`,
  );
}

/** Prints a table with a summary, or, with --json, the reply and the ids of the ports that a change invalidates. */
export function printExplanation(reply: ExplainMissResponse, json: boolean | undefined, terminal: Terminal): void {
  const { ports } = reply;
  const changed = ports.filter((port) => fateOf(port) === "changed");
  if (json) {
    const invalidated = changed.map(({ globalPortId }) => globalPortId);
    printJson(terminal, { ...(ExplainMissResponse.toJSON(reply) as object), invalidated });
  } else if (ports.length === 0) {
    print(terminal, "The plan stores no results, so the cache is not asked.");
  } else {
    printTable(terminal, { head: ["PORT", "CACHE", "WHY"], rows: ports.flatMap(rowsOf) });
    print(terminal, `\n${summary(ports)}`);
  }
}

function fateOf({ hit, uncacheableReason, nearest }: PortExplanation): Fate {
  if (hit) return "cached";
  if (uncacheableReason) return "not cacheable";
  return nearest ? "changed" : "new";
}

/** A port takes one line for each difference. */
function rowsOf(port: PortExplanation): string[][] {
  const fate = fateOf(port);
  const [first = "", ...more] = reasonsFor(port, fate);
  return [[globalPortName(port.globalPortId), fate, first], ...more.map((reason) => ["", "", reason])];
}

function reasonsFor({ uncacheableReason, differences, nearest }: PortExplanation, fate: Fate): string[] {
  switch (fate) {
    case "cached":
      return nearest?.sourceExecutionId ? [`computed by execution ${nearest.sourceExecutionId}`] : [];
    case "not cacheable":
      return [uncacheableReason];
    case "new":
      return ["No result of this port has been remembered."];
    case "changed":
      return differences.flatMap(({ operatorId, path, before, after }) => {
        const where = [operatorId, path].filter(Boolean).join(".");
        return changeLines(where, before || "(nothing)", after || "(nothing)");
      });
  }
}

function summary(ports: readonly PortExplanation[]): string {
  const number = (fate: Fate) => ports.filter((port) => fateOf(port) === fate).length;
  const parts = [
    [number("changed"), "would be computed again because of what changed"],
    [number("new"), "new"],
    [number("not cacheable"), "not cacheable"],
  ] as const;
  const rest = parts.filter(([many]) => many > 0).map(([many, what]) => `${many} ${what}`);
  return [`${number("cached")} of ${counted(ports.length, "result")} cached`, ...rest].join(", ");
}
