// Watchers of executions: they follow the log and note how long each console line took from the executor to them.
import { type ClientReadableStream, credentials } from "@grpc/grpc-js";
import { ExecutionServiceClient, type WatchExecutionResponse } from "../../../src/contract/postern/v1/execution.js";
import { bearer, STREAM_CHANNEL_OPTIONS } from "../../../src/rpc/channel.js";
import { nowUs } from "./clock.js";
import { stampOf } from "./event-frames.js";
import { createLatencies, type Stretch, type Summary } from "./latencies.js";

export interface OpenWatchers {
  address: string;
  executionIds: string[];
  /** A user token. */
  token: string;
  /** Watchers on one connection: a web page's server has many. */
  perConnection: number;
}

export interface Watchers {
  /** Events seen since they caught up. */
  seen(): number;
  latencies(stretches: Stretch[]): Summary[];
  close(): void;
}

const STARTING = 50;

/** Starts a watch of each execution; resolves when all have caught up. */
export async function openWatchers(open: OpenWatchers): Promise<Watchers> {
  const latencies = createLatencies();
  const clients: ExecutionServiceClient[] = [];
  const calls: ClientReadableStream<WatchExecutionResponse>[] = [];
  let seen = 0;
  let closed = false;
  let broken: Error | undefined;

  const watch = (executionId: string, n: number): Promise<void> => {
    if (n % open.perConnection === 0) clients[n / open.perConnection] = watchClient(open.address);
    const client = clients[Math.floor(n / open.perConnection)]!;
    return new Promise((resolve, reject) => {
      const call = client.watchExecution({ executionId, after: undefined }, bearer(open.token));
      calls.push(call);
      call.on("error", (error) => {
        if (closed) return;
        broken ??= error;
        reject(error);
      });
      call.on("data", ({ item }: WatchExecutionResponse) => {
        if (item?.$case === "caughtUp") return resolve();
        if (item?.$case !== "event") return;
        seen++;
        const { kind } = item.value;
        if (kind?.$case !== "consoleMessage") return;
        const sentUs = stampOf(kind.value.text);
        latencies.add(sentUs, nowUs() - sentUs);
      });
    });
  };
  for (let n = 0; n < open.executionIds.length; n += STARTING)
    await Promise.all(open.executionIds.slice(n, n + STARTING).map((id, i) => watch(id, n + i)));

  return {
    seen: () => {
      if (broken) throw broken;
      return seen;
    },
    latencies: (stretches) => latencies.summarise(stretches),
    close() {
      closed = true;
      for (const call of calls) call.cancel();
      for (const client of clients) client.close();
    },
  };
}

const watchClient = (address: string) =>
  new ExecutionServiceClient(address, credentials.createInsecure(), {
    ...STREAM_CHANNEL_OPTIONS,
    "grpc.use_local_subchannel_pool": 1,
  });
