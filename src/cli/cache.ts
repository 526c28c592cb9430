// `postern cache`: what is remembered, why something is not, and how it is kept.
import type { Command } from "commander";
import { GetCacheStatisticsResponse } from "../contract/postern/v1/cache.js";
import { invalid } from "../core/app-error.js";
import { addCacheEntryCommands } from "./cache-entries.js";
import { explainPlan, printExplanation } from "./cache-explanation.js";
import { addCachePolicyCommand } from "./cache-policy.js";
import { globalPortIdOf } from "./cache-port.js";
import { type Cli, examples, wholeNumber, withServer } from "./command.js";
import { printEither } from "./output.js";
import type { TableContent } from "./table.js";
import { bytes, count, counted, duration } from "./text.js";
import { meansFile, readWorkflowFile } from "./workflow-file.js";

interface ExplainOptions {
  workflow?: string;
  version?: number;
  port?: string[];
}

export function addCacheCommands(program: Command, cli: Cli): void {
  const { terminal } = cli;
  const cache = program.command("cache").description("remembered results: list, explain, forget, measure, limit");
  cache.addHelpText(
    "after",
    examples(
      "postern cache ls flights-delays",
      "postern cache explain examples/flights-delays.json",
      "postern cache invalidate flights-delays --dry-run",
      "postern help cache invalidate",
    ),
  );
  addCacheEntryCommands(cache, cli);
  cache
    .command("explain <workflow>")
    .description("tell for each result of a workflow, stored or in a file, whether the cache has it, and why not")
    .option("--workflow <id>", "whose entries to look at for a file (default: the file's name)")
    .option("--version <n>", "which version of a stored workflow (default: the newest)", wholeNumber(1))
    .option("--port <port>", "only this result: operator, operator:port or a global port id; may be repeated", repeated)
    .addHelpText(
      "after",
      examples("postern cache explain flights-delays", "postern cache explain examples/flights-delays.json --port top"),
    )
    .action(
      withServer<ExplainOptions, [string]>(cli, async (api, options, workflow) => {
        const globalPortIds = (options.port ?? []).map(globalPortIdOf);
        const subject = await explained(workflow, options, terminal.cwd);
        printExplanation(await explainPlan(api, { ...subject, globalPortIds }), options.json, terminal);
      }),
    );
  cache
    .command("stats [workflow]")
    .description("size and use of the project's cache, or of one workflow's part")
    .addHelpText("after", examples("postern cache stats", "postern cache stats flights-delays --json"))
    .action(
      withServer<object, [string | undefined]>(cli, async (api, options, workflowId = "") => {
        const projectId = api.connection.project();
        const reply = await api.call(api.cache, "getCacheStatistics", { projectId, workflowId });
        printEither(
          terminal,
          options,
          () => GetCacheStatisticsResponse.toJSON(reply),
          () => statisticsTable(reply),
        );
      }),
    );
  addCachePolicyCommand(cache, cli);
}

/** Unlike other lists not split at commas: global port ids hold some. */
const repeated = (value: string, former: string[] | undefined): string[] => [...(former ?? []), value];

async function explained(workflow: string, { workflow: id, version = 0 }: ExplainOptions, cwd: string) {
  if (meansFile(workflow)) {
    if (version !== 0) throw invalid("A file has no versions: leave --version away, or name the stored workflow.");
    const file = await readWorkflowFile(workflow, cwd);
    return { workflowId: id ?? file.workflowId, plan: file.plan, version, file: workflow };
  }
  if (id !== undefined) throw invalid("--workflow goes with a file: leave it away, or name a workflow file.");
  return { workflowId: workflow, plan: undefined, version };
}

function statisticsTable(reply: GetCacheStatisticsResponse): TableContent {
  const { entryCount, byteCount, lookupCount, hitCount, savedMs, savedBytes, executionCount } = reply;
  const rate = lookupCount === 0n ? "" : ` (${((100 * Number(hitCount)) / Number(lookupCount)).toFixed(1)} %)`;
  return {
    head: ["CACHE", ""],
    rows: [
      ["entries", count(entryCount)],
      ["size", bytes(byteCount)],
      ["looked up", `${counted(lookupCount, "result")} in ${counted(executionCount, "execution")}`],
      ["reused", `${counted(hitCount, "result")}${rate}`],
      ["saved", `${duration(Number(savedMs))}, ${bytes(savedBytes)}`],
    ],
  };
}
