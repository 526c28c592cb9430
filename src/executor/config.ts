// Everything the executor reads from its environment, once, at start. The token is a file, and only its path is here.
import { randomUUID } from "node:crypto";
import { availableParallelism } from "node:os";
import { invalid } from "../core/app-error.js";
import { isName } from "../core/ids.js";
import { environment } from "../process/env.js";
import type { ServerAddress } from "../rpc/channel.js";

const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;

export interface ExecutorConfig {
  /** Tried in turn. */
  servers: ServerAddress[];
  /** The serve token; the execution token when there is a spec file. */
  tokenFile: string;
  /** An ExecutionSpec as proto3 JSON: run that one and end. Undefined: serve the computing unit. */
  specFile: string | undefined;
  /** The same in every reconnect of this process. */
  executorId: string;
  /** Executions side by side. */
  slots: number;
  /** Undefined: a fresh directory among the temporary files, removed at the end. */
  workDirectory: string | undefined;
  /** For all executions together. */
  memoryLimitMb: number;
  /** For all executions together: rows that go to disk for want of memory. Undefined: nine tenths of what is free there. */
  tempMaxMb: number | undefined;
  /** For all executions together. */
  threads: number;
  /** Room for events that wait for a server, on disk below the work directory; 0 for none. */
  spillMb: number;
  /** How long user code may go on after a cancel before it is killed, in milliseconds. */
  cancelGraceMs: number;
  /** Told to the server. */
  labels: Record<string, string>;
  /** Name or path of the Python interpreter. */
  python: string;
  /** `required`: refuse Python user code on a host that isolates nothing. */
  sandbox: "best-effort" | "required";
  /** Whether a started process of each language waits for the next user function; only when serving. */
  spareChildren: boolean;
  /** Where programs are looked up; never passed on. */
  path: string | undefined;
  logLevel: (typeof LOG_LEVELS)[number];
}

export function readExecutorConfig(variables: NodeJS.ProcessEnv = process.env): ExecutorConfig {
  const env = environment(variables);
  const caFile = env.optionalFile("POSTERN_TLS_CA_FILE");
  const certFile = env.optionalFile("POSTERN_TLS_CERT_FILE");
  const keyFile = env.optionalSecretFile("POSTERN_TLS_KEY_FILE");
  if (!certFile !== !keyFile)
    throw invalid(`Mutual TLS takes both: ${certFile ? "POSTERN_TLS_KEY_FILE" : "POSTERN_TLS_CERT_FILE"} is not set.`);
  const tls = caFile || certFile ? { caFile, certFile, keyFile } : undefined;
  return {
    servers: serverAddresses(env.text("POSTERN_SERVER")).map((address) => ({ address, tls })),
    tokenFile: env.secretFile("POSTERN_TOKEN_FILE"),
    specFile: env.optionalFile("POSTERN_SPEC_FILE"),
    executorId: executorId(env.text("POSTERN_EXECUTOR_ID", `executor-${randomUUID()}`)),
    slots: env.integer("POSTERN_SLOTS", { defaultTo: 1, min: 1, max: 1_000 }),
    workDirectory: env.optionalText("POSTERN_WORK_DIR"),
    memoryLimitMb: env.integer("POSTERN_MEMORY_LIMIT_MB", { defaultTo: 1_024, min: 64 }),
    tempMaxMb: env.integer("POSTERN_TEMP_MAX_MB", { defaultTo: 0, min: 0 }) || undefined,
    threads: env.integer("POSTERN_THREADS", { defaultTo: availableParallelism(), min: 1, max: 1_024 }),
    spillMb: env.integer("POSTERN_SPILL_MB", { defaultTo: 0, min: 0, max: 1_000_000 }),
    cancelGraceMs: env.integer("POSTERN_CANCEL_GRACE_MS", { defaultTo: 100, min: 0, max: 3_600_000 }),
    labels: labels(env.text("POSTERN_LABELS", "")),
    python: env.text("POSTERN_PYTHON", "python3"),
    sandbox: env.oneOf("POSTERN_SANDBOX", ["best-effort", "required"], "required"),
    spareChildren: env.integer("POSTERN_SPARE_CHILDREN", { defaultTo: 1, min: 0, max: 1 }) === 1,
    path: env.optionalText("PATH"),
    logLevel: env.oneOf("POSTERN_LOG_LEVEL", LOG_LEVELS, "info"),
  };
}

/** Several are separated by commas. */
function serverAddresses(text: string): string[] {
  const addresses = text.split(",").map((one) => one.trim());
  if (addresses.every((one) => /^[^\s/,]+:\d{1,5}$/.test(one))) return addresses;
  const wanted = "it must be host:port, as in 127.0.0.1:7700, or several with commas between";
  throw invalid(`POSTERN_SERVER is ${JSON.stringify(text)}: ${wanted}.`);
}

function labels(text: string): Record<string, string> {
  const entries = text === "" ? [] : text.split(",").map((one) => one.trim().split("="));
  if (entries.every(([name, value, ...more]) => isName(name ?? "") && value !== undefined && more.length === 0))
    return Object.fromEntries(entries);
  throw invalid(
    `POSTERN_LABELS is ${JSON.stringify(text.slice(0, 100))}: it must be name=value pairs with commas between, as in zone=a,gpu=no.`,
  );
}

function executorId(text: string): string {
  if (isName(text)) return text;
  throw invalid('POSTERN_EXECUTOR_ID must be letters, digits, "_", "." and "-", starting with a letter or digit.');
}
