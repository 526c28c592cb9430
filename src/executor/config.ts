// Everything the executor reads from its environment, once, at start. The token is a file, and only its path is here.
import { randomUUID } from "node:crypto";
import { availableParallelism } from "node:os";
import { invalid } from "../core/app-error.js";
import { isName } from "../core/ids.js";
import { environment } from "../process/env.js";
import type { ServerAddress } from "../rpc/channel.js";

const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;

export interface ExecutorConfig {
  server: ServerAddress;
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
  /** For all executions together. */
  threads: number;
  /** Name or path of the Python interpreter. */
  python: string;
  /** `required`: refuse Python user code on a host that isolates nothing. */
  sandbox: "best-effort" | "required";
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
    server: { address: serverAddress(env.text("POSTERN_SERVER")), tls },
    tokenFile: env.secretFile("POSTERN_TOKEN_FILE"),
    specFile: env.optionalFile("POSTERN_SPEC_FILE"),
    executorId: executorId(env.text("POSTERN_EXECUTOR_ID", `executor-${randomUUID()}`)),
    slots: env.integer("POSTERN_SLOTS", { defaultTo: 1, min: 1, max: 1_000 }),
    workDirectory: env.optionalText("POSTERN_WORK_DIR"),
    memoryLimitMb: env.integer("POSTERN_MEMORY_LIMIT_MB", { defaultTo: 1_024, min: 64 }),
    threads: env.integer("POSTERN_THREADS", { defaultTo: availableParallelism(), min: 1, max: 1_024 }),
    python: env.text("POSTERN_PYTHON", "python3"),
    sandbox: env.oneOf("POSTERN_SANDBOX", ["best-effort", "required"], "best-effort"),
    path: env.optionalText("PATH"),
    logLevel: env.oneOf("POSTERN_LOG_LEVEL", LOG_LEVELS, "info"),
  };
}

function serverAddress(text: string): string {
  if (/^[^\s/]+:\d{1,5}$/.test(text)) return text;
  throw invalid(`POSTERN_SERVER is ${JSON.stringify(text)}: it must be host:port, as in 127.0.0.1:7700.`);
}

function executorId(text: string): string {
  if (isName(text)) return text;
  throw invalid('POSTERN_EXECUTOR_ID must be letters, digits, "_", "." and "-", starting with a letter or digit.');
}
