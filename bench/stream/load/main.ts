// The load of a bench, in a process of its own: it does what its parent asks for over IPC, one call after the other.
import { type CopyLoad, type CopySession, openCopySession } from "./copy.js";
import { type Executors, type OpenExecutors, openExecutors } from "./executors.js";
import type { Stretch } from "./latencies.js";
import { listUntil } from "./listing.js";
import {
  type Lanes,
  measureThroughput,
  type OpenEcho,
  type OpenStreams,
  openEchoLanes,
  openServerLanes,
} from "./throughput.js";
import { closeUnaryClients, measureUnary, type UnaryLoad } from "./unary.js";
import { type OpenWatchers, openWatchers, type Watchers } from "./watchers.js";

const held: { server?: Lanes; echo?: Lanes; copy?: CopySession; executors?: Executors; watchers?: Watchers } = {};

function holding<Name extends keyof typeof held>(name: Name): NonNullable<(typeof held)[Name]> {
  const one = held[name];
  if (!one) throw new Error(`The load has no ${name}: open it first.`);
  return one;
}

/** Everything a parent can ask for; arguments and results are JSON. */
const calls = {
  openServerLanes: async (open: OpenStreams) => {
    held.server = await openServerLanes(open);
  },
  openEchoLanes: async (open: OpenEcho) => {
    held.echo = openEchoLanes(open);
  },
  measureLanes: ({ of, seconds }: { of: "server" | "echo"; seconds: number }) =>
    measureThroughput(holding(of), seconds),

  openCopy: async (open: CopyLoad) => {
    held.copy = await openCopySession(open);
  },
  measureCopy: (seconds: number) => holding("copy").measure(seconds),
  measureCommits: (count: number) => holding("copy").commits(count),

  openExecutors: async (open: OpenExecutors) => {
    held.executors = await openExecutors(open);
  },
  offer: ({ ratePerSecond, seconds }: { ratePerSecond: number; seconds: number }) =>
    holding("executors").offer(ratePerSecond, seconds),
  acks: async (stretches: Stretch[]) => holding("executors").acks(stretches),
  heartbeats: async (stretches: Stretch[]) => holding("executors").heartbeats(stretches),

  openWatchers: async (open: OpenWatchers) => {
    held.watchers = await openWatchers(open);
  },
  seen: async () => holding("watchers").seen(),
  watched: async (stretches: Stretch[]) => holding("watchers").latencies(stretches),

  measureUnary: (load: UnaryLoad) => measureUnary(load),
  list: listUntil,

  close: async () => {
    held.server?.close();
    held.echo?.close();
    held.executors?.close();
    held.watchers?.close();
    closeUnaryClients();
    await held.copy?.close();
    for (const name of Object.keys(held) as (keyof typeof held)[]) delete held[name];
  },
};

export type LoadCalls = typeof calls;

export interface LoadRequest {
  id: number;
  name: keyof LoadCalls;
  argument: unknown;
}
export interface LoadReply {
  id: number;
  result?: unknown;
  error?: string;
}

/** Answers the parent until it goes away. */
export function main(): void {
  const reply = (message: LoadReply) => void process.send?.(message);
  process.on("message", ({ id, name, argument }: LoadRequest) => {
    const call = calls[name] as (argument: unknown) => Promise<unknown>;
    call(argument).then(
      (result) => reply({ id, result }),
      (error: Error) => reply({ id, error: error.stack ?? String(error) }),
    );
  });
  process.on("disconnect", () => process.exit(0)); // the bench is gone, however it ended
  process.send?.({ ready: true });
}
