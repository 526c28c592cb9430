// User functions over a million rows of five columns, from Parquet to Parquet, and how soon their first row is out. Beside
// Python: the same function in a bare Python process with pyarrow, from its start to its end. Beside JavaScript: the same
// function called by this process, from and to rows of DuckDB.
import { execFile } from "node:child_process";
import { access } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import type { FunctionCall, Language, PhysicalPlan } from "../../../src/core/plan.js";
import { findUserCodeHost, type UserCodeHost } from "../../../src/executor/user-code/host.js";
import { silent } from "../../../test/support/plan-runs.js";
import { planOf } from "../../../test/support/plans.js";
import { atLeast, atMost, type Bound, type Measurement, ratioAtLeast } from "../../figure.js";
import { median, percentile, spread } from "../../statistics.js";
import type { ExecutorSystem, FigureGroup } from "../system.js";
import { type Table, table } from "../tables.js";

/** Made by scripts/python-packages.sh: what functions run with, and what the yardstick runs with. */
const PYTHON = ".build/python-venv/bin/python";
const BARE_PYTHON = ".build/bench-venv/bin/python";
const FEW_ROWS = 5_000;
/** A spare process has loaded what it can by then. */
const WARM_MS = 2_500;

const CODE = {
  "python-tuple": "def process_tuple(tuple_):\n    return {'late': tuple_['delay'] > 15}\n",
  "python-table": "def process_table(table):\n    table['late'] = table['delay'] > 15\n    return table\n",
  "python-batch": "def process_batch(table):\n    table['late'] = table['delay'] > 15\n    return table\n",
  "javascript-tuple": "function processTuple(tuple) { return { late: tuple.delay > 15 }; }",
} as const;
type Name = keyof typeof CODE;

const BOUNDS: Record<Name, Bound> = {
  "python-tuple": ratioAtLeast(0.5),
  "python-table": ratioAtLeast(0.7),
  "python-batch": ratioAtLeast(0.7),
  "javascript-tuple": atLeast(250_000),
};
const STARTS = { "start-javascript": "javascript-tuple", "start-python": "python-tuple" } as const;

export const userCode: FigureGroup = {
  figures: [...Object.keys(CODE), ...Object.keys(STARTS)],
  async *measure({ system, scale, note, wanted }) {
    for (const python of [PYTHON, BARE_PYTHON])
      await access(python).catch(() => {
        throw new Error(`There is no ${python}: run scripts/python-packages.sh, and again with "bench".`);
      });
    const host = await hostOf(system);
    try {
      const rows = Math.min(scale.rows, 1_000_000);
      const [sales, few] = [await salesOf(system, rows), await salesOf(system, FEW_ROWS)];
      for (const name of Object.keys(CODE) as Name[])
        if (wanted(name)) yield await throughput(name, { system, host, sales, rows, rounds: scale.rounds, note });
      for (const figure of ["start-javascript", "start-python"] as const)
        if (wanted(figure)) yield await start(figure, { system, host, few, repeats: scale.repeats, note });
    } finally {
      await host.close();
    }
  },
};

const hostOf = (system: ExecutorSystem): Promise<UserCodeHost> =>
  findUserCodeHost({
    python: join(process.cwd(), PYTHON),
    policy: "best-effort",
    path: process.env.PATH,
    isRoot: process.getuid?.() === 0,
    memoryBytes: 1024 * 1024 * 1024,
    spareChildren: true,
    directory: system.directory,
    log: silent,
  });

const salesOf = (system: ExecutorSystem, rows: number): Promise<Table> =>
  table(
    system,
    `sales-${rows}`,
    "id: long, name: string, city: string, amount: double, delay: integer",
    `SELECT range AS id, 'customer ' || range AS name, 'city ' || hash(range) % 500 AS city,
       (hash(range + 1) % 100000) / 100.0 AS amount, (hash(range + 2) % 60)::integer AS delay FROM range(${rows})`,
  );

const planFor = (system: ExecutorSystem, name: Name, sales: Table): Promise<PhysicalPlan> =>
  system.compiled(
    planOf({
      sales: { type: "scan", dataset: sales.dataset.datasetName },
      marked: {
        type: `${name.split("-")[0] as Language}-function`,
        from: ["sales"],
        code: CODE[name],
        outputColumns: [{ name: "late", type: "boolean" }],
        viewResult: true,
      },
    }),
    [sales.dataset],
  );

