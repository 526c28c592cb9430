// Eight relational operators over ten million rows, run by the executor's engine: beside it the same as one query that
// somebody wrote by hand for DuckDB; and, with every operator's output viewed, as one COPY statement for each.
import { join } from "node:path";
import type { PhysicalPlan } from "../../../src/core/plan.js";
import { planOf } from "../../../test/support/plans.js";
import { type Bound, type Measurement, ratioAtMost } from "../../figure.js";
import type { FigureDeps } from "../../run-groups.js";
import { median, spread } from "../../statistics.js";
import type { Scale } from "../arguments.js";
import type { ExecutorSystem, FigureGroup } from "../system.js";
import { customers, orders } from "../tables.js";

const workflow = (viewAll: boolean) => {
  const viewResult = viewAll;
  return planOf({
    orders: { type: "scan", dataset: "orders", viewResult },
    customers: { type: "scan", dataset: "customers", viewResult },
    large: { type: "filter", from: ["orders"], predicate: "amount >= 100", viewResult },
    priced: {
      type: "derive",
      from: ["large"],
      columns: [{ name: "total", expression: "amount * quantity" }],
      viewResult,
    },
    joined: { type: "join", from: ["priced", "customers"], on: [{ left: "customer", right: "id" }], viewResult },
    narrow: {
      type: "project",
      from: ["joined"],
      columns: [{ name: "region" }, { name: "customer" }, { name: "total" }],
      viewResult,
    },
    totals: {
      type: "aggregate",
      from: ["narrow"],
      groupBy: ["region", "customer"],
      aggregates: [
        { function: "sum", column: "total", as: "total" },
        { function: "count", as: "orders" },
      ],
      viewResult,
    },
    sorted: { type: "sort", from: ["totals"], by: [{ column: "total", descending: true }], viewResult: true },
  });
};

type Deps = FigureDeps<ExecutorSystem, Scale>;

export const relational: FigureGroup = {
  figures: ["relational-8", "relational-8-viewed"],
  async *measure(deps) {
    const { system, scale, wanted } = deps;
    const paths = { orders: await orders(system, scale.rows), customers: await customers(system) };
    const datasets = [paths.orders.dataset, paths.customers.dataset];
    const plan = (viewAll: boolean) => system.compiled(workflow(viewAll), datasets);
    const file = (name: string) => join(system.directory, `bare-${name}.parquet`);
    const copies = copyStatements(paths.orders.path, paths.customers.path, file);
    if (wanted("relational-8"))
      yield await beside(deps, "relational-8", ratioAtMost(1.35), {
        plan: await plan(false),
        statements: [oneQuery(paths.orders.path, paths.customers.path, file("sorted"))],
        rounds: 3 * scale.rounds, // they are short
      });
    if (wanted("relational-8-viewed"))
      yield await beside(deps, "relational-8-viewed", ratioAtMost(2), {
        plan: await plan(true),
        statements: copies,
        rounds: scale.rounds,
      });
  },
};

async function beside(
  { system, note }: Deps,
  figure: string,
  bound: Bound,
  { plan, statements, rounds }: { plan: PhysicalPlan; statements: string[]; rounds: number },
): Promise<Measurement> {
  const ours: number[] = [];
  const bare: number[] = [];
  for (let round = 0; round < rounds; round++) {
    bare.push(
      await seconds(() =>
        system.bare(async (connection) => {
          for (const statement of statements) await connection.run(statement);
        }),
      ),
    );
    ours.push(await seconds(() => system.run(plan)));
  }
  const shown = (values: number[]) => `${spread(values.map((value) => value * 1_000))} ms`;
  note(`${figure}: ${shown(ours)}, by hand ${shown(bare)}`);
  return { figure, value: median(ours), unit: "s", yardstick: median(bare), bound };
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return (performance.now() - startedAt) / 1_000;
}

const oneQuery = (ordersPath: string, customersPath: string, to: string) => `COPY (
  SELECT region, customer, sum(amount * quantity) AS total, count(*) AS orders
  FROM read_parquet('${ordersPath}') o JOIN read_parquet('${customersPath}') c ON o.customer = c.id
  WHERE amount >= 100 GROUP BY region, customer ORDER BY total DESC, region, customer, orders
) TO '${to}' (FORMAT parquet)`;

/** One for each operator, each reading what those before it have written. */
function copyStatements(ordersPath: string, customersPath: string, file: (name: string) => string): string[] {
  const read = (name: string) => `read_parquet('${file(name)}')`;
  const statements: [name: string, sql: string][] = [
    ["orders", `SELECT * FROM read_parquet('${ordersPath}')`],
    ["customers", `SELECT * FROM read_parquet('${customersPath}')`],
    ["large", `SELECT * FROM ${read("orders")} WHERE amount >= 100`],
    ["priced", `SELECT *, amount * quantity AS total FROM ${read("large")}`],
    [
      "joined",
      `SELECT l.*, r.id AS "id#@1", r.name, r.region FROM ${read("priced")} l JOIN ${read("customers")} r ON l.customer = r.id`,
    ],
    ["narrow", `SELECT region, customer, total FROM ${read("joined")}`],
    ["totals", `SELECT region, customer, sum(total) AS total, count(*) AS orders FROM ${read("narrow")} GROUP BY ALL`],
    ["sorted", `SELECT * FROM ${read("totals")} ORDER BY total DESC, region, customer, orders`],
  ];
  return statements.map(([name, sql]) => `COPY (${sql}) TO '${file(name)}' (FORMAT parquet)`);
}
