// An unchanged workflow of twenty operators, one of them user code, run again: from PrepareExecution to COMPLETED. Beside
// it: the same workflow computed by the executor. That no user process runs is proven by there being no executor at all
// while it is measured.
import { CacheMode, ExecutionState } from "../../../src/contract/postern/v1/execution.js";
import { atMost } from "../../figure.js";
import { median, percentile, spread } from "../../statistics.js";
import { completed } from "../ended.js";
import type { FigureGroup } from "../system.js";

const WORKFLOW = "twenty";
const CODE = "function processTuple(tuple) { return { ...tuple, twice: tuple.weight * 2 }; }";

/** Scan, user function, and two branches of relational operators that meet in a join: twenty in all. */
function twentyOperators() {
  const operators: { id: string; type: string; properties: object; viewResult?: boolean }[] = [
    { id: "rows", type: "scan", properties: { dataset: "rows" } },
    {
      id: "code",
      type: "javascript-function",
      properties: { code: CODE, retainInputColumns: true, outputColumns: [{ name: "twice", type: "double" }] },
    },
  ];
  const links = [{ from: "rows", to: "code" }];
  for (const branch of ["left", "right"]) {
    let before = branch === "left" ? "code" : "rows";
    for (let i = 0; i < 8; i++) {
      const id = `${branch}${i}`;
      const predicate = `weight > ${i * 3 + (branch === "left" ? 0 : 1)}`;
      operators.push({ id, type: "filter", properties: { predicate }, viewResult: i === 3 });
      links.push({ from: before, to: id });
      before = id;
    }
  }
  operators.push(
    { id: "both", type: "join", properties: { on: [{ left: "id", right: "id" }] } },
    { id: "order", type: "sort", properties: { by: [{ column: "weight" }] } },
  );
  const joins = [
    { from: "left7", to: "both" },
    { from: "right7", to: "both", toPort: 1 },
    { from: "both", to: "order" },
  ];
  return { operators, links: [...links, ...joins] };
}

export const rerun: FigureGroup = {
  figures: ["rerun-unchanged-20"],
  async *measure({ system, scale, note }) {
    const { executions } = system.clients;
    await system.putWorkflow(WORKFLOW, twentyOperators());
    const executor = await system.startExecutor("first-runs", 1);
    const computed: number[] = [];
    for (let i = 0; i < Math.max(3, scale.rounds); i++) {
      const startedAt = performance.now();
      const { execution } = await system.prepare(WORKFLOW, { queue: true, cache: CacheMode.CACHE_MODE_REFRESH });
      await completed(executions, system.userToken, execution!.id);
      computed.push(performance.now() - startedAt);
    }
    await executor.stop();
    const reused: number[] = [];
    for (let i = 0; i < scale.reruns; i++) {
      const startedAt = performance.now();
      const { execution } = await system.prepare(WORKFLOW, { queue: true, cache: CacheMode.CACHE_MODE_USE });
      if (execution!.state !== ExecutionState.EXECUTION_STATE_COMPLETED)
        throw new Error(`A run of the unchanged workflow is ${ExecutionState[execution!.state]}, not from the cache.`);
      reused.push(performance.now() - startedAt);
    }
    const warm = reused.slice(Math.floor(scale.reruns / 6));
    note(
      `rerun-unchanged-20: ${spread(warm)} ms, p95 ${percentile(warm, 0.95).toFixed(1)}; computed ${spread(computed)} ms`,
    );
    yield {
      figure: "rerun-unchanged-20",
      value: median(warm),
      unit: "ms",
      yardstick: median(computed),
      bound: atMost(60),
    };
  },
};