async function throughput(
  name: Name,
  deps: {
    system: ExecutorSystem;
    host: UserCodeHost;
    sales: Table;
    rows: number;
    rounds: number;
    note(line: string): void;
  },
): Promise<Measurement> {
  const { system, host, sales, rows, rounds, note } = deps;
  const plan = await planFor(system, name, sales);
  const ours: number[] = [];
  const bare: number[] = [];
  for (let i = 0; i < rounds; i++) {
    await delay(WARM_MS);
    let startedAt = performance.now();
    const { state, manifest } = await system.run(plan, { host });
    ours.push(rows / ((performance.now() - startedAt) / 1_000));
    if (state !== "COMPLETED") throw new Error(`${name} is ${state}: ${manifest.failure?.message}`);
    await delay(WARM_MS); // the next spare process is being prepared
    startedAt = performance.now();
    const [language, way] = name.split("-") as [Language, FunctionCall];
    if (language === "python") await barePython(system, way, sales.path);
    else await bareJavaScript(system, sales.path);
    bare.push(rows / ((performance.now() - startedAt) / 1_000));
  }
  note(`${name}: ${spread(ours)} rows/s; by hand ${spread(bare)} rows/s`);
  return { figure: name, value: median(ours), unit: "rows/s", yardstick: median(bare), bound: BOUNDS[name] };
}

async function barePython(system: ExecutorSystem, way: string, path: string): Promise<void> {
  const target = join(system.directory, "bare-python.parquet");
  await promisify(execFile)(BARE_PYTHON, ["bench/executor/bare_python.py", way, path, target]);
}

/** Without a sandbox, in this process. */
const bareJavaScript = (system: ExecutorSystem, path: string): Promise<void> =>
  system.bare(async (connection) => {
    const result = await connection.stream(`SELECT * FROM read_parquet('${path}')`);
    const late: boolean[] = [];
    const processTuple = new Function(`${CODE["javascript-tuple"]} return processTuple;`)() as (tuple: {
      [name: string]: unknown;
    }) => { late: boolean };
    for (;;) {
      const chunk = await result.fetchChunk();
      if (!chunk || chunk.rowCount === 0) break;
      for (const row of chunk.getRowObjects(["id", "name", "city", "amount", "delay"]))
        late.push(processTuple(row).late);
    }
  });

/** From the assignment to the first rows that were put away, on a host whose next process is ready. */
async function start(
  figure: keyof typeof STARTS,
  deps: { system: ExecutorSystem; host: UserCodeHost; few: Table; repeats: number; note(line: string): void },
): Promise<Measurement> {
  const { system, host, few, repeats, note } = deps;
  const plan = await planFor(system, STARTS[figure], few);
  const ours: number[] = [];
  const bare: number[] = [];
  for (let i = 0; i < repeats + 1; i++) {
    await delay(WARM_MS);
    let startedAt = performance.now();
    let firstAt: number | undefined;
    const heard = (at: { outputRows?: bigint }) => {
      if ((at.outputRows ?? 0n) > 0n) firstAt ??= performance.now();
    };
    await system.run(plan, {
      host,
      onEvent: (kind) => {
        if (kind.$case === "operatorStatistics" && kind.value.operatorId === "marked") heard(kind.value);
        if (kind.$case === "portResult") firstAt ??= performance.now();
      },
    });
    ours.push(firstAt! - startedAt);
    await delay(WARM_MS);
    startedAt = performance.now();
    if (figure === "start-python") await barePython(system, "tuple", few.path);
    else await bareJavaScript(system, few.path);
    bare.push(performance.now() - startedAt);
  }
  const warm = ours.slice(1);
  note(`${figure}: ${spread(warm)} ms, p95 ${percentile(warm, 0.95).toFixed(1)}; by hand ${spread(bare)} ms`);
  const bound = atMost(figure === "start-python" ? 500 : 300);
  return { figure, value: median(warm), unit: "ms", yardstick: median(bare.slice(1)), bound };
}
