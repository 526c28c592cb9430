// Runs single user functions without a plan: rows come from SQL, and what the function gives is kept.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { DuckDBInstance, type DuckDBValue } from "@duckdb/node-api";
import type { FunctionCall, Language, PhysicalOperator } from "../../src/core/plan.js";
import { RunFailure } from "../../src/executor/run/failure.js";
import {
  runUserFunction,
  type UserFunctionCounts,
  type UserFunctionDeps,
} from "../../src/executor/run/user-function.js";
import { findUserCodeHost, type UserCodeHost } from "../../src/executor/user-code/host.js";
import { columns } from "./physical-plans.js";
import { silent, thisHost } from "./plan-runs.js";

/** The Python that scripts/python-packages.sh makes. */
const VENV_PYTHON = fileURLToPath(new URL("../../.build/python-venv/bin/python", import.meta.url));
const HAS_PANDAS = existsSync(VENV_PYTHON) && spawnSync(VENV_PYTHON, ["-c", "import pandas"]).status === 0;
export const PYTHON = spawnSync("python3", ["--version"]).status === 0;

/** What to add to a title, and whether to skip: without pandas its tests are pending, except in CI. */
export const pandas = {
  isMissing: !HAS_PANDAS && process.env.CI !== "true",
  note: HAS_PANDAS ? "" : " (pending: no pandas; make test installs it)",
};

let host: Promise<UserCodeHost> | undefined;
/** A host whose Python has pandas. */
export const pandasHost = (): Promise<UserCodeHost> => {
  host ??= findUserCodeHost({
    python: VENV_PYTHON,
    policy: "best-effort",
    path: process.env.PATH,
    isRoot: process.getuid?.() === 0,
    memoryBytes: 512 * 1024 * 1024,
    directory: tmpdir(),
    log: silent,
  });
  return host;
};

export interface FunctionTry {
  language: Language;
  code: string;
  entryPoint: string;
  call?: FunctionCall;
  retain?: boolean;
  /** Schemas as in `columns`, and a query for the rows. */
  inputs: { schema: string; sql: string }[];
  outputs: string[];
  host?: UserCodeHost;
  deps?: Partial<UserFunctionDeps>;
}

export interface FunctionEnd {
  /** Rows by output port. */
  rows: DuckDBValue[][][];
  lines: string[];
  counts: UserFunctionCounts | undefined;
  failure: RunFailure | undefined;
}

/** Runs a function to its end; a failure is given, not thrown. */
export async function tried(what: FunctionTry): Promise<FunctionEnd> {
  const instance = await DuckDBInstance.create(":memory:");
  const connections = await Promise.all(what.inputs.map(() => instance.connect()));
  const end: FunctionEnd = { rows: what.outputs.map(() => []), lines: [], counts: undefined, failure: undefined };
  const never = new AbortController().signal;
  try {
    end.counts = await runUserFunction(
      {
        host: what.host ?? (await thisHost()),
        stop: never,
        kill: never,
        rest: async () => {},
        onPause: () => () => {},
        onLine: (stream, line) => void end.lines.push(stream === "error" ? `! ${line}` : line),
        onRows() {},
        ...what.deps,
      },
      {
        operator: { operatorId: "f" } as PhysicalOperator,
        userFunction: {
          language: what.language,
          code: what.code,
          entryPoint: what.entryPoint,
          call: what.call ?? "tuple",
          retainInputColumns: what.retain ?? false,
          environment: {},
        },
        inputs: what.inputs.map(({ schema, sql }, port) => ({
          schema: columns(schema),
          async *chunks() {
            const result = await connections[port]!.stream(sql);
            for (;;) {
              const chunk = await result.fetchChunk();
              if (!chunk || chunk.rowCount === 0) return;
              yield chunk;
            }
          },
        })),
        outputs: what.outputs.map((schema, port) => ({
          schema: columns(schema),
          append: async (chunk) => void end.rows[port]!.push(...chunk.getRows()),
        })),
      },
    );
  } catch (error) {
    if (!(error instanceof RunFailure)) throw error;
    end.failure = error;
  } finally {
    for (const connection of connections) connection.closeSync();
    instance.closeSync();
  }
  return end;
}
