// How soon an order takes effect in the middle of a query or a user function that never ends: from the order to PAUSED
// being said, from RESUME to RUNNING being said, and from KILL to the operator being said to be KILLED. Beside it:
// interrupting the same query of a bare DuckDB.
import { setTimeout as delay } from "node:timers/promises";
import { ExecutionState, RunState } from "../../../src/contract/postern/v1/execution.js";
import type { RunControl } from "../../../src/executor/run/run-control.js";
import type { EventKind } from "../../../src/executor-session/session-api.js";
import { columns, type OperatorDraft, planOf, query, userFunction } from "../../../test/support/physical-plans.js";
import { until } from "../../../test/support/until.js";
import { atMost } from "../../figure.js";
import { median, percentile, spread } from "../../statistics.js";
import type { ExecutorSystem, FigureGroup } from "../system.js";

const ENDLESS = "SELECT sum(a.range * b.range) AS n FROM range(100000000) a, range(100000000) b";
const N = columns("n:double");

const WORK: Record<string, { drafts: OperatorDraft[]; links: string[]; intoItMs: number }> = {
  query: { drafts: [query("long", "aggregate", [], ENDLESS, N)], links: [], intoItMs: 100 },
  function: {
    drafts: [
      query("one", "text", [], "SELECT 1", N),
      userFunction("long", "javascript", N, "function processTuple() { for (;;); }", N),
    ],
    links: ["one>long"],
    // Into the loop: its process has to start first.
    intoItMs: 1_000,
  },
};

const ORDERS = ["pause", "resume", "kill"] as const;
type Times = Record<(typeof ORDERS)[number], number[]>;

export const pause: FigureGroup = {
  figures: Object.keys(WORK).flatMap((kind) => ORDERS.map((order) => `${order}-${kind}`)),
  async *measure({ system, scale, note }) {
    for (const kind of Object.keys(WORK)) {
      const times: Times = { pause: [], resume: [], kill: [] };
      const bare: number[] = [];
      for (let i = 0; i < scale.repeats; i++) {
        await round(system, kind, times);
        bare.push(await bareInterrupt(system));
      }
      for (const order of ORDERS) {
        note(`${order}-${kind}: ${spread(times[order])} ms; by hand ${spread(bare)} ms`);
        const value = percentile(times[order], 0.95);
        yield { figure: `${order}-${kind}`, value, unit: "ms p95", yardstick: median(bare), bound: atMost(200) };
      }
    }
  },
};

async function round(system: ExecutorSystem, kind: string, times: Times): Promise<void> {
  const { drafts, links, intoItMs } = WORK[kind]!;
  const plan = planOf(
    drafts.map((draft) => ({ ...draft, materialized: draft.id === "long" })),
    links,
  );
  let control: RunControl | undefined;
  const said: EventKind[] = [];
  const running = system.run(plan, {
    onControl: (given) => {
      control = given;
    },
    onEvent: (event) => void said.push(event),
  });
  const isLast = (state: ExecutionState) => () =>
    said.findLast((e) => e.$case === "executionState")?.value.state === state;
  await until(() => said.some((e) => e.$case === "operatorState" && e.value.operatorId === "long"));
  await delay(intoItMs);
  let orderedAt = performance.now();
  control!.pauseRun();
  await until(isLast(ExecutionState.EXECUTION_STATE_PAUSED));
  times.pause.push(performance.now() - orderedAt);
  orderedAt = performance.now();
  control!.resumeRun();
  await until(isLast(ExecutionState.EXECUTION_STATE_RUNNING));
  times.resume.push(performance.now() - orderedAt);
  await delay(100);
  orderedAt = performance.now();
  control!.killNow();
  await until(() => said.some((e) => e.$case === "operatorState" && e.value.state === RunState.RUN_STATE_KILLED));
  times.kill.push(performance.now() - orderedAt);
  await running;
}

const bareInterrupt = (system: ExecutorSystem): Promise<number> =>
  system.bare(async (connection) => {
    const ended = connection.run(ENDLESS).then(
      () => {},
      () => {}, // interrupted, as it was asked to be
    );
    await delay(100);
    const orderedAt = performance.now();
    connection.interrupt();
    await ended;
    return performance.now() - orderedAt;
  });
