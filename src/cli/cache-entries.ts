// Entries of the cache: list them, forget them.
import type { Command } from "commander";
import { CacheEntry, InvalidateResponse } from "../contract/postern/v1/cache.js";
import { invalid } from "../core/app-error.js";
import { didYouMean, listNames } from "../core/names.js";
import { OPERATOR_TYPES } from "../core/operators/catalogue.js";
import type { Api } from "./api.js";
import { globalPortIdOf, globalPortName } from "./cache-port.js";
import { type Cli, examples, withServer } from "./command.js";
import { print, printEither, printJson, printTable } from "./output.js";
import { allPages } from "./pages.js";
import type { TableContent } from "./table.js";
import { bytes, count, counted, duration, instant, printable } from "./text.js";

interface InvalidateOptions {
  port?: string;
  hash?: string;
  dataset?: string;
  operatorType?: string;
  dryRun?: boolean;
}

export function addCacheEntryCommands(cache: Command, cli: Cli): void {
  const { terminal } = cli;
  cache
    .command("ls <workflow>")
    .description("list the remembered results of a workflow, newest first")
    .addHelpText("after", examples("postern cache ls flights-delays", "postern cache ls flights-delays --json"))
    .action(
      withServer<object, [string]>(cli, async (api, options, workflowId) => {
        const projectId = api.connection.project();
        const entries = await allPages(async (pageToken) => {
          const reply = await api.call(api.cache, "listEntries", { projectId, workflowId, pageSize: 500, pageToken });
          return { items: reply.entries, nextPageToken: reply.nextPageToken };
        });
        printEither(
          terminal,
          options,
          () => ({ entries: entries.map(CacheEntry.toJSON) }),
          () =>
            entries.length === 0
              ? `No results of ${workflowId} are remembered. A run leaves here what it computes, not what it reuses of other workflows.`
              : entryTable(entries),
        );
      }),
    );
  cache
    .command("invalidate [workflow]")
    .description("forget remembered results: of a workflow, or of a project's dataset or operator type")
    .option("--port <port>", "only this result of the workflow: operator, operator:port or a global port id")
    .option("--hash <subdag hash>", "only with this hash, all 64 digits: `postern cache ls --json` has them")
    .option("--dataset <name[@version]>", "only those made from this dataset")
    .option("--operator-type <type>", "only those of operators of this type")
    .option("--dry-run", "only tell what would be forgotten")
    .addHelpText(
      "after",
      examples(
        "postern cache invalidate flights-delays --dry-run",
        "postern cache invalidate flights-delays --port top",
        "postern cache invalidate --dataset flights@2",
      ),
    )
    .action(
      withServer<InvalidateOptions, [string | undefined]>(cli, async (api, options, workflowId) => {
        const { dataset, operatorType = "", dryRun = false } = options;
        // An empty condition would be none: more would be forgotten than was meant.
        const conditions = { workflow: workflowId, port: options.port, hash: options.hash, dataset };
        for (const [name, value] of Object.entries({ ...conditions, "operator type": options.operatorType }))
          if (value === "") throw invalid(`The ${name} to forget is empty: name one, or leave it away.`);
        if (workflowId === undefined && dataset === undefined && operatorType === "")
          throw invalid("Say what to forget: name a workflow, or use --dataset or --operator-type.");
        if (workflowId === undefined && options.port !== undefined)
          throw invalid("--port is a result of one workflow: name the workflow too.");
        const reply = await api.call(api.cache, "invalidate", {
          projectId: api.connection.project(),
          workflowId: workflowId ?? "",
          globalPortId: options.port === undefined ? "" : globalPortIdOf(options.port),
          subdagHash: options.hash ?? "",
          operatorType,
          dryRun,
          ...(await datasetCondition(api, dataset)),
        });
        if (options.json) return printJson(terminal, { dryRun, ...(InvalidateResponse.toJSON(reply) as object) });
        if (reply.entries.length > 0) printTable(terminal, entryTable(reply.entries));
        print(
          terminal,
          reply.entryCount === 0n ? await noneMatching(api, { ...options, workflowId }) : forgotten(reply, dryRun),
        );
      }),
    );
}

/** The dataset a reference names; without "@version" every version of it. */
async function datasetCondition(api: Api, reference: string | undefined) {
  if (reference === undefined) return { datasetId: "", datasetVersion: 0 };
  const projectId = api.connection.project();
  const { version } = await api.call(api.datasets, "resolveDataset", { projectId, reference });
  return { datasetId: version?.datasetId ?? "", datasetVersion: reference.includes("@") ? (version?.version ?? 0) : 0 };
}

/** The most entries that are looked through for what a name may have meant. */
const MOST_LOOKED_THROUGH = 500;

/** Why nothing matched: what is remembered of the workflow instead, or that nothing is of what was named. */
async function noneMatching(
  api: Api,
  { workflowId, port, hash, dataset, operatorType }: InvalidateOptions & { workflowId: string | undefined },
): Promise<string> {
  const conditions = [
    port && `of port ${port}`,
    hash && `with the hash ${hash}`,
    dataset && `made from ${dataset}`,
    operatorType && `of operators of type ${operatorType}`,
  ].filter(Boolean);
  const asked = printable(["Nothing", ...conditions].join(" "));
  if (workflowId === undefined) {
    const types = [...OPERATOR_TYPES.keys()];
    const isUnknown = operatorType !== undefined && !types.includes(operatorType);
    const hint = isUnknown ? ` No operator has that type${didYouMean(operatorType, types)}` : "";
    return `${asked} is remembered in this project.${hint}`;
  }
  const request = { projectId: api.connection.project(), workflowId, pageSize: MOST_LOOKED_THROUGH, pageToken: "" };
  const { entries } = await api.call(api.cache, "listEntries", request);
  if (entries.length === 0) return `Nothing is remembered of ${printable(workflowId)}.`;
  const kept = entries.map(({ globalPortId, operatorType: type }) => `${globalPortName(globalPortId)} (${type})`);
  const names = entries.map(({ globalPortId }) => globalPortName(globalPortId));
  const meant = port === undefined ? "." : didYouMean(port, names);
  return `${asked} is remembered of ${printable(workflowId)}${meant} Remembered are: ${printable(listNames([...new Set(kept)]))}.`;
}

function forgotten({ entries, entryCount, byteCount }: InvalidateResponse, dryRun: boolean): string {
  const what = `${counted(entryCount, "result")}, ${bytes(byteCount)}`;
  const cut = entryCount > BigInt(entries.length) ? `, the newest ${count(entries.length)} of them listed` : "";
  return dryRun ? `${what} would be forgotten${cut}; nothing was changed.` : `${what} forgotten${cut}.`;
}

const entryTable = (entries: readonly CacheEntry[]): TableContent => ({
  head: ["PORT", "TYPE", "HASH", "ROWS", "SIZE", "TOOK", "REUSED", "LAST USED (UTC)", "COMPUTED BY"],
  right: [false, false, false, true, true, true, true],
  rows: entries.map((entry) => [
    globalPortName(entry.globalPortId),
    entry.operatorType,
    entry.subdagHash.slice(0, 12),
    count(entry.tupleCount),
    bytes(entry.byteCount),
    duration(Number(entry.computeMs)),
    count(entry.hitCount),
    instant(entry.lastUsedAt),
    entry.sourceExecutionId,
  ]),
});
