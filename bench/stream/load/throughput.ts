// As many events as some streams can get acknowledged: against the server, or against the bare echo, by the same loop.
import { Client, type ClientDuplexStream, credentials } from "@grpc/grpc-js";
import { STREAM_CHANNEL_OPTIONS } from "../../../src/rpc/channel.js";
import { ECHO_STREAM_PATH } from "../echo-server.js";
import { type Assigned, openAttachStream, streamClient } from "./attach-stream.js";
import { createEventFrames, type EventFrames, type PlanOperator, STORED_SEQUENCE } from "./event-frames.js";

/** What a stream may have under way, beside the server's credit. */
const WINDOW_MESSAGES = 256;
const WINDOW_EVENTS = 16_384;
/** How long the last acknowledgements may take, in milliseconds. */
const TAIL_MS = 30_000;

interface Lane {
  /** The transport asks to wait. */
  full: boolean;
  sent: number;
  acked: number;
  credit: number;
  write(frame: Buffer): boolean;
  close(): void;
}

export interface Lanes {
  lanes: Lane[];
  frames: EventFrames;
  /** What happens on an acknowledgement or a drain of lane `n`, while a round is under way. */
  on: { change(n: number): void; broken(error: Error): void };
  close(): void;
}

export interface OpenStreams {
  address: string;
  executions: Assigned[];
  planDigest: string;
  operators: PlanOperator[];
  batch: number;
}

export interface Throughput {
  events: number;
  /** From the first event to the last acknowledgement. */
  seconds: number;
}

const idle = { change() {}, broken() {} };

/** Streams to the server, one for each execution, on one connection each. */
export async function openServerLanes(open: OpenStreams): Promise<Lanes> {
  const clients: Client[] = [];
  const state: Lanes = {
    lanes: [],
    frames: createEventFrames(open.batch, open.operators),
    on: idle,
    close() {
      for (const lane of state.lanes) lane.close();
      for (const client of clients) client.close();
    },
  };
  state.lanes = await Promise.all(
    open.executions.map((execution, n) => {
      const client = streamClient(open.address, { own: true });
      clients.push(client);
      return openAttachStream({
        client,
        ...execution,
        planDigest: open.planDigest,
        onAck: () => state.on.change(n),
        onDrain: () => state.on.change(n),
        onBroken: (error) => state.on.broken(error),
      });
    }),
  );
  return state;
}

export interface OpenEcho {
  address: string;
  streams: number;
  operators: PlanOperator[];
  batch: number;
}

/** As many streams to the bare echo server, which acknowledges each message. */
export function openEchoLanes(open: OpenEcho): Lanes {
  const clients: Client[] = [];
  const state: Lanes = {
    lanes: [],
    frames: createEventFrames(open.batch, open.operators),
    on: idle,
    close() {
      for (const lane of state.lanes) lane.close();
      for (const client of clients) client.close();
    },
  };
  state.lanes = Array.from({ length: open.streams }, (_, n) => {
    const options = { ...STREAM_CHANNEL_OPTIONS, "grpc.use_local_subchannel_pool": 1 };
    const client = new Client(open.address, credentials.createInsecure(), options);
    clients.push(client);
    const identity = (bytes: Buffer) => bytes;
    const call: ClientDuplexStream<Buffer, Buffer> = client.makeBidiStreamRequest(ECHO_STREAM_PATH, identity, identity);
    let closed = false;
    const lane: Lane = {
      full: false,
      sent: STORED_SEQUENCE,
      acked: STORED_SEQUENCE,
      credit: Number.POSITIVE_INFINITY,
      write: (frame) => call.write(frame),
      close() {
        closed = true;
        call.cancel();
      },
    };
    call.on("data", () => {
      lane.acked += open.batch;
      state.on.change(n);
    });
    call.on("drain", () => {
      lane.full = false;
      state.on.change(n);
    });
    call.on("error", (error) => {
      if (!closed) state.on.broken(error);
    });
    return lane;
  });
  return state;
}

/** Sends for `seconds` as much as window and credit allow, and waits until all of it is acknowledged. */
export function measureThroughput(state: Lanes, seconds: number): Promise<Throughput> {
  const { lanes, frames } = state;
  const { batch } = frames;
  const window = Math.max(batch, Math.min(WINDOW_MESSAGES * batch, WINDOW_EVENTS));
  const startedAt = performance.now();
  const stopAt = startedAt + seconds * 1_000;
  const before = lanes.map(({ acked }) => acked);
  let sending = true;
  return new Promise<Throughput>((resolve, reject) => {
    const finish = (outcome: () => void) => {
      clearTimeout(late);
      clearTimeout(stop);
      state.on = idle;
      outcome();
    };
    const late = setTimeout(
      () => {
        const missing = lanes.reduce((sum, { sent, acked }) => sum + sent - acked, 0);
        finish(() => reject(new Error(`${missing} events were not acknowledged within ${TAIL_MS} ms after the last.`)));
      },
      seconds * 1_000 + TAIL_MS,
    );
    const lookForEnd = () => {
      if (sending || lanes.some(({ sent, acked }) => acked < sent)) return;
      const events = lanes.reduce((sum, { acked }, n) => sum + acked - before[n]!, 0);
      finish(() => resolve({ events, seconds: (performance.now() - startedAt) / 1_000 }));
    };
    const stop = setTimeout(() => {
      sending = false;
      lookForEnd();
    }, seconds * 1_000);
    const pump = (lane: Lane) => {
      while (!lane.full && lane.sent + batch <= lane.credit && lane.sent - lane.acked < window) {
        if (performance.now() >= stopAt) return;
        const first = lane.sent + 1;
        lane.sent += batch;
        lane.full = !lane.write(frames.frame(first));
      }
    };
    state.on = {
      change(n) {
        pump(lanes[n]!);
        if (!sending) lookForEnd();
      },
      broken: (error) => finish(() => reject(error)),
    };
    for (const lane of lanes) pump(lane);
  });
}
