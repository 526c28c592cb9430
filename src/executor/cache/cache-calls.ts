// Calls to CacheService, beside the stream: over one channel, and over a fresh one to the next server after each call
// that found nobody.
import type { Channel } from "@grpc/grpc-js";
import {
  CacheServiceClient,
  type LookupPlanRequest,
  type PortLookup,
  type WatchKeysRequest,
} from "../../contract/postern/v1/cache.js";
import { AppError } from "../../core/app-error.js";
import { bearer, callUnary, over, serverStream } from "../../rpc/channel.js";

export interface CacheCalls {
  lookUp(request: LookupPlanRequest, options: CallOptions): Promise<PortLookup[]>;
  /** The answers as they come; ends with the server's end of the call, or throws AppError. */
  watch(request: WatchKeysRequest, signal: AbortSignal): AsyncIterable<PortLookup>;
  release(executionId: string, reservations: bigint[], options: CallOptions): Promise<void>;
  close(): void;
}

interface CallOptions {
  deadlineMs: number;
  signal: AbortSignal;
}

export interface CacheCallsDeps {
  /** To the next server in turn. */
  openChannel(): Channel;
  /** The execution's token as of now. */
  token(): string;
}

/** Errors after which another server may know better. */
const NOBODY = new Set(["unavailable", "deadline"]);
export const foundNobody = (error: unknown): boolean => error instanceof AppError && NOBODY.has(error.code);

export function createCacheCalls({ openChannel, token }: CacheCallsDeps): CacheCalls {
  let current: CacheServiceClient | undefined;

  function client(): CacheServiceClient {
    current ??= new CacheServiceClient(...over(openChannel()));
    return current;
  }

  /** Whoever still has a call on the channel that is given up calls again. */
  function moveOn(from: CacheServiceClient, error: unknown): void {
    if (current !== from || !foundNobody(error)) return;
    current.close();
    current = undefined;
  }

  async function calling<Reply>(call: (client: CacheServiceClient) => Promise<Reply>): Promise<Reply> {
    const used = client();
    try {
      return await call(used);
    } catch (error) {
      moveOn(used, error);
      throw error;
    }
  }

  return {
    lookUp: (request, options) =>
      calling(async (used) => (await callUnary(used, "lookupPlan", request, { ...options, token: token() })).ports),
    async release(executionId, reservations, options) {
      const request = { executionId, reservations };
      await calling((used) => callUnary(used, "releaseReservations", request, { ...options, token: token() }));
    },
    async *watch(request, signal) {
      const used = client();
      const call = used.watchKeys(request, bearer(token()));
      const cancel = () => call.cancel();
      if (signal.aborted) cancel();
      else signal.addEventListener("abort", cancel, { once: true });
      try {
        for await (const { port } of serverStream(call)) if (port) yield port;
      } catch (error) {
        if (!signal.aborted) moveOn(used, error);
        throw error;
      } finally {
        signal.removeEventListener("abort", cancel);
      }
    },
    close() {
      current?.close();
      current = undefined;
    },
  };
}
