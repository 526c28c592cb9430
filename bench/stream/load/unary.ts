// Unary calls, one after the other in each of some lanes, with bytes for messages: the client's part costs the same
// whatever it calls.
import { Client, credentials } from "@grpc/grpc-js";
import { bearer } from "../../../src/rpc/channel.js";

export interface UnaryLoad {
  address: string;
  path: string;
  /** The encoded request, base64. */
  request: string;
  token?: string;
  lanes: number;
  seconds: number;
}

export interface UnaryRate {
  calls: number;
  seconds: number;
  /** Bytes of a reply. */
  replyBytes: number;
}

const clients = new Map<string, Client>();
const identity = (bytes: Buffer) => bytes;

export async function measureUnary({ address, path, request, token, lanes, seconds }: UnaryLoad): Promise<UnaryRate> {
  const client = clients.get(address) ?? new Client(address, credentials.createInsecure());
  clients.set(address, client);
  const bytes = Buffer.from(request, "base64");
  const metadata = bearer(token);
  const startedAt = performance.now();
  const stopAt = startedAt + seconds * 1_000;
  let calls = 0;
  let replyBytes = 0;
  await Promise.all(
    Array.from(
      { length: lanes },
      () =>
        new Promise<void>((resolve, reject) => {
          const next = () =>
            client.makeUnaryRequest(path, identity, identity, bytes, metadata, (error, reply) => {
              if (error) return reject(error);
              calls++;
              replyBytes = reply!.length;
              if (performance.now() < stopAt) next();
              else resolve();
            });
          next();
        }),
    ),
  );
  return { calls, seconds: (performance.now() - startedAt) / 1_000, replyBytes };
}

export function closeUnaryClients(): void {
  for (const client of clients.values()) client.close();
  clients.clear();
}
