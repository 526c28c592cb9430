// The product's fake server, as tests of executors want it: commands named by their kind, waiting with a deadline, and
// the client's end of its streams.

import * as product from "../../src/conformance/fake-server.js";
import {
  type AttachRequest,
  type AttachResponse,
  CommandKind,
  ExecutionServiceClient,
  type ServeRequest,
  type ServeResponse,
} from "../../src/contract/postern/v1/execution.js";
import { bearer, channelCredentials, openDuplex, STREAM_CHANNEL_OPTIONS } from "../../src/rpc/channel.js";

export type { BatchFate } from "../../src/conformance/fake-attach.js";

export interface FakeServerOptions extends product.FakeServerOptions {
  /** True: the stream breaks instead of the answer to Complete; it is stored all the same. */
  loseCompleteAck?(stream: number): boolean;
}

export interface FakeServer extends Omit<product.FakeServer, "command"> {
  command(kind: CommandKind): void;
  /** Resolves once the condition holds; looked at whenever anything arrives. */
  until(what: string, condition: () => boolean): Promise<void>;
  /** What an executor opens its streams with. */
  client(): {
    openAttach(token: string): ReturnType<typeof openDuplex<AttachRequest, AttachResponse>>;
    openServe(token: string): ReturnType<typeof openDuplex<ServeRequest, ServeResponse>>;
    close(): void;
  };
}

export async function startFakeServer({ loseCompleteAck, ...options }: FakeServerOptions = {}): Promise<FakeServer> {
  const server: product.FakeServer = await product.startFakeServer({
    ...(loseCompleteAck && {
      completeFateOf: () => (loseCompleteAck(server.streams.length) ? "store-and-cut" : "apply"),
    }),
    ...options,
  });
  const clients: ExecutionServiceClient[] = [];
  const { address } = server;
  // Its counters are getters: copying the object would freeze them.
  return Object.assign(Object.create(server) as product.FakeServer, {
    command: (kind: CommandKind) => server.command(kind, `command-${CommandKind[kind]}`),
    until: (what: string, condition: () => boolean) =>
      new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => {
          stop();
          reject(new Error(`waited in vain for ${what}`));
        }, 15_000);
        const check = () => {
          if (!condition()) return;
          clearTimeout(timer);
          stop();
          resolve();
        };
        const stop = server.onChange(check);
        check();
      }),
    client() {
      const client = new ExecutionServiceClient(address, channelCredentials({ address }), STREAM_CHANNEL_OPTIONS);
      clients.push(client);
      return {
        openAttach: (token: string) => openDuplex<AttachRequest, AttachResponse>(client.attach(bearer(token))),
        openServe: (token: string) => openDuplex<ServeRequest, ServeResponse>(client.serve(bearer(token))),
        close: () => client.close(),
      };
    },
    async close() {
      for (const client of clients) client.close();
      await server.close();
    },
  });
}
