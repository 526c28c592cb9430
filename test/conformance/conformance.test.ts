// The scenarios against three kinds of executor: our own, a small one that keeps the core promises, and small ones that
// break one promise each. A scenario that cannot say no is worth nothing.
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { runConformance, selectScenarios, type Verdict } from "../../src/conformance/run-conformance.js";
import type { Mode } from "../../src/conformance/stage.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** Compiled when that is what the sources say: a scenario is several starts of it, and loading sources takes a second each. */
const OURS = isBuilt()
  ? "exec node bin/postern.js executor"
  : `exec node --import tsx --input-type=module -e 'await (await import("./src/executor/main.ts")).main()'`;
/** Where an executor that loses its lease, its token or its work would be found out. */
const BEYOND_CORE = ["half-open", "no-acks", "token-granted", "cancel", "serve-cut", "sigterm"];
const MINI = "exec node test/conformance/mini-executor.mjs";

function isBuilt(): boolean {
  const builtAt = statSync(join(ROOT, "dist/.built"), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const files = ["src", "migrations"].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()),
  );
  return files.every(({ parentPath, name }) => statSync(join(parentPath, name)).mtimeMs <= builtAt);
}

interface Play {
  mode?: Mode;
  only?: string[];
  core?: boolean;
  timeoutMs?: number;
  jobs?: number;
  signal?: AbortSignal;
}

async function play(
  command: string,
  { mode = "single", only, core, jobs = 2, ...more }: Play = {},
): Promise<Verdict[]> {
  const verdicts: Verdict[] = [];
  const options = {
    command,
    mode,
    jobs,
    leaseMs: 900,
    timeoutMs: 30_000,
    env: process.env,
    cwd: ROOT,
    onOutput: () => {},
    signal: new AbortController().signal,
    ...more,
  };
  for await (const verdict of runConformance(selectScenarios({ mode, core, only }), options)) verdicts.push(verdict);
  return verdicts;
}
const failures = (verdicts: Verdict[]) =>
  verdicts.filter(({ passed }) => !passed).map(({ name, reason }) => `${name}: ${reason}`);

describe("conformance", function () {
  this.timeout(300_000);

  // `make interop` plays the whole list.
  it("finds nothing wrong with our own executor, in what every executor must do and what ours does beyond that", async () => {
    const core = selectScenarios({ mode: "pool", core: true }).map(({ name }) => name);
    const verdicts = await play(OURS, { mode: "pool", only: [...core, ...BEYOND_CORE], timeoutMs: 60_000 });
    expect(failures(verdicts)).to.deep.equal([]);
    expect(verdicts).to.have.length(core.length + BEYOND_CORE.length);
  });

  it("finds nothing wrong with our own executor when it is given one execution as a file", async () => {
    const only = ["attach", "complete-ack-lost"];
    expect(failures(await play(OURS, { only }))).to.deep.equal([]);
  });

  it("passes a small executor that keeps the core promises", async () => {
    expect(failures(await play(MINI, { core: true }))).to.deep.equal([]);
  });

  const broken: [promise: string, scenario: string, reason: RegExp][] = [
    ["welcome", "attach", /^EventBatch came before Welcome on stream 1: wait for it after Hello\.$/],
    ["tail", "resume-unstored", /^Event \d+ was sent again with another content: keep what is not acknowledged/],
    [
      "hole",
      "resume-unstored",
      /^Stream 1 began with event 9, but its Welcome told that 0 are stored: go on with event 1\.$/,
    ],
    ["resume", "resume-stored", /^Stream 2 began with event \d+, but its Welcome told that \d+ are stored/],
    ["reconnect", "resume-unstored", /^The command ended with status 0 and did not send Complete\.$/],
    ["nack", "nack", /^In 4 s the executor did not send Complete\.$/],
    ["credit", "credit", /^Event 8 was sent on stream 1 with a credit of 0: wait until/],
    ["heartbeat", "heartbeat", /^It was silent for 1\d{3} ms of a lease of 900 ms: send a Heartbeat every third/],
    ["fence", "fenced", /^The executor attached again after it was refused with STALE_LEASE: stop the work instead\.$/],
    ["fence", "fenced-return", /^The executor attached again after it was refused with STALE_LEASE/],
    ["fence", "complete-ack-lost", /^The executor attached again after it was refused with ILLEGAL_TRANSITION/],
    ["manifest", "complete", /^Complete was repeated with another manifest: repeat the same one, byte for byte\.$/],
    ["command", "command-twice", /^In 4 s the executor did not acknowledge the command\.$/],
    ["token", "token-granted", /^It attached again with an older token than the one it was granted/],
    [
      "start",
      "attach",
      /^The command ended with status 1 and did not attach and say Hello; the last line of its errors: /,
    ],
    ["connection", "attach", /^In 4 s the executor did not attach and say Hello\.$/],
  ];
  /** Some are only told by what never comes. */
  const isWait = (reason: RegExp) => reason.source.startsWith("^In ");
  for (const [promise, scenario, reason] of broken)
    it(`fails ${scenario} for an executor whose ${promise} is broken`, async () => {
      const [verdict] = await play(`${MINI} ${promise}`, {
        only: [scenario],
        timeoutMs: isWait(reason) ? 4_000 : 20_000,
      });
      expect(verdict).to.include({ name: scenario, passed: false });
      expect(verdict?.reason).to.match(reason);
    });
});
