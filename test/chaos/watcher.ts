// One watcher of one execution: follows its log on any replica, goes on elsewhere from its last number when a stream
// breaks, and writes down what it was shown. Some rest now and then, so that the server must let them fall behind.
import { setTimeout as delay } from "node:timers/promises";
import type { ExecutionServiceClient, WatchExecutionResponse } from "../../src/contract/postern/v1/execution.js";
import { bearer, serverStream } from "../../src/rpc/channel.js";
import type { WatchedLog } from "./comparison.js";
import { checksumOf } from "./said-event.js";
import type { SeededRandom } from "./seeded-random.js";

export interface Watcher {
  log: WatchedLog;
  /** True once a stream ended well, which says that the execution has ended. */
  readonly done: boolean;
  /** Streams that broke. */
  readonly reconnects: number;
  stop(): Promise<void>;
}

interface Options {
  name: string;
  executionId: string;
  /** The replicas to watch on, best first, asked at each connection. */
  replicas(): ExecutionServiceClient[];
  token: string;
  /** True: begins with a snapshot, and sees what comes after it. */
  fromSnapshot: boolean;
  /** Rests between events now and then. */
  slow: boolean;
  random: SeededRandom;
}

export function startWatcher(options: Options): Watcher {
  const { name, executionId, replicas, token, fromSnapshot, slow, random } = options;
  const log: WatchedLog = { name, after: 0, events: [] };
  const stop = new AbortController();
  let last = fromSnapshot ? undefined : 0;
  let done = false;
  let reconnects = 0;
  let rests = 0;
  let restAt = slow ? random.between(50, 400) : Number.POSITIVE_INFINITY;

  async function take({ item }: WatchExecutionResponse): Promise<void> {
    if (item?.$case === "snapshot" && last === undefined) {
      last = Number(item.value.execution!.lastEventNumber);
      log.after = last;
    }
    if (item?.$case !== "event") return;
    const { number, attempt, sequence, kind } = item.value;
    last = Number(number);
    log.events.push({ number: last, attempt, sequence: Number(sequence), checksum: checksumOf(kind) });
    if (log.events.length < restAt) return;
    // The first rest is long: a whole log may go by.
    const restMs = rests++ === 0 ? random.between(2_000, 4_000) : random.between(300, 1_500);
    restAt += random.between(800, 2_500);
    await delay(restMs, undefined, { signal: stop.signal }).catch(() => {}); // asked to stop
  }

  async function follow(on: ExecutionServiceClient): Promise<void> {
    const after = last === undefined ? undefined : BigInt(last);
    const call = on.watchExecution({ executionId, after }, bearer(token));
    const cancel = () => call.cancel();
    stop.signal.addEventListener("abort", cancel, { once: true });
    try {
      for await (const reply of serverStream<WatchExecutionResponse>(call)) await take(reply);
      done = !stop.signal.aborted;
    } finally {
      stop.signal.removeEventListener("abort", cancel);
    }
  }

  async function run(): Promise<void> {
    for (let turn = 0; !done && !stop.signal.aborted; turn++) {
      const choice = replicas();
      try {
        await follow(choice[turn % choice.length]!);
      } catch {
        // Why is the server's business: a watcher goes on from its last number, whatever it was.
        reconnects++;
        await delay(random.between(50, 400), undefined, { signal: stop.signal }).catch(() => {}); // asked to stop
      }
    }
  }

  const running = run();
  return {
    log,
    get done() {
      return done;
    },
    get reconnects() {
      return reconnects;
    },
    stop: () => {
      stop.abort();
      return running;
    },
  };
}
