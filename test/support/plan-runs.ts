// Runs plans without a server, and keeps what they say.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { DuckDBInstance, type Json } from "@duckdb/node-api";
import { ExecutionState, type Manifest, type OperatorStatistics } from "../../src/contract/postern/v1/execution.js";
import type { PhysicalPlan } from "../../src/core/plan.js";
import { noCache, type PortCache } from "../../src/executor/cache/port-cache.js";
import { runPlan } from "../../src/executor/run/plan-run.js";
import { createReport } from "../../src/executor/run/report.js";
import { createRunControl, type RunControl } from "../../src/executor/run/run-control.js";
import { findUserCodeHost, type UserCodeHost } from "../../src/executor/user-code/host.js";
import type { EventKind } from "../../src/executor-session/session-api.js";
import { createLogger } from "../../src/process/log.js";
import { specOf } from "./physical-plans.js";

export const silent = createLogger("test", "silent");

export const THIS_HOST = {
  python: "python3",
  policy: "best-effort",
  path: process.env.PATH,
  isRoot: process.getuid?.() === 0,
  memoryBytes: 256 * 1024 * 1024,
  log: silent,
} as const;

let host: Promise<UserCodeHost> | undefined;
/** What this machine offers to user code, probed once. */
export const thisHost = (): Promise<UserCodeHost> => {
  host ??= findUserCodeHost(THIS_HOST);
  return host;
};

/** A temporary directory that `remove` takes away. */
export function scratch(): { directory: string; uri: string; remove(): void } {
  const directory = mkdtempSync(join(tmpdir(), "postern-executor-test-"));
  return {
    directory,
    uri: `${pathToFileURL(directory).href}/`,
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

export interface Ran {
  manifest: Manifest;
  events: EventKind[];
  state: string;
  /** Local file of a written port. */
  fileOf(operatorId: string, portId?: number): string;
}

interface RunOptions {
  resultPrefix: string;
  workDirectory: string;
  signal?: AbortSignal;
  memoryLimitMb?: number;
  tempMaxMb?: number;
  host?: UserCodeHost;
  spec?: Parameters<typeof specOf>[2];
  /** Default none. */
  cache?: PortCache;
  /** Hears each event when it is said. */
  onEvent?(kind: EventKind): void;
  /** Hears figures when they are said. */
  onFigures?(figures: OperatorStatistics): void;
  /** Gets hold of what steers the run. */
  onControl?(control: RunControl): void;
}

/** Runs a plan to its end. */
export async function ran(plan: PhysicalPlan, options: RunOptions): Promise<Ran> {
  const events: EventKind[] = [];
  const session = {
    report: async (kind: EventKind) => {
      events.push(kind);
      options.onEvent?.(kind);
    },
    offer: (kind: EventKind) => {
      if (kind.$case === "operatorStatistics") options.onFigures?.(kind.value);
      return events.push(kind) > 0;
    },
  };
  const report = createReport({ session, now: Date.now });
  const control = createRunControl({ report, cancelGraceMs: 0, elapsed: () => performance.now() });
  options.onControl?.(control);
  if (options.signal?.aborted) control.killNow();
  options.signal?.addEventListener("abort", () => control.killNow(), { once: true });
  const spec = specOf(plan, options.resultPrefix, options.spec);
  const manifest = await runPlan({
    spec,
    report,
    host: options.host ?? (await thisHost()),
    memoryLimitMb: options.memoryLimitMb ?? 512,
    tempMaxMb: options.tempMaxMb,
    threads: 2,
    workDirectory: join(options.workDirectory, "work"),
    now: () => new Date(),
    elapsed: () => performance.now(),
    log: silent,
    control,
    cache: options.cache ?? noCache("The test has none."),
  });
  return {
    manifest,
    events,
    state: ExecutionState[manifest.state].replace("EXECUTION_STATE_", ""),
    fileOf(operatorId, portId = 0) {
      const port = manifest.ports.find(({ key }) => key?.operatorId === operatorId && key.portId === portId);
      if (!port) throw new Error(`${operatorId} has written no port; the run said ${manifest.failure?.message}`);
      return new URL(port.uri).pathname;
    },
  };
}

/** Asks DuckDB; `?` stands for the file. */
export async function rowsOf(file: string, sql = "select * from ?"): Promise<Json[][]> {
  const instance = await DuckDBInstance.create(":memory:");
  const connection = await instance.connect();
  try {
    const reader = `read_parquet('${file}', file_row_number = false)`;
    return await (await connection.run(sql.replaceAll("?", reader))).getRowsJson();
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}
