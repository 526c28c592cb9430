// `postern/executor-session`: what an executor links itself to the servers with. docs/executor-session.md is its guide.
import { invalid } from "../core/app-error.js";
import { isName } from "../core/ids.js";
import { channelCredentials } from "../rpc/channel.js";
import { Connection } from "./connection.js";
import type { StreamOptions } from "./messages.js";
import type { ConnectOptions, ExecutorConnection } from "./session-api.js";
import { startStreamsHere, startStreamThread } from "./streams.js";

export { CacheServiceClient } from "../contract/postern/v1/cache.js";
export {
  Command,
  CommandKind,
  ConsoleMessage_Level,
  ExecutionSpec,
  ExecutionState,
  Manifest,
  OperatorStatistics,
  RunState,
} from "../contract/postern/v1/execution.js";
export { UserFunction_Language } from "../contract/postern/v1/plan.js";
export { PortResult } from "../contract/postern/v1/port_registry.js";
export { AppError } from "../core/app-error.js";
export type { Logger } from "../process/log.js";
export { bearer, over, type ServerAddress } from "../rpc/channel.js";
export type * from "./session-api.js";

const STALL_LIMIT_MS = 10 * 60_000;

/** This process's link to the servers: streams live in a thread of their own, so that a busy event loop cannot lose a lease. */
export function connectExecutor(options: ConnectOptions): ExecutorConnection {
  const streamOptions = checked(options);
  return new Connection(
    options,
    (options.thread ?? true) ? startStreamThread(streamOptions) : startStreamsHere(streamOptions),
  );
}

function checked(options: ConnectOptions): StreamOptions {
  if (options.servers.length === 0) throw invalid("An executor needs the address of at least one server.");
  if (!isName(options.executorId))
    throw invalid('An executor id is letters, digits, "_", "." and "-", starting with a letter or digit.');
  for (const server of options.servers) channelCredentials(server); // its files can be read
  return {
    // Only what crosses to the thread: whoever calls may pass more.
    servers: options.servers.map(({ address, tls }) => ({ address, tls: tls && { ...tls } })),
    executorId: options.executorId,
    software: options.software,
    sandboxLayers: options.sandboxLayers ?? [],
    languages: options.languages ?? [],
    labels: options.labels ?? {},
    spill: options.spill,
    outbox: options.outbox ?? {},
    stallLimitMs: options.stallLimitMs ?? STALL_LIMIT_MS,
  };
}
