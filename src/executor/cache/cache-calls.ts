// Calls to CacheService, beside the stream: over the channel of all executions, and over another one to the next server
// after each call that found nobody.
import {
  CacheServiceClient,
  type LookupPlanRequest,
  type PortLookup,
  type WatchKeysRequest,
} from "../../contract/postern/v1/cache.js";
import { AppError } from "../../core/app-error.js";
import { bearer, callUnary, over, serverStream } from "../../rpc/channel.js";
import type { HoldChannel } from "./channel-share.js";

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
  holdChannel: HoldChannel;
  /** The execution's token as of now. */
  token(): string;
}

/** Errors after which another server may know better. */
const NOBODY = new Set(["unavailable", "deadline"]);
export const foundNobody = (error: unknown): boolean => error instanceof AppError && NOBODY.has(error.code);

export function createCacheCalls({ holdChannel, token }: CacheCallsDeps): CacheCalls {
  let current: { client: CacheServiceClient; giveBack(foundNobody: boolean): void } | undefined;

  function client(): CacheServiceClient {
    if (!current) {
      const { channel, giveBack } = holdChannel();
      current = { client: new CacheServiceClient(...over(channel)), giveBack };
    }
    return current.client;
  }

  function moveOn(from: CacheServiceClient, error: unknown): void {
    if (current?.client !== from || !foundNobody(error)) return;
    current.giveBack(true);
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
      current?.giveBack(false);
      current = undefined;
    },
  };
}
