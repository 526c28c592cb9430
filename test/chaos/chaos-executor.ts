// The executor of a chaos run: a process of its own over the library of the build under test. It runs nothing; for each
// assignment it says some thousand numbered events, in bursts and with rests, writes each into its journal before, and
// completes.
import { setTimeout as delay } from "node:timers/promises";
import { type ExecutionSpec, ExecutionState, Manifest } from "../../src/contract/postern/v1/execution.js";
import type { ConnectOptions, ExecutorConnection, ExecutorSession } from "../../src/executor-session/session-api.js";
import { readSecretFile } from "../../src/process/env.js";
import { createLogger } from "../../src/process/log.js";
import { exitWhenParentDies } from "../../src/process/parent-pipe.js";
import { type JournalWriter, openJournal } from "./journal.js";
import { checksumOf, eventToSay } from "./said-event.js";
import { type SeededRandom, seededRandom } from "./seeded-random.js";

/** What the run tells its executors, as JSON in CHAOS_EXECUTOR. */
export interface ChaosExecutorConfig {
  seed: string;
  executorId: string;
  /** Module of the build under test that exports `connectExecutor`. */
  library: string;
  servers: string[];
  tokenFile: string;
  journals: string;
  spill: string;
  slots: number;
  /** Events of one attempt. */
  events: number;
  /** Longest rest between two bursts, in milliseconds. */
  restMs: number;
}

const config = JSON.parse(process.env.CHAOS_EXECUTOR ?? "{}") as ChaosExecutorConfig;
const log = createLogger("chaos-executor", "info");
const stop = new AbortController();
process.once("SIGTERM", () => stop.abort());
exitWhenParentDies();

const library = (await import(config.library)) as { connectExecutor(options: ConnectOptions): ExecutorConnection };
const connection = library.connectExecutor({
  servers: config.servers.map((address) => ({ address })),
  executorId: config.executorId,
  software: "chaos-executor",
  spill: { directory: config.spill, maxBytes: 64 * 1024 * 1024 },
  log,
});
let taken = 0;
const end = await connection.serve(
  {
    readToken: () => readSecretFile("tokenFile", config.tokenFile),
    slots: config.slots,
    graceMs: 5_000,
    onWelcome: () => process.stdout.write(`${JSON.stringify({ ready: true })}\n`),
    run,
  },
  stop.signal,
);
log.info({ end }, "serving ended");
await connection.close();

async function run(session: ExecutorSession): Promise<Manifest> {
  const { spec } = session;
  const { executionId, attempt, epoch } = spec;
  const { executorId } = config;
  const { pid } = process;
  const begun = { kind: "begun" as const, executionId, attempt, epoch: `${epoch}`, executorId, pid, at: Date.now() };
  const journal = openJournal(config.journals, begun);
  try {
    await sayEverything(session, journal, seededRandom(`${config.seed}/${executorId}/${++taken}`));
    journal.note({ kind: "finished", at: Date.now() });
    return manifestOf(spec);
  } catch (error) {
    journal.note({ kind: "stopped", reason: String(error), at: Date.now() });
    throw error;
  } finally {
    journal.close();
  }
}

async function sayEverything(session: ExecutorSession, journal: JournalWriter, random: SeededRandom): Promise<void> {
  // Whoever takes over is silent at first: what the former executor said too late would fit its place in the log.
  if (session.spec.attempt > 1) await delay(random.between(500, 1_000), undefined, { signal: session.signal });
  let burst = random.between(1, 300);
  for (let n = 1; n <= config.events; n++) {
    const kind = eventToSay(session.spec, config.executorId, n, random);
    session.signal.throwIfAborted();
    journal.said({ n, checksum: checksumOf(kind) });
    await session.report(kind);
    if (--burst > 0) continue;
    burst = random.chance(0.3) ? 1 : random.between(10, 300);
    await delay(random.between(0, config.restMs), undefined, { signal: session.signal });
  }
}

function manifestOf({ executionId, attempt }: ExecutionSpec): Manifest {
  return Manifest.fromPartial({ executionId, attempt, state: ExecutionState.EXECUTION_STATE_COMPLETED });
}
