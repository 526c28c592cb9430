// The services of one server as a command uses them: the generated clients, each call with the token and a deadline.
import type { ChannelOptions, Client } from "@grpc/grpc-js";
import { AccessServiceClient } from "../contract/postern/v1/access.js";
import { CacheServiceClient } from "../contract/postern/v1/cache.js";
import { CompileServiceClient } from "../contract/postern/v1/compile.js";
import { DatasetServiceClient } from "../contract/postern/v1/dataset.js";
import { ExecutionServiceClient } from "../contract/postern/v1/execution.js";
import { PortRegistryClient } from "../contract/postern/v1/port_registry.js";
import { WorkflowServiceClient } from "../contract/postern/v1/workflow.js";
import {
  callUnary,
  channelCredentials,
  STREAM_CHANNEL_OPTIONS,
  UNARY_CHANNEL_OPTIONS,
  type UnaryMethodName,
  type UnaryOptions,
} from "../rpc/channel.js";
import { type Connection, findConnection, type GlobalOptions } from "./connection.js";
import type { Terminal } from "./terminal.js";

export type Api = ReturnType<typeof openApi>;

/** Opens the services; nothing is connected before the first call. */
export function openApi(connection: Connection) {
  const credentials = channelCredentials(connection.address);
  const opened: Client[] = [];
  const open = <C extends Client>(
    Service: new (address: string, creds: typeof credentials, options: ChannelOptions) => C,
    options: ChannelOptions = UNARY_CHANNEL_OPTIONS,
  ) => {
    const client = new Service(connection.address.address, credentials, options);
    opened.push(client);
    return client;
  };
  return {
    connection,
    access: open(AccessServiceClient),
    cache: open(CacheServiceClient),
    compiler: open(CompileServiceClient),
    datasets: open(DatasetServiceClient),
    executions: open(ExecutionServiceClient),
    ports: open(PortRegistryClient),
    workflows: open(WorkflowServiceClient),
    /** The same service on a channel made for long streams. */
    executionStreams: open(ExecutionServiceClient, STREAM_CHANNEL_OPTIONS),
    /** Calls one unary method with the caller's token. */
    call: async <C extends Client, Name extends UnaryMethodName<C>>(
      client: C,
      method: Name,
      request: Parameters<typeof callUnary<C, Name>>[2],
      options: Omit<UnaryOptions, "token"> = {},
    ) => callUnary(client, method, request, { ...options, token: await connection.token() }),
    close() {
      for (const client of opened) client.close();
    },
  };
}

/** Runs `work` with the services of the server the options mean, and closes them whatever happens. */
export async function withApi<T>(
  options: GlobalOptions,
  terminal: Terminal,
  work: (api: Api) => Promise<T>,
): Promise<T> {
  const api = openApi(await findConnection(options, terminal));
  try {
    return await work(api);
  } finally {
    api.close();
  }
}
