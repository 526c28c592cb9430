// Attached executors that behave: heartbeats every third of the lease, events at a steady rate, credit respected.
//
// The rate is an open loop: an event is made when it is due, whether or not the former ones have been acknowledged, and
// its latency counts from then, also when it has to wait for credit.
import type { Client } from "@grpc/grpc-js";
import { type Assigned, type AttachStream, openAttachStream, streamClient } from "./attach-stream.js";
import { nowUs } from "./clock.js";
import { createEventFrames, type EventFrames, type PlanOperator } from "./event-frames.js";
import { createLatencies, type Latencies, type Stretch, type Summary } from "./latencies.js";

export interface OpenExecutors {
  address: string;
  executions: Assigned[];
  planDigest: string;
  operators: PlanOperator[];
  /** Executors on one connection; 1 as in life. */
  perConnection: number;
}

/** How many attach at once. */
const ATTACHING = 50;
const TICK_MS = 1;
const BEAT_STEP_MS = 20;

interface Executor {
  stream: AttachStream;
  /** When each event that is not acknowledged became due; `due[head]` is that of sequence `acked + 1`. */
  due: number[];
  head: number;
  acked: number;
  /** Sequence of the last event made. */
  made: number;
  /** When each heartbeat that is not answered was sent, and when the next is due. */
  beats: number[];
  nextBeatAt: number;
}

export interface Executors {
  /** Offers `ratePerSecond` events a second, spread evenly, for `seconds`; resolves when all are acknowledged. */
  offer(ratePerSecond: number, seconds: number): Promise<Offered>;
  acks(stretches: Stretch[]): Summary[];
  heartbeats(stretches: Stretch[]): Summary[];
  close(): void;
}

export interface Offered {
  startedUs: number;
  /** When the last event was sent, and when it was acknowledged. */
  sentUs: number;
  ackedUs: number;
  events: number;
  /** How late the generator itself was, at worst, in milliseconds. */
  generatorLateMs: number;
}

export async function openExecutors(open: OpenExecutors): Promise<Executors> {
  const frames = createEventFrames(1, open.operators);
  const acks = createLatencies();
  const heartbeats = createLatencies();
  const clients: Client[] = [];
  const executors: Executor[] = [];
  let broken: Error | undefined;
  let onProgress = () => {};

  const attach = async (execution: Assigned, n: number): Promise<void> => {
    if (n % open.perConnection === 0) clients[n / open.perConnection] = streamClient(open.address, { own: true });
    const client = clients[Math.floor(n / open.perConnection)]!;
    const beats: number[] = [];
    const stream = await openAttachStream({
      client,
      ...execution,
      planDigest: open.planDigest,
      onAck: (sequence) => {
        acknowledge(executors[n]!, sequence, acks);
        flush(executors[n]!, frames);
        onProgress();
      },
      onHeartbeat: () => {
        const sentUs = beats.shift();
        const atUs = nowUs();
        if (sentUs !== undefined) heartbeats.add(atUs, atUs - sentUs);
      },
      onDrain: () => flush(executors[n]!, frames),
      onBroken: (error) => {
        broken ??= error;
        onProgress();
      },
    });
    // Spread over the time between two, however fast they attach.
    const nextBeatAt = performance.now() + (((n * 7_919) % 1_000) / 1_000) * (stream.leaseMs / 3);
    executors[n] = { stream, due: [], head: 0, acked: stream.acked, made: stream.acked, beats, nextBeatAt };
  };

  const beat = keepBeating(executors);
  for (let n = 0; n < open.executions.length; n += ATTACHING)
    await Promise.all(open.executions.slice(n, n + ATTACHING).map((one, i) => attach(one, n + i)));
  return {
    async offer(ratePerSecond, seconds) {
      const events = Math.round(ratePerSecond * seconds);
      const startedUs = nowUs();
      let made = 0;
      let generatorLateUs = 0;
      while (made < events) {
        if (broken) throw broken;
        const elapsedUs = nowUs() - startedUs;
        const dueByNow = Math.min(events, Math.floor((elapsedUs * ratePerSecond) / 1e6));
        if (dueByNow > made) generatorLateUs = Math.max(generatorLateUs, elapsedUs - (made * 1e6) / ratePerSecond);
        for (; made < dueByNow; made++) {
          const executor = executors[made % executors.length]!;
          executor.due.push(nowUs());
          executor.made++;
          flush(executor, frames);
        }
        await new Promise((resolve) => setTimeout(resolve, TICK_MS));
      }
      const sentUs = nowUs();
      await new Promise<void>((resolve, reject) => {
        const giveUp = setTimeout(() => reject(new Error("Events were not acknowledged within 30 s.")), 30_000);
        onProgress = () => {
          if (!broken && executors.some(({ acked, made }) => acked < made)) return;
          clearTimeout(giveUp);
          onProgress = () => {};
          if (broken) reject(broken);
          else resolve();
        };
        onProgress();
      });
      return { startedUs, sentUs, ackedUs: nowUs(), events, generatorLateMs: generatorLateUs / 1_000 };
    },
    acks: (stretches) => acks.summarise(stretches),
    heartbeats: (stretches) => heartbeats.summarise(stretches),
    close() {
      clearInterval(beat);
      for (const { stream } of executors) stream.close();
      for (const client of clients) client.close();
    },
  };
}

/** Sends what has been made, as far as credit and transport allow. */
function flush({ stream, due, head, acked, made }: Executor, frames: EventFrames): void {
  while (stream.sent < Math.min(made, stream.credit) && !stream.full) {
    const sequence = ++stream.sent;
    stream.full = !stream.write(frames.frame(sequence, due[head + sequence - acked - 1]!));
  }
}

function acknowledge(executor: Executor, sequence: number, acks: Latencies): void {
  const atUs = nowUs();
  for (; executor.acked < sequence; executor.acked++) {
    const dueUs = executor.due[executor.head++]!;
    acks.add(dueUs, atUs - dueUs);
  }
  if (executor.head < 1_000) return;
  executor.due.splice(0, executor.head);
  executor.head = 0;
}

/** Every executor's heartbeat each third of its lease, from its attaching on. */
function keepBeating(executors: Executor[]): NodeJS.Timeout {
  return setInterval(() => {
    const now = performance.now();
    for (const executor of executors) {
      if (executor === undefined || now < executor.nextBeatAt) continue;
      executor.nextBeatAt += executor.stream.leaseMs / 3;
      executor.beats.push(nowUs());
      executor.stream.heartbeat();
    }
  }, BEAT_STEP_MS);
}
