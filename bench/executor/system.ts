// What the bench of the executor runs against: plans compiled as the server does it, run in this process without a
// server, and the hand-written DuckDB work beside them. What needs a whole executor starts one (memory.ts).
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type DuckDBConnection, DuckDBInstance } from "@duckdb/node-api";
import { compile } from "../../src/core/compile.js";
import type { DatasetScan, LogicalPlan, PhysicalPlan } from "../../src/core/plan.js";
import { planDigest } from "../../src/rpc/plan-codec.js";
import { createSchemaBinder } from "../../src/server/binding/schema-binder.js";
import { type Ran, ran } from "../../test/support/plan-runs.js";
import { makeTestDirectory, removeTestDirectory } from "../../test/support/test-directory.js";
import type { SystemOptions } from "../base-system.js";
import type * as bench from "../run-groups.js";
import type { Scale } from "./arguments.js";

/** Of every engine here, ours or bare. */
export const MEMORY_LIMIT_MB = 2_048;
export const THREADS = 2;

export interface ExecutorSystem {
  directory: string;
  /** For figures that need whole programs. */
  options: SystemOptions;
  compiled(plan: LogicalPlan, datasets: readonly DatasetScan[]): Promise<PhysicalPlan>;
  /** Runs a plan to COMPLETED in a directory that is empty before. */
  run(plan: PhysicalPlan, options?: Partial<Parameters<typeof ran>[1]>): Promise<Ran>;
  /** Work on a fresh engine with the settings of ours, opened and closed with it. */
  bare<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T>;
}

export type FigureGroup = bench.FigureGroup<ExecutorSystem, Scale>;

export async function startExecutorSystem(options: SystemOptions): Promise<ExecutorSystem> {
  const directory = await makeTestDirectory();
  await options.undo.add(() => removeTestDirectory(directory));
  const binder = await createSchemaBinder();
  await options.undo.add(async () => binder.close());
  const results = join(directory, "results");
  return {
    directory,
    options,
    async compiled(plan, datasets) {
      const result = await compile(plan, {
        resolveDataset: async (reference) => datasets.find(({ datasetName }) => datasetName === reference),
        bindSchemas: binder.bindSchemas,
        planDigest,
      });
      if (!result.ok) throw new Error(JSON.stringify(result.diagnostics));
      return result.plan;
    },
    async run(plan, more) {
      await rm(results, { recursive: true, force: true });
      const done = await ran(plan, {
        resultPrefix: `${pathToFileURL(results).href}/`,
        workDirectory: directory,
        memoryLimitMb: MEMORY_LIMIT_MB,
        ...more,
      });
      if (more === undefined && done.state !== "COMPLETED")
        throw new Error(`A run of the bench is ${done.state}: ${done.manifest.failure?.message}`);
      return done;
    },
    async bare(work) {
      const temporary = join(directory, "bare-spill");
      await mkdir(temporary, { recursive: true });
      const instance = await DuckDBInstance.create(":memory:", {
        memory_limit: `${MEMORY_LIMIT_MB}MB`,
        threads: String(THREADS),
        temp_directory: temporary,
        preserve_insertion_order: "true",
      });
      const connection = await instance.connect();
      try {
        await connection.run("SET TimeZone = 'UTC'");
        return await work(connection);
      } finally {
        connection.closeSync();
        instance.closeSync();
      }
    },
  };
}
