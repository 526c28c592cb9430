// A steady rate of events by many executors, each watched by somebody: is it sustained, and how long does an event take
// to its acknowledgement and to its watcher? Once with everybody on one replica, once with the watchers on another.
// Beside the times: the commit of a single row by one idle connection, which nothing durable can undercut.
import { atLeast, atMost, type Measurement } from "../../figure.js";
import { median } from "../../statistics.js";
import type { Load, Program } from "../child.js";
import type { Offered } from "../load/executors.js";
import type { Stretch, Summary } from "../load/latencies.js";
import type { FigureDeps, FigureGroup } from "../plan.js";
import { coresOf, costOf, cpuSeconds, measureUse } from "../usage.js";

const RATE = 10_000;
const CROSS_RATE = 1_000;
/** Executors of the figure across replicas, as a share of all. */
const CROSS_SHARE = 0.1;
/** Seconds before a stretch counts, and the length of one in rounds' seconds. */
const WARM_UP_SECONDS = 1;
const STRETCH_FACTOR = 2;
const WATCHERS_PER_CONNECTION = 50;
const COMMITS = 200;
/** Everything acknowledged this soon after the last was sent counts as sustained. */
const TAIL_MS = 1_000;

export const offered: FigureGroup = {
  figures: ["offered-rate", "offered-ack-p50", "offered-ack-p99", "offered-watch-p99"],
  async *measure(deps) {
    const { system, scale } = deps;
    const server = await system.startServer();
    const measured = await offer(deps, {
      executors: scale.executors,
      rate: scaled(deps, RATE),
      from: server,
      to: server,
    });
    yield {
      figure: "offered-rate",
      value: measured.rate,
      unit: "events/s",
      yardstick: scaled(deps, RATE),
      bound: atLeast(scaled(deps, RATE) * 0.99),
    };
    yield time("offered-ack-p50", measured.ackP50, measured.commit.p50Ms, 5);
    yield time("offered-ack-p99", measured.ackP99, measured.commit.p99Ms, 50);
    yield time("offered-watch-p99", measured.watchP99, measured.commit.p99Ms, 60);
    await server.stop();
  },
};

export const replicas: FigureGroup = {
  figures: ["replica-watch-p50", "replica-watch-p99"],
  async *measure(deps) {
    const { system, scale } = deps;
    const [from, to] = [await system.startServer(), await system.startServer()];
    const executors = Math.max(1, Math.round(scale.executors * CROSS_SHARE));
    const measured = await offer(deps, { executors, rate: scaled(deps, CROSS_RATE), from, to });
    yield time("replica-watch-p50", measured.watchP50, measured.commit.p50Ms, 10);
    yield time("replica-watch-p99", measured.watchP99, measured.commit.p99Ms, 40);
    for (const one of [from, to]) await one.stop();
  },
};

/** The full rate, or as much less as there are fewer executors. */
const scaled = ({ scale }: FigureDeps, rate: number): number => (rate * scale.executors) / 1_000;

const time = (figure: string, value: number, yardstick: number, limitMs: number): Measurement => ({
  figure,
  value,
  unit: "ms",
  yardstick,
  bound: atMost(limitMs),
});

interface Steady {
  /** Events a second that were acknowledged. */
  rate: number;
  ackP50: number;
  ackP99: number;
  watchP50: number;
  watchP99: number;
  commit: { p50Ms: number; p99Ms: number };
}

async function offer(
  { system, scale, note }: FigureDeps,
  { executors, rate, from, to }: { executors: number; rate: number; from: Program; to: Program },
): Promise<Steady> {
  const [speakers, listeners, postgres] = [
    await system.startLoad(),
    await system.startLoad(),
    await system.startLoad(),
  ];
  const { planDigest, operators, connection } = system;
  const executions = await system.makeExecutions(executors);
  const executionIds = executions.map(({ executionId }) => executionId);
  await postgres.call("openCopy", { connection, executionIds, operators, batch: 1 });
  const open = { address: from.address, executions, planDigest, operators, perConnection: 1 };
  await speakers.call("openExecutors", open);
  const watch = { address: to.address, executionIds, token: system.userToken, perConnection: WATCHERS_PER_CONNECTION };
  await listeners.call("openWatchers", watch);
  await system.sweep();
  const commit = await postgres.call("measureCommits", Math.min(COMMITS, executors * 10));

  const stretchSeconds = scale.seconds * STRETCH_FACTOR;
  const pids = { server: from.pid, load: speakers.pid, postgres: system.postgresPid };
  const watchersBefore = await cpuSeconds(listeners.pid);
  const { result, used } = await measureUse(pids, () =>
    speakers.call("offer", { ratePerSecond: rate, seconds: WARM_UP_SECONDS + scale.rounds * stretchSeconds }),
  );
  const watcherUs = (((await cpuSeconds(listeners.pid)) - watchersBefore) * 1e6) / result.events;
  const stretches = stretchesOf(result, scale.rounds, stretchSeconds);
  await allSeen(listeners, result.events);
  const acks = await speakers.call("acks", stretches);
  const watched = await listeners.call("watched", stretches);
  tell(note, acks, watched, result);
  note(`${coresOf(used)}; ${costOf(used, result.events)}, watchers ${watcherUs.toFixed(1)}`);
  for (const one of [speakers, listeners, postgres]) {
    await one.call("close");
    await one.stop();
  }
  const lateMs = Math.max(0, (result.ackedUs - result.sentUs) / 1_000 - TAIL_MS);
  return {
    rate: result.events / ((result.sentUs - result.startedUs) / 1e6 + lateMs / 1_000),
    ackP50: median(acks.map(({ p50Ms }) => p50Ms)),
    ackP99: median(acks.map(({ p99Ms }) => p99Ms)),
    watchP50: median(watched.map(({ p50Ms }) => p50Ms)),
    watchP99: median(watched.map(({ p99Ms }) => p99Ms)),
    commit,
  };
}

function stretchesOf({ startedUs }: Offered, count: number, seconds: number): Stretch[] {
  return Array.from({ length: count }, (_, n) => {
    const fromUs = startedUs + (WARM_UP_SECONDS + n * seconds) * 1e6;
    return { fromUs, toUs: fromUs + seconds * 1e6 };
  });
}

/** Waits until every event has reached its watcher: one that never does is a fault, not a figure. */
async function allSeen(listeners: Load, events: number): Promise<void> {
  for (const until = performance.now() + 30_000; performance.now() < until; ) {
    if ((await listeners.call("seen")) >= events) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`Of ${events} events the watchers saw ${await listeners.call("seen")}.`);
}

function tell(note: FigureDeps["note"], acks: Summary[], watched: Summary[], of: Offered): void {
  const row = (summaries: Summary[]) =>
    summaries.map(({ p50Ms, p99Ms }) => `${p50Ms.toFixed(1)}/${p99Ms.toFixed(0)}`).join(" ");
  note(`event to ack, p50/p99 in ms by stretch: ${row(acks)}; event to watcher: ${row(watched)}`);
  note(`the generator was late by at most ${of.generatorLateMs.toFixed(0)} ms`);
}
