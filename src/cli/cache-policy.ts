// How a project keeps its cache: shown, and changed field by field.
import type { Command } from "commander";
import { CachePolicy } from "../contract/postern/v1/cache.js";
import { invalid } from "../core/app-error.js";
import type { Api } from "./api.js";
import { bytesOf, secondsOf, secondsText } from "./cache-amounts.js";
import { type Cli, examples, withServer } from "./command.js";
import { printEither } from "./output.js";
import type { TableContent } from "./table.js";
import { bytes } from "./text.js";

interface Options {
  ttl?: bigint;
  quota?: bigint;
  shared?: boolean;
}

export function addCachePolicyCommand(cache: Command, cli: Cli): void {
  const share = oneOf();
  cache
    .command("policy")
    .description("show how the project keeps its cache; with options, change it (project owners)")
    .option("--ttl <duration>", "forget what nobody used for so long, for example 7d; never: keep it", secondsOf)
    .option("--quota <size>", "bytes all results may take, for example 10GiB; none: no limit", bytesOf)
    .option(
      "--shared",
      "workflows may reuse what others of the project computed, for those who may read all it is from",
    )
    .option("--no-shared", "each workflow reuses its own results only")
    .on("option:shared", () => share(true))
    .on("option:no-shared", () => share(false))
    .addHelpText("after", examples("postern cache policy", "postern cache policy --ttl 7d --quota 10GiB --shared"))
    .action(
      withServer<Options, []>(cli, async (api, options) => {
        const policy = await policyAfter(api, options);
        printEither(
          cli.terminal,
          options,
          () => ({ policy: CachePolicy.toJSON(policy) }),
          () => policyTable(policy),
        );
      }),
    );
}

/** Takes one of --shared and --no-shared, which would otherwise overrule each other in silence. */
function oneOf(): (shared: boolean) => void {
  let given: boolean | undefined;
  return (shared) => {
    if (given === !shared) throw invalid("--shared and --no-shared contradict each other: give one of them.");
    given = shared;
  };
}

/** The policy in force once the options are heeded: what they do not name stays as it is. */
async function policyAfter(api: Api, { ttl, quota, shared }: Options): Promise<CachePolicy> {
  const projectId = api.connection.project();
  const { policy: present } = await api.call(api.cache, "getCachePolicy", { projectId });
  const policy = present ?? CachePolicy.create();
  if (ttl === undefined && quota === undefined && shared === undefined) return policy;
  const reply = await api.call(api.cache, "setCachePolicy", {
    projectId,
    policy: {
      ttlSeconds: ttl ?? policy.ttlSeconds,
      quotaBytes: quota ?? policy.quotaBytes,
      shared: shared ?? policy.shared,
    },
  });
  return reply.policy ?? policy;
}

const policyTable = ({ ttlSeconds, quotaBytes, shared }: CachePolicy): TableContent => ({
  head: ["POLICY", ""],
  rows: [
    ["forgotten when unused for", secondsText(ttlSeconds)],
    ["size at most", quotaBytes === 0n ? "no limit" : bytes(quotaBytes)],
    ["shared between workflows", shared ? "yes" : "no"],
  ],
});
